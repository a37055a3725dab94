use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::Answers;
use crate::history::answers::{Asked, List, MARKER, Operation, Page, STATUS_MARKER, Told, Verb, Write};
use crate::history::content::{Seen, all_of, hash, version_of};
use crate::history::evidence::Run;
use crate::history::judge::Judge;
use crate::history::log::{Event, Header, Stored};
use crate::history::selector::Selector;

const FOLDER: &str = "/berth/berth.dev/revisions/";

fn key(name: &str) -> String {
    format!("{FOLDER}load/{name}")
}

fn object(name: &str, marker: &str, data: &Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "load", "uid": "u", "annotations": {MARKER: marker}}, "spec": data})
}

fn at(version: u64, object: &Value) -> Value {
    let mut served = object.clone();
    served["metadata"]["resourceVersion"] = version.to_string().into();
    served
}

fn put(rev: i64, position: u16, name: &str, json: &Value) -> Event {
    let header = Header { position, writer: "load-1".into(), ..Header::default() };
    let stored = Stored { create_rev: rev, version: 1, lease: 0, header, json: json.to_string().into() };
    Event { rev, at: 1000 + u64::try_from(rev).unwrap() * 10, key: key(name), now: Some(stored) }
}

fn gone(rev: i64, name: &str) -> Event {
    Event { now: None, ..put(rev, 0, name, &Value::Null) }
}

/// An operation of `load-1`; its number is also its time.
fn operation(number: u64, asked: Asked, told: Told) -> Operation {
    let (client, server) = ("load-1".into(), "one".into());
    Operation {
        client,
        number,
        server,
        asked,
        invoked: 1000 + number * 10,
        returned: 1005 + number * 10,
        told,
    }
}

fn write(verb: Verb, name: &str, sent: Value, marker: &str) -> Write {
    let marker = marker.to_string();
    Write { verb, key: key(name), sent, marker, version: None, uid: String::new(), atomic: None }
}

fn sent(marker: &str, data: &Value) -> Value {
    json!({"metadata": {"annotations": {MARKER: marker}}, "spec": data})
}

/// What happened, and what was asked and told: operation N in revision N, so far as it made one.
#[derive(Clone)]
struct Story {
    events: Vec<Event>,
    answers: Vec<Operation>,
}

impl Story {
    fn write(&mut self, at: usize) -> &mut Write {
        match &mut self.answers[at].asked {
            Asked::Write(write) => write,
            Asked::Get(_) | Asked::List(_) => panic!("operation {at} is no write"),
        }
    }

    fn page(&mut self, at: usize, page: usize) -> &mut Page {
        match &mut self.answers[at].told {
            Told::Pages(pages, _) => &mut pages[page],
            told => panic!("operation {at} was told {told:?}"),
        }
    }

    fn stored(&mut self, at: usize) -> &mut Stored {
        self.events[at].now.as_mut().expect("a put")
    }

    fn judged(&self) -> Vec<String> {
        let run = Run { answers: self.answers.clone(), ..Run::default() };
        let mut judge = Judge::new(vec![Box::new(Answers::of(&run))]);
        self.events.iter().for_each(|event| judge.on_event(event.clone()));
        judge.finish().into_iter().map(|(_, breach)| format!("{}: {}", breach.rev, breach.what)).collect()
    }
}

