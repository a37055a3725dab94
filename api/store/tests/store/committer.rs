//! What a submitter is told is so, whatever became of the calls that carried its group.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use berth_store::committer::FENCES;
use berth_store::{
    At, Author, Changes, Committer, CommitterOptions, Condition, EmbeddedStore, Ended, Group, LIMITS,
    Outcome, Rev, Store, StoreError, Submission, Urgency, Value, Write, positions,
};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::etcd::Etcd;
use crate::faults::{Fate, Faulty};
use crate::soak::seed;

const ORIGIN: u64 = 7;

/// The keys of all tests, those of the fences first.
const FIRST: &[u8] = b"/";
const AFTER_FENCES: &[u8] = b"0";
const LAST: &[u8] = b"~";

fn committer(store: Arc<dyn Store>) -> Committer {
    committer_of(ORIGIN, store)
}

fn committer_of(origin: u64, store: Arc<dyn Store>) -> Committer {
    let settle_within = Duration::from_secs(30);
    Committer::new(store, CommitterOptions { settle_within, ..CommitterOptions::of(origin) })
}

fn author() -> Author {
    Author { name: "a-test".into(), epoch: 3 }
}

fn create(key: &str) -> Group {
    let key = key.to_owned();
    Group { conditions: vec![Condition::absent(key.clone())], writes: vec![Write::put(key, "{}")] }
}

fn applied(ended: &Ended) -> Option<(Rev, Vec<u16>)> {
    match ended {
        Ended::Applied { rev, positions } => Some((*rev, positions.clone())),
        Ended::Conflict { .. } | Ended::Unclear { .. } => None,
    }
}

/// Groups whose only guard may be that keys are absent, over a store that has `there` since a revision.
fn creations(there: Rev) -> Vec<(&'static str, Group)> {
    let absent = |key: &'static str| Condition::absent(key);
    let put = |key: &'static str| Write::put(key, "{}");
    let there = Condition::unchanged("there", there);
    let group = |conditions: &[Condition], writes: &[Write]| Group {
        conditions: conditions.to_vec(),
        writes: writes.to_vec(),
    };
    vec![
        ("one key", group(&[absent("a")], &[put("a")])),
        ("two keys", group(&[absent("a"), absent("b")], &[put("a"), put("b")])),
        ("beside what must be there", group(&[there.clone(), absent("a")], &[put("a")])),
        ("with a key that it does not ask about", group(&[absent("a")], &[put("0"), put("a"), put("x")])),
        ("while another key is absent", group(&[absent("b"), absent("a")], &[put("a")])),
        ("in place of another", group(&[there, absent("a")], &[Write::delete("there"), put("a")])),
    ]
}

