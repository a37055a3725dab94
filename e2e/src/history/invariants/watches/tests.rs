use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::Watches;
use crate::history::content::{Seen, all_of, hash, version_of};
use crate::history::evidence::Run;
use crate::history::judge::Judge;
use crate::history::log::{Event, Header, Stored};
use crate::history::selector::{Selector, Term};
use crate::history::watched::{End, Message, Stream, Told, What};

const FOLDER: &str = "/berth/core/configmaps/";

fn object(name: &str, tier: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "load", "labels": {"tier": tier}}})
}

fn put(rev: i64, position: u16, name: &str, tier: &str) -> Event {
    let header = Header { position, ..Header::default() };
    let json = object(name, tier).to_string().into();
    let stored = Stored { create_rev: rev, version: 1, lease: 0, header, json };
    Event { rev, at: 0, key: format!("{FOLDER}load/{name}"), now: Some(stored) }
}

fn gone(rev: i64, name: &str) -> Event {
    Event { now: None, ..put(rev, 0, name, "") }
}

/// `b` becomes gold, `a` no longer is; in revision 5 `b` goes after `c` came, though its name is before.
fn history() -> Vec<Event> {
    vec![
        put(2, 0, "a", "gold"),
        put(2, 1, "b", "iron"),
        put(3, 0, "b", "gold"),
        put(4, 0, "a", "iron"),
        gone(5, "b"),
        put(5, 0, "c", "gold"),
    ]
}

fn told(what: What, name: &str, tier: &str, version: u64) -> Told {
    Told {
        what,
        seen: Seen { key: format!("{FOLDER}load/{name}"), version, hash: hash(&object(name, tier)) },
    }
}

fn message(version: u64, events: Vec<Told>) -> Message {
    Message { at: 0, version, initial_end: false, events }
}

/// What a watcher of gold is told of all of it.
fn gold() -> Stream {
    use What::{Added, Deleted};
    let got = vec![
        message(all_of(2), vec![told(Added, "a", "gold", version_of(2, 0))]),
        message(all_of(3), vec![told(Added, "b", "gold", version_of(3, 0))]),
        message(all_of(4), vec![told(Deleted, "a", "gold", version_of(4, 0))]),
        message(
            all_of(5),
            vec![told(Added, "c", "gold", version_of(5, 0)), told(Deleted, "b", "gold", version_of(5, 1))],
        ),
        message(all_of(6), vec![]),
    ];
    Stream {
        name: "gold-0".into(),
        resumes: None,
        server: "one".into(),
        folder: FOLDER.into(),
        namespace: "load".into(),
        selector: Selector::one(Term::any_of("tier", &["gold"])),
        after: Some(all_of(1)),
        asked: 0,
        got,
        ended: 0,
        end: End::Over(all_of(5)),
    }
}

/// The same from the present objects of revision 3 on.
fn from_the_present() -> Stream {
    use What::Added;
    let part = |name, rev| message(0, vec![told(Added, name, "gold", version_of(rev, 0))]);
    let end = Message { initial_end: true, ..message(all_of(3), vec![]) };
    let got = [vec![part("a", 2), part("b", 3), end], gold().got.split_off(2)].concat();
    Stream { after: None, got, ..gold() }
}

/// What follows the first of the two events of revision 5.
fn from_the_middle_of_a_revision() -> Stream {
    let mut got = gold().got.split_off(3);
    got[0].events.remove(0);
    Stream { after: Some(version_of(5, 0)), got, ..gold() }
}

fn judged(stream: Stream) -> String {
    let run = Run { watches: vec![stream], ..Run::default() };
    let mut judge = Judge::new(vec![Box::new(Watches::of(&run))]);
    history().into_iter().for_each(|event| judge.on_event(event));
    judge.finish().into_iter().map(|(_, breach)| format!("{}: {}", breach.rev, breach.what)).collect()
}

fn breaks(of: fn() -> Stream, spoil: impl FnOnce(&mut Stream), expected: Expect) {
    let mut stream = of();
    spoil(&mut stream);
    let text = judged(stream);
    let why =
        text.split_once(": watch gold-0 ").and_then(|(rev, what)| Some((rev, what.split_once(": ")?.1)));
    let (rev, why) = why.unwrap_or_else(|| panic!("nothing is found: {text}"));
    expected.assert_eq(&format!("{rev}: {why}"));
}

#[test]
fn whole_streams_keep_the_promise_from_wherever_they_begin() {
    for stream in [gold(), from_the_present(), from_the_middle_of_a_revision()] {
        assert_eq!(judged(stream), "");
    }
    let everywhere = Stream { namespace: String::new(), ..gold() };
    let elsewhere = Stream { namespace: "other".into(), got: vec![message(all_of(5), vec![])], ..gold() };
    let in_the_future = Stream { after: Some(all_of(5)), got: vec![message(all_of(6), vec![])], ..gold() };
    for stream in [everywhere, elsewhere, in_the_future] {
        assert_eq!(judged(stream), "");
    }
}