/// 0 creates a; 1 patches it on its version; 2 refused; 3 creates b, outcome unknown, and it happened; 4 unknown, and
/// it did not; 5 gets a; 6 lists in two pages; 7 deletes a; 8 misses a; 9 and 10 are one call.
fn good() -> Story {
    let created = object("a", "m2", &json!({"x": "1", "y": "1"}));
    let patched = object("a", "m3", &json!({"x": "2"}));
    let b = object("b", "m5", &json!({}));
    let (c, d) = (object("c", "m11", &json!({})), object("d", "m12", &json!({})));
    let asked = |number, write: Write, told| operation(number, Asked::Write(write), told);
    let seen = |name: &str, rev, object: &Value| Seen {
        key: key(name),
        version: version_of(rev, 0),
        hash: hash(object),
    };
    let page = |items, more| Page { version: all_of(5), items, more, renewed: false };
    let list =
        List { folder: FOLDER.into(), namespace: "load".into(), selector: Selector::default(), limit: 1 };
    let pages = vec![page(vec![seen("a", 3, &patched)], true), page(vec![seen("b", 5, &b)], false)];
    let on = |version, write: Write| Write { version: Some(version), ..write };
    let together = |write: Write| Write { atomic: Some(11), ..write };
    let patch = json!({"metadata": {"annotations": {MARKER: "m3"}}, "spec": {"x": "2", "y": null}});
    let conflict = Told::Refused("Conflict".into(), "has been modified".into());
    let missing = Told::Refused("NotFound".into(), "not found".into());
    let unknown = || Told::Unknown("broken pipe".into());
    Story {
        answers: vec![
            asked(
                2,
                write(Verb::Create, "a", sent("m2", &json!({"x": "1", "y": "1"})), "m2"),
                Told::Object(at(version_of(2, 0), &created)),
            ),
            asked(
                3,
                on(version_of(2, 0), write(Verb::Patch, "a", patch, "m3")),
                Told::Object(at(version_of(3, 0), &patched)),
            ),
            asked(4, on(version_of(2, 0), write(Verb::Update, "a", sent("m4", &json!({})), "m4")), conflict),
            asked(5, write(Verb::Create, "b", sent("m5", &json!({})), "m5"), unknown()),
            asked(6, write(Verb::Create, "b", sent("m6", &json!({})), "m6"), unknown()),
            operation(7, Asked::Get(key("a")), Told::Object(at(version_of(3, 0), &patched))),
            operation(8, Asked::List(list), Told::Pages(pages, None)),
            asked(9, write(Verb::Delete, "a", Value::Null, ""), Told::Object(at(all_of(9), &patched))),
            operation(10, Asked::Get(key("a")), missing),
            asked(
                11,
                together(write(Verb::Create, "c", sent("m11", &json!({})), "m11")),
                Told::Object(at(version_of(11, 1), &c)),
            ),
            asked(
                11,
                together(write(Verb::Create, "d", sent("m12", &json!({})), "m12")),
                Told::Object(at(version_of(11, 0), &d)),
            ),
        ],
        events: vec![
            put(2, 0, "a", &created),
            put(3, 0, "a", &patched),
            put(5, 0, "b", &b),
            gone(9, "a"),
            put(11, 1, "c", &c),
            put(11, 0, "d", &d),
        ],
    }
}

fn breaks(spoil: impl FnOnce(&mut Story), expected: Expect) {
    let mut story = good();
    spoil(&mut story);
    expected.assert_eq(&story.judged().join("\n"));
}

#[test]
fn a_good_story_keeps_the_promise() {
    assert_eq!(good().judged(), Vec::<String>::new());
}