/// A form of the store, empty, and what it lives in.
type Form = (&'static str, Arc<dyn Store>, Box<dyn std::any::Any>);

async fn forms() -> Vec<Form> {
    let dir = tempfile::tempdir().unwrap();
    let mut forms: Vec<Form> = vec![
        ("memory", Arc::new(EmbeddedStore::memory()), Box::new(())),
        ("embedded", Arc::new(EmbeddedStore::open(dir.path()).unwrap()), Box::new(dir)),
    ];
    for version in ["3.5.1", "3.4.23"] {
        let etcd = Etcd::start(version);
        forms.push((version, Arc::new(etcd.store().await), Box::new(etcd)));
    }
    forms
}

/// How often each key was put, since the store was empty.
async fn puts(store: &dyn Store) -> HashMap<Bytes, usize> {
    let mut puts = HashMap::new();
    for change in history(store).await.into_iter().flat_map(|changes| changes.changes) {
        *puts.entry(change.key).or_default() += usize::from(change.now.is_some());
    }
    puts
}

/// Removes every key from `start` on; a key `there` is made anew.
async fn empty(store: &dyn Store, start: &[u8]) -> Rev {
    let kvs = store.range(start, LAST, 0, At::Latest).await.unwrap().kvs;
    let removing = kvs.into_iter().map(|kv| Write::delete(kv.key)).collect();
    store.commit(vec![Group { conditions: vec![], writes: removing }]).await.unwrap();
    let put = vec![Write::put("there", "{}")];
    store.commit(vec![Group { conditions: vec![], writes: put }]).await.unwrap().rev
}

/// The answer to a create is lost; another sees the object and removes it before the create is sent again.
#[tokio::test]
async fn what_was_created_and_removed_before_the_resend_is_not_created_again() {
    for (form, inner, _kept) in forms().await {
        for (what, _) in creations(1) {
            let there = empty(&*inner, FIRST).await;
            let group = creations(there).into_iter().find(|(name, _)| *name == what).unwrap().1;
            let store = Arc::new(Faulty::scripted_over(inner.clone(), vec![Fate::Undone]));
            let before = puts(&*inner).await;
            let ended = committer(store).submit(group.clone(), &author()).await;
            let (rev, _) = applied(&ended.unwrap()).unwrap_or_else(|| panic!("{form}, {what}"));
            assert_eq!(rev, there + 1, "{form}, {what}: it happened at once, and then no more");
            let after = puts(&*inner).await;
            for key in group.writes.iter().map(Write::key) {
                let put = usize::from(*key != "there");
                let before = before.get(key).copied().unwrap_or(0);
                assert_eq!(after[key], before + put, "{form}, {what}: {key:?} was created twice");
                assert_eq!(inner.get(key, At::Latest).await.unwrap().1, None, "{form}, {what}: {key:?}");
            }
        }
    }
}

/// A member that hung carries a create out long after it was settled through another one, and removed.
#[tokio::test]
async fn a_create_that_is_carried_out_late_does_nothing() {
    for (form, inner, _kept) in forms().await {
        for (what, _) in creations(1) {
            for fates in
                [vec![Fate::Held], vec![Fate::Held, Fate::Held], vec![Fate::Held, Fate::Answered, Fate::Held]]
            {
                let at = format!("{form}, {what}, {fates:?}");
                let there = empty(&*inner, FIRST).await;
                let group = creations(there).into_iter().find(|(name, _)| *name == what).unwrap().1;
                let store = Arc::new(Faulty::scripted_over(inner.clone(), fates));
                let committer = committer(store.clone());
                let ended = committer.submit(group, &author()).await.unwrap();
                assert!(applied(&ended).is_some(), "{at}: {ended:?}");
                empty(&*inner, AFTER_FENCES).await;
                let before = puts(&*inner).await;
                for late in store.release().await {
                    let outcomes = late.unwrap().outcomes;
                    assert!(
                        outcomes.iter().all(|outcome| *outcome != Outcome::Applied),
                        "{at}: {outcomes:?}"
                    );
                }
                assert_eq!(puts(&*inner).await, before, "{at}: it was carried out late");
            }
        }
    }
}

/// A refusal is final too: what was in the way goes, and the first sending is still not carried out.
#[tokio::test]
async fn a_create_that_was_refused_is_not_carried_out_late() {
    for (form, inner, _kept) in forms().await {
        let there = empty(&*inner, FIRST).await;
        let group = Group {
            conditions: vec![Condition::unchanged("there", there), Condition::absent("a")],
            writes: vec![Write::put("there", "{}"), Write::put("a", "{}")],
        };
        let store = Arc::new(Faulty::scripted_over(inner.clone(), vec![Fate::Held]));
        let others = vec![Group { conditions: vec![], writes: vec![Write::put("a", "other")] }];
        inner.commit(others).await.unwrap();
        let ended = committer(store.clone()).submit(group, &author()).await.unwrap();
        let Ended::Conflict { current, .. } = &ended else { panic!("{form}: {ended:?}") };
        assert_eq!(current.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true], "{form}");
        let removed = Group { conditions: vec![], writes: vec![Write::delete("a")] };
        inner.commit(vec![removed]).await.unwrap();
        store.release().await;
        assert_eq!(inner.get(b"a", At::Latest).await.unwrap().1, None, "{form}");
    }
}

/// Committers that share a fence key, and lose answers in turn, only make each other send again.
#[tokio::test]
async fn committers_that_share_a_fence_key_do_not_keep_each_other_from_creating() {
    let inner: Arc<dyn Store> = Arc::new(EmbeddedStore::memory());
    let fates = vec![Fate::Held, Fate::Answered, Fate::LostAfter];
    let stores = [0, 1].map(|_| Arc::new(Faulty::scripted_over(inner.clone(), fates.clone())));
    let both = [0, 1].map(|n| committer_of(ORIGIN + n * 64, stores[usize::try_from(n).unwrap()].clone()));
    for number in 0..6 {
        let [one, other] = [0, 1].map(|n| create(&format!("{n}.{number}")));
        let author = author();
        let (one, other) = tokio::join!(both[0].submit(one, &author), both[1].submit(other, &author));
        for ended in [one, other] {
            assert!(applied(&ended.unwrap()).is_some(), "number {number}");
        }
    }
    for store in stores {
        store.release().await;
    }
    assert!(puts(&*inner).await.values().all(|puts| *puts == 1));
    let fences = inner.range(FIRST, AFTER_FENCES, 0, At::Latest).await.unwrap().kvs;
    assert_eq!(fences.len(), 1, "{fences:?}");
    assert!(fences[0].key.starts_with(FENCES.as_bytes()) && Value::parse(fences[0].value.clone()).is_ok());
}