#[test]
fn who_is_cut_off_with_a_reason_or_goes_is_owed_nothing_more() {
    for end in [End::Expired("too old".into()), End::Cut("broken pipe".into()), End::Left] {
        let mut stream = Stream { end, ..gold() };
        stream.got.truncate(2);
        assert_eq!(judged(stream), "");
    }
}

#[test]
fn a_gap_is_found() {
    breaks(
        gold,
        |stream| drop(stream.got.remove(2)),
        expect!["4: events of 5 came, and never Deleted load/a at 4.0"],
    );
    breaks(
        gold,
        |stream| stream.got = vec![message(all_of(5), vec![])],
        expect!["2: a bookmark of 5 came, and never Added load/a at 2.0"],
    );
    breaks(
        gold,
        |stream| drop(stream.got[3].events.pop()),
        expect!["5: message of 5: left out Deleted load/b at 5.1"],
    );
    breaks(
        from_the_middle_of_a_revision,
        |stream| stream.got[0].events.clear(),
        expect!["5: message of 5: left out Deleted load/b at 5.1"],
    );
}

#[test]
fn what_is_told_twice_is_found() {
    breaks(
        gold,
        |stream| stream.got.insert(2, stream.got[1].clone()),
        expect!["3: message of 3: not to be told here: Added load/b at 3.0"],
    );
    breaks(gold, |stream| stream.got.insert(2, stream.got[0].clone()), expect!["2: told of 2 after 3"]);
    breaks(
        from_the_middle_of_a_revision,
        |stream| stream.got = gold().got.split_off(3),
        expect!["5: message of 5: told Added load/c at 5.0, expected Deleted load/b at 5.1"],
    );
}

#[test]
fn another_order_is_found() {
    breaks(
        gold,
        |stream| stream.got[3].events.reverse(),
        expect!["5: message of 5: told Deleted load/b at 5.1, expected Added load/c at 5.0"],
    );
    breaks(
        gold,
        |stream| stream.got.swap(0, 1),
        expect!["2: events of 3 came, and never Added load/a at 2.0"],
    );
}

#[test]
fn a_revision_in_parts_is_found() {
    breaks(
        gold,
        |stream| {
            let last = stream.got[3].events.pop().unwrap();
            stream.got.insert(4, message(all_of(5), vec![last]));
        },
        expect!["5: message of 5: left out Deleted load/b at 5.1"],
    );
    breaks(
        gold,
        |stream| stream.got[3].version = version_of(5, 1),
        expect!["5: a message ends in 5.1, within a revision"],
    );
}

#[test]
fn a_wrong_selection_is_found() {
    breaks(
        gold,
        |stream| stream.got[1].events[0].what = What::Modified,
        expect!["3: message of 3: told Modified load/b at 3.0, expected Added load/b at 3.0"],
    );
    breaks(
        gold,
        |stream| stream.got[2].events[0].what = What::Modified,
        expect!["4: message of 4: told Modified load/a at 4.0, expected Deleted load/a at 4.0"],
    );
    breaks(
        gold,
        |stream| stream.got[0].events.push(told(What::Added, "b", "iron", version_of(2, 1))),
        expect!["2: message of 2: not to be told here: Added load/b at 2.1"],
    );
}

#[test]
fn another_object_or_version_is_found() {
    breaks(
        gold,
        |stream| stream.got[2].events[0] = told(What::Deleted, "a", "iron", version_of(4, 0)),
        expect!["4: message of 4: told Deleted load/a at 4.0, expected other content"],
    );
    breaks(
        gold,
        |stream| stream.got[1].events[0].seen.version = version_of(3, 1),
        expect!["3: message of 3: told Added load/b at 3.1, expected Added load/b at 3.0"],
    );
}

#[test]
fn a_wrong_beginning_is_found() {
    breaks(
        from_the_present,
        |stream| drop(stream.got.remove(0)),
        expect!["3: message of 3: told Added load/b at 3.0, expected Added load/a at 2.0"],
    );
    breaks(
        from_the_present,
        |stream| stream.got[2].version = all_of(4),
        expect!["4: message of 4: told Added load/a at 2.0, expected Added load/b at 3.0"],
    );
    breaks(
        from_the_present,
        |stream| stream.got[0].events.push(told(What::Added, "x", "gold", version_of(2, 0))),
        expect!["3: message of 3: told Added load/x at 2.0, expected Added load/b at 3.0"],
    );
}

#[test]
fn silence_is_found() {
    breaks(gold, |stream| stream.end = End::Silent, expect!["6: ended without a reason"]);
    breaks(gold, |stream| stream.end = End::Cut(String::new()), expect!["6: ended without a reason"]);
    breaks(
        gold,
        |stream| stream.got.truncate(3),
        expect!["5: told of 4 when the run was over, the head was 5; 2 events missing"],
    );
    breaks(
        gold,
        |stream| stream.end = End::Over(all_of(7)),
        expect!["7: told of 6 when the run was over, the head was 7; 0 events missing"],
    );
    breaks(
        from_the_present,
        |stream| stream.got.truncate(2),
        expect!["5: told of nothing when the run was over, the head was 5; 5 events missing"],
    );
}