#[test]
fn an_acknowledged_write_that_is_not_there_is_found() {
    breaks(
        |story| drop(story.events.drain(4..)),
        expect![[r#"
        11: load-1#11 Create of Revision load/c at one: was acknowledged at 11.1, and is not in the log
        11: load-1#11 Create of Revision load/d at one: was acknowledged at 11.0, and is not in the log"#]],
    );
    breaks(
        |story| story.stored(0).header.position = 1,
        expect![[r#"
        2: load-1#2 Create of Revision load/a at one: was acknowledged at 2.0, and happened at 2.1
        3: load-1#3 Patch of Revision load/a at one: was asked on version 2.0, and happened on 2.1"#]],
    );
    breaks(
        |story| drop(story.events.remove(3)),
        expect![[r#"
        9: load-1#9 Delete of Revision load/a at one: was acknowledged at 9, and is not in the log
        9: load-1#10 get of Revision load/a at one: was told that there is none, and it was there from revision 9 to 11"#]],
    );
}

#[test]
fn another_content_than_was_answered_or_asked_for_is_found() {
    breaks(
        |story| {
            story.answers[1].told = Told::Object(at(version_of(3, 0), &object("a", "m3", &json!({"x": "3"}))))
        },
        expect![[
            r#"3: load-1#3 Patch of Revision load/a at one: was answered with {"metadata":{"annotations":{"load.berth.dev/op":"m3"},"name":"a","namespace":"load","resourceVersion":"3072","uid":"u"},"spec":{"x":"3"}}, and stored is {"metadata":{"annotations":{"load.berth.dev/op":"m3"},"name":"a","namespace":"load","uid":"u"},"spec":{"x":"2"}}"#
        ]],
    );
    breaks(
        |story| story.write(0).sent["spec"]["z"] = "1".into(),
        expect![[r#"2: load-1#2 Create of Revision load/a at one: asked for .spec.z = "1", and made null"#]],
    );
    breaks(
        |story| story.write(0).sent["spec"] = json!({"x": "1"}),
        expect![[
            r#"2: load-1#2 Create of Revision load/a at one: was to make {"x":"1"}, and made {"x":"1","y":"1"}"#
        ]],
    );
    breaks(
        |story| story.write(1).sent["spec"]["y"] = "1".into(),
        expect![[
            r#"3: load-1#3 Patch of Revision load/a at one: was to make {"metadata":{"annotations":{"load.berth.dev/op":"m3"},"name":"a","namespace":"load"},"spec":{"x":"2","y":"1"}}, and made {"metadata":{"annotations":{"load.berth.dev/op":"m3"},"name":"a","namespace":"load"},"spec":{"x":"2"}}"#
        ]],
    );
}

#[test]
fn what_was_refused_or_left_open_happens_not_or_once() {
    breaks(
        |story| story.answers[3].told = Told::Refused("Conflict".into(), "no".into()),
        expect![
            "5: load-1#5 Create of Revision load/b at one: was refused (Conflict: no), and happened at 5.0"
        ],
    );
    breaks(
        |story| {
            let other = put(5, 0, "b", &object("b", "other", &json!({})));
            story.events.insert(3, put(7, 0, "b", &object("b", "m5", &json!({}))));
            story.events.insert(3, Event { rev: 6, ..other });
        },
        expect![[r#"
            6: a write by `load-1` of Revision load/b at 6.0, which no operation asked for
            7: load-1#5 Create of Revision load/b at one: happened twice, at 5.0 and at 7.0"#]],
    );
}

#[test]
fn what_nobody_asked_for_is_found() {
    breaks(
        |story| story.events.push(put(12, 0, "c", &object("c", "m99", &json!({})))),
        expect!["12: a write by `load-1` of Revision load/c at 12.0, which no operation asked for"],
    );
    breaks(
        |story| story.events.push(gone(12, "c")),
        expect!["12: a removal of Revision load/c at 12.0, which no operation asked for"],
    );
    breaks(
        |story| {
            story.events.push(put(12, 0, "c", &object("c", "m11", &json!({"by": "somebody"}))));
            story.events.last_mut().unwrap().now.as_mut().unwrap().header.writer = "ctl".into();
        },
        expect!["12: a write by `ctl` of Revision load/c at 12.0, which no operation asked for"],
    );
}

#[test]
fn a_write_on_another_version_than_it_was_asked_on_is_found() {
    breaks(
        |story| story.write(1).version = Some(version_of(1, 0)),
        expect!["3: load-1#3 Patch of Revision load/a at one: was asked on version 1.0, and happened on 2.0"],
    );
    breaks(
        |story| story.write(1).uid = "other".into(),
        expect![
            "3: load-1#3 Patch of Revision load/a at one: was asked on the object of uid other, and happened on another"
        ],
    );
    breaks(
        |story| story.events.insert(0, put(1, 0, "b", &object("b", "m0", &json!({})))),
        expect![[r#"
        1: a write by `load-1` of Revision load/b at 1.0, which no operation asked for
        5: load-1#5 Create of Revision load/b at one: made an object that was there"#]],
    );
}

#[test]
fn a_torn_call_is_found() {
    breaks(
        |story| {
            story.events.pop();
            story.answers[10].told = Told::Unknown("?".into());
        },
        expect![
            "11: load-1#11 Create of Revision load/c at one: is of atomic call 11, which was torn: Revision load/d not at all, Revision load/c in revision 11"
        ],
    );
}

#[test]
fn an_answer_from_the_past_is_found() {
    let old = at(version_of(2, 0), &object("a", "m2", &json!({"x": "1", "y": "1"})));
    breaks(
        |story| story.answers[5].told = Told::Object(old),
        expect![
            "3: load-1#7 get of Revision load/a at one: was shown version 2.0, replaced at 3.0 when revision 3 was known already"
        ],
    );
    breaks(
        |story| story.answers[5].told = Told::Refused("NotFound".into(), String::new()),
        expect![
            "3: load-1#7 get of Revision load/a at one: was told that there is none, and it was there from revision 3 to 9"
        ],
    );
    breaks(
        |story| {
            story.answers[8].told =
                Told::Object(at(version_of(3, 0), &object("a", "m3", &json!({"x": "2"}))));
        },
        expect![
            "9: load-1#10 get of Revision load/a at one: was shown version 3.0, replaced at 9.0 when revision 9 was known already"
        ],
    );
    breaks(
        |story| {
            story.page(6, 0).version = all_of(4);
            story.page(6, 1).version = all_of(4);
            story.page(6, 1).items.clear();
            story.page(6, 0).more = false;
            story.answers[3].told = Told::Object(at(version_of(5, 0), &object("b", "m5", &json!({}))));
        },
        expect![
            "4: load-1#8 list of /berth/berth.dev/revisions/load  at one: was shown revision 4 when 5 was known already"
        ],
    );
}

#[test]
fn a_list_that_is_no_snapshot_is_found() {
    breaks(
        |story| drop(story.page(6, 0).items.remove(0)),
        expect![
            "5: load-1#8 list of /berth/berth.dev/revisions/load  at one: a page of 0 objects, asked for 1"
        ],
    );
    breaks(
        |story| story.page(6, 1).version = all_of(6),
        expect![
            "6: load-1#8 list of /berth/berth.dev/revisions/load  at one: a page of revision 6 after pages of 5"
        ],
    );
    breaks(
        |story| story.page(6, 1).items.clear(),
        expect![
            "5: load-1#8 list of /berth/berth.dev/revisions/load  at one: a page of revision 5 has 0 of 1 objects after `/berth/berth.dev/revisions/load/a` and says that these are all"
        ],
    );
    breaks(
        |story| story.page(6, 0).items[0].hash += 1,
        expect![
            "5: load-1#8 list of /berth/berth.dev/revisions/load  at one: revision 5 shows Revision load/a at 3.0 where there was with other content"
        ],
    );
    breaks(
        |story| story.page(6, 0).version = version_of(5, 0),
        expect![
            "5: load-1#8 list of /berth/berth.dev/revisions/load  at one: a page of version 5.0, within a revision"
        ],
    );
    breaks(
        |story| {
            let second = story.page(6, 1).items.clone();
            story.page(6, 0).items.extend(second);
            story.page(6, 1).items.clear();
        },
        expect![
            "5: load-1#8 list of /berth/berth.dev/revisions/load  at one: a page of revision 5 has 2 of 2 objects after `` and says that there are more"
        ],
    );
}

#[test]
fn a_renewed_list_goes_on_at_a_newer_revision() {
    let mut story = good();
    story.page(6, 1).version = all_of(6);
    story.page(6, 1).renewed = true;
    assert_eq!(story.judged(), Vec::<String>::new());
    breaks(
        |story| {
            story.page(6, 1).version = all_of(4);
            story.page(6, 1).renewed = true;
            story.page(6, 1).items.clear();
        },
        expect![
            "4: load-1#8 list of /berth/berth.dev/revisions/load  at one: a page of revision 4 after pages of 5"
        ],
    );
}

#[test]
fn a_write_of_the_status_leaves_the_rest_alone() {
    let condition = json!([{"type": STATUS_MARKER, "message": "m12"}]);
    let status = json!({"status": {"conditions": condition}});
    let tell = |change: &Value| {
        let mut story = good();
        let mut c = object("c", "m11", &json!({}));
        c["status"]["conditions"] = condition.clone();
        for (field, value) in change.as_object().unwrap() {
            c[field] = value.clone();
        }
        story.events.push(put(12, 0, "c", &c));
        let write = Asked::Write(write(Verb::PatchStatus, "c", status.clone(), "m12"));
        story.events.retain(|event| event.key != key("d"));
        story.answers.truncate(10);
        story.answers.push(operation(12, write, Told::Object(at(version_of(12, 0), &c))));
        story.judged().join("\n")
    };
    assert_eq!(tell(&json!({})), "");
    expect![[r#"12: load-1#12 PatchStatus of Revision load/c at one: was to make {"metadata":{"annotations":{"load.berth.dev/op":"m11"},"name":"c","namespace":"load"},"spec":{}}, and made {"metadata":{"annotations":{"load.berth.dev/op":"m11"},"name":"c","namespace":"load"},"spec":{"x":"1"}}"#]].assert_eq(&tell(&json!({"spec": {"x": "1"}})));
}