async fn submit_to(fates: &[Fate], group: Group) -> (Arc<Faulty>, Result<Ended, StoreError>) {
    let store = Arc::new(Faulty::scripted(fates.to_vec()));
    let ended = committer(store.clone()).submit(group, &author()).await;
    (store, ended)
}

#[tokio::test]
async fn a_put_carries_its_author_and_the_position_that_was_told() {
    let store = Arc::new(EmbeddedStore::memory());
    let put = |key: &str| Write::put(key.to_owned(), format!("\"{key}\""));
    let group = Group { conditions: vec![], writes: vec![put("b"), Write::delete("x"), put("a")] };
    let ended = committer(store.clone()).submit(group, &author()).await.unwrap();
    let (rev, told) = applied(&ended).unwrap();
    assert_eq!(told, [0, 1]);
    for (key, position) in [("b", 0), ("a", 1)] {
        let kv = store.get(key.as_bytes(), At::Latest).await.unwrap().1.unwrap();
        let value = Value::parse(kv.value).unwrap();
        assert_eq!((kv.mod_rev, value.position(), value.epoch()), (rev, position, 3));
        assert_eq!((value.writer(), value.json()), ("a-test", format!("\"{key}\"").into()));
    }
}

#[tokio::test]
async fn a_group_without_writes_is_confirmed_or_refused_by_the_store() {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::memory());
    let committer = committer(store.clone());
    let rev = applied(&committer.submit(create("a"), &author()).await.unwrap()).unwrap().0;
    let asks = |condition| Group { conditions: vec![condition], writes: vec![] };
    let held = committer.submit(asks(Condition::unchanged("a", rev)), &author()).await.unwrap();
    assert_eq!(held, Ended::Applied { rev, positions: vec![] });
    let refused = committer.submit(asks(Condition::absent("a")), &author()).await.unwrap();
    assert!(matches!(refused, Ended::Conflict { rev: at, current } if at == rev && current[0].is_some()));
    assert_eq!(store.current_rev().await, Ok(rev));
}

#[tokio::test]
async fn a_lost_answer_is_settled_by_sending_the_group_again() {
    let table: [&[Fate]; 5] = [
        &[Fate::LostBefore],
        &[Fate::LostAfter],
        &[Fate::LostAfter, Fate::LostAfter, Fate::NotDone],
        &[Fate::LostBefore, Fate::NotDone, Fate::LostAfter],
        &[Fate::Late],
    ];
    for fates in table {
        let (store, ended) = submit_to(fates, create("a")).await;
        let (rev, told) = applied(&ended.unwrap()).unwrap_or_else(|| panic!("{fates:?}"));
        store.settled().await;
        let kv = store.get(b"a", At::Latest).await.unwrap().1.unwrap();
        assert_eq!((kv.mod_rev, kv.version, told), (rev, 1, vec![0]), "{fates:?}");
    }
}

#[tokio::test]
async fn what_the_store_did_not_do_is_not_sent_again() {
    let (store, ended) = submit_to(&[Fate::NotDone], create("a")).await;
    assert!(matches!(ended, Err(StoreError::Unavailable(_))), "{ended:?}");
    assert_eq!(store.get(b"a", At::Latest).await.unwrap().1, None);
}

#[tokio::test]
async fn a_group_that_could_happen_twice_is_sent_once() {
    for condition in [None, Some(Condition::absent("b"))] {
        let group =
            Group { conditions: condition.into_iter().collect(), writes: vec![Write::put("a", "{}")] };
        let (store, ended) = submit_to(&[Fate::LostAfter], group).await;
        assert!(matches!(ended, Err(StoreError::Unknown(_))), "{ended:?}");
        assert_eq!(store.get(b"a", At::Latest).await.unwrap().1.unwrap().version, 1);
    }
}

#[tokio::test]
async fn what_was_written_over_meanwhile_is_unclear() {
    let store = Arc::new(Faulty::scripted(vec![Fate::LostAfter, Fate::NotDone]));
    let committer = committer(store.clone());
    let first = vec![Group { conditions: vec![], writes: vec![Write::put("a", "before")] }];
    let rev = store.inner.commit(first).await.unwrap().rev;
    let group =
        Group { conditions: vec![Condition::unchanged("a", rev)], writes: vec![Write::put("a", "{}")] };
    let author = author();
    let submitted = committer.submit(group, &author);
    let others = async {
        let mut watch = store.watch(b"a", b"b", rev + 1).await.unwrap();
        let mine = watch.next().await.unwrap().unwrap();
        let over = Group { conditions: vec![], writes: vec![Write::put("a", "over")] };
        store.inner.commit(vec![over]).await.unwrap();
        mine
    };
    let (ended, mine) = tokio::join!(submitted, others);
    let Ok(Ended::Unclear { write_id, .. }) = ended else { panic!("{ended:?}") };
    let kv = mine.changes[0].now.clone().unwrap();
    assert_eq!(Value::parse(kv.value).unwrap().write_id(), write_id);
}

#[tokio::test]
async fn groups_of_one_key_all_happen_and_a_group_over_the_limits_is_refused() {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::memory());
    let committer = committer(store.clone());
    let blind = || Group { conditions: vec![], writes: vec![Write::put("a", "{}")] };
    let author = author();
    let all = futures::future::join_all((0..300).map(|_| committer.submit(blind(), &author))).await;
    assert!(all.iter().all(|ended| ended.is_ok()));
    assert_eq!(store.get(b"a", At::Latest).await.unwrap().1.unwrap().version, 300);
    let writes = (0..LIMITS.operations).map(|n| Write::put(format!("k{n}"), "{}")).collect();
    let refused = committer.submit(Group { conditions: vec![], writes }, &author).await;
    assert!(matches!(refused, Err(StoreError::BadCall(_))), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_behind_calls_that_are_never_answered_is_told_so() {
    let store = Arc::new(Faulty::new(|| Fate::Silent));
    let committer = committer(store);
    let author = author();
    // Groups of one key go in calls of their own. Nobody submits anything after them, and no call ends.
    let put = || Group { conditions: vec![], writes: vec![Write::put("a", "{}")] };
    let mut submitted: FuturesUnordered<_> = (0..6).map(|_| committer.submit(put(), &author)).collect();
    for _ in 0..2 {
        let told = tokio::time::timeout(Duration::from_secs(60), submitted.next()).await;
        let told = told.expect("those who wait hear nothing");
        assert!(matches!(told, Some(Err(StoreError::Unavailable(_)))), "{told:?}");
    }
}

/// Many submitters over a line that loses every third answer: what each was told is what the history shows.
#[tokio::test]
async fn what_was_told_is_what_happened() {
    futures::future::join_all((seed()..seed() + 20).map(over_a_bad_line)).await;
}

async fn over_a_bad_line(seed: u64) {
    let store = Arc::new(Faulty::seeded(seed));
    let committer = committer(store.clone());
    let clients = (0..8).map(|client| count_and_create(store.clone(), committer.clone(), client));
    let counting = futures::future::join_all(clients);
    let (told, ()) = tokio::join!(counting, remove_what_is_seen(&store, seed));
    let told: Vec<_> = told.into_iter().flatten().collect();
    store.settled().await;
    check(seed, &*store, &told).await;
}

/// The groups travel in one call; how each ended.
async fn together<const N: usize>(
    store: Faulty,
    groups: [(Group, Urgency); N],
) -> [Result<(), StoreError>; N] {
    let committer = committer(Arc::new(store));
    let author = author();
    let submitted = groups.map(|(group, urgency)| {
        committer.carry_out(Submission { group, urgency, ..Submission::default() }, &author)
    });
    let ended = futures::future::join_all(submitted).await;
    let ended: Vec<_> = ended.into_iter().map(|ended| ended.map(drop)).collect();
    ended.try_into().unwrap()
}

fn writing(writes: Vec<Write>) -> Group {
    Group { conditions: vec![], writes }
}

#[tokio::test]
async fn on_a_full_store_a_group_without_writes_is_answered_and_holds_up_no_delete() {
    // As a store with a reserve does.
    let refuses = |groups: &[Group], urgency: Urgency| {
        urgency < Urgency::Removal && groups.iter().any(|group| !group.writes.is_empty())
    };
    let asks = Group { conditions: vec![Condition::absent("b")], writes: vec![] };
    let groups = [(asks, Urgency::Ordinary), (writing(vec![Write::delete("a")]), Urgency::Ordinary)];
    assert_eq!(together(Faulty::full(refuses), groups).await, [Ok(()), Ok(())]);
}

#[tokio::test]
async fn a_full_store_that_refuses_every_put_carries_out_the_deletes_beside_it() {
    // As etcd does.
    let refuses = |groups: &[Group], _: Urgency| {
        groups.iter().flat_map(|group| &group.writes).any(|write| matches!(write, Write::Put { .. }))
    };
    let put = |urgency| (writing(vec![Write::put(format!("{urgency:?}"), "{}")]), urgency);
    let delete = (writing(vec![Write::delete("a")]), Urgency::Ordinary);
    let groups = [put(Urgency::Removal), delete, put(Urgency::Ordinary)];
    let full = || Err(StoreError::Full("no space".into()));
    assert_eq!(together(Faulty::full(refuses), groups).await, [full(), Ok(()), full()]);
}

/// Another client, over a good line: removes what it sees, now and then.
async fn remove_what_is_seen(store: &Faulty, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..200 {
        tokio::task::yield_now().await;
        let kvs = store.inner.range(AFTER_FENCES, LAST, 0, At::Latest).await.unwrap().kvs;
        let Some(kv) = rng.choice(kvs) else { continue };
        let group = Group {
            conditions: vec![Condition::unchanged(kv.key.clone(), kv.mod_rev)],
            writes: vec![Write::delete(kv.key)],
        };
        store.inner.commit(vec![group]).await.unwrap();
    }
}

/// A value that one group was to write to a shared key and to one of its own, and how that ended.
struct Told {
    value: String,
    ended: Result<Ended, StoreError>,
}

async fn count_and_create(store: Arc<Faulty>, committer: Committer, client: usize) -> Vec<Told> {
    let mut told = Vec::new();
    for number in 0..12 {
        let shared = format!("shared/{}", number % 2);
        let seen = store.get(shared.as_bytes(), At::Latest).await.unwrap().1;
        let unchanged = match &seen {
            Some(kv) => Condition::unchanged(shared.clone(), kv.mod_rev),
            None => Condition::absent(shared.clone()),
        };
        let value = format!("\"{client}.{number}\"");
        let own = format!("own/{client}.{number}");
        let group = Group {
            conditions: vec![unchanged, Condition::absent(own.clone())],
            writes: vec![Write::put(own.clone(), value.clone()), Write::put(shared.clone(), value.clone())],
        };
        let ended = committer.submit(group, &author()).await;
        if let Ok(Some((rev, _))) = ended.as_ref().map(applied) {
            let read = store.get(own.as_bytes(), At::Latest).await.unwrap().1;
            assert!(read.is_none_or(|kv| kv.mod_rev == rev), "one does not read what one wrote");
        }
        told.push(Told { value, ended });
    }
    told
}

async fn check(seed: u64, store: &dyn Store, told: &[Told]) {
    let history = history(store).await;
    let mut writes: HashMap<String, Vec<(Rev, Vec<u16>)>> = HashMap::new();
    for changes in &history {
        let mut found: HashMap<String, Vec<u16>> = HashMap::new();
        for (change, position) in changes.changes.iter().zip(positions(changes).unwrap()) {
            let Some(put) = change.now.clone() else { continue };
            let value = Value::parse(put.value).unwrap();
            found.entry(String::from_utf8(value.json().to_vec()).unwrap()).or_default().push(position);
        }
        for (value, positions) in found {
            writes.entry(value).or_default().push((changes.rev, positions));
        }
    }
    for Told { value, ended } in told {
        let happened = writes.remove(value).unwrap_or_default();
        match ended {
            Ok(Ended::Applied { rev, positions }) => {
                assert_eq!(happened, [(*rev, positions.clone())], "seed {seed}: {value}");
            }
            Ok(Ended::Unclear { .. }) | Err(StoreError::Unknown(_)) => {
                assert!(happened.len() <= 1, "seed {seed}: {value}")
            }
            Ok(Ended::Conflict { .. }) | Err(_) => assert_eq!(happened, [], "seed {seed}: {value}"),
        }
    }
    assert!(writes.is_empty(), "seed {seed}: nobody wrote {writes:?}");
}

/// All that ever was, but the writes of fences.
async fn history(store: &dyn Store) -> Vec<Changes> {
    let newest = store.current_rev().await.unwrap();
    let mut watch = store.watch(FIRST, LAST, 2).await.unwrap();
    let mut history = Vec::new();
    while history.last().is_none_or(|last: &Changes| last.rev < newest) {
        history.push(watch.next().await.unwrap().unwrap());
    }
    history.retain(|changes| !changes.changes[0].key.starts_with(FENCES.as_bytes()));
    history
}
