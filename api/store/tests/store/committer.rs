//! What a submitter is told is so, whatever became of the calls that carried its group.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use berth_store::{
    At, Author, Changes, Committer, CommitterOptions, Condition, EmbeddedStore, Ended, Group, LIMITS, Rev,
    Store, StoreError, Value, Write, positions,
};
use futures::StreamExt;

use crate::faults::{Fate, Faulty};
use crate::soak::seed;

const ORIGIN: u64 = 7;

fn committer(store: Arc<dyn Store>) -> Committer {
    Committer::new(
        store,
        CommitterOptions { settle_within: Duration::from_secs(30), ..CommitterOptions::of(ORIGIN) },
    )
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
    let author = author();
    let submitted = committer.submit(create("a"), &author);
    let others = async {
        let mut watch = store.watch(b"a", b"b", 2).await.unwrap();
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

/// Many submitters over a line that loses every third answer: what each was told is what the history shows.
#[tokio::test]
async fn what_was_told_is_what_happened() {
    futures::future::join_all((seed()..seed() + 20).map(over_a_bad_line)).await;
}

async fn over_a_bad_line(seed: u64) {
    let store = Arc::new(Faulty::seeded(seed));
    let committer = committer(store.clone());
    let clients = (0..8).map(|client| count_and_create(store.clone(), committer.clone(), client));
    let told: Vec<_> = futures::future::join_all(clients).await.into_iter().flatten().collect();
    store.settled().await;
    check(seed, &*store, &told).await;
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
            assert_eq!(read.map(|kv| kv.mod_rev), Some(rev), "one does not read what one wrote");
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
            let value = Value::parse(change.now.clone().unwrap().value).unwrap();
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

async fn history(store: &dyn Store) -> Vec<Changes> {
    let newest = store.current_rev().await.unwrap();
    let mut watch = store.watch(b"a", b"z", 2).await.unwrap();
    let mut history = Vec::new();
    while history.last().is_none_or(|last: &Changes| last.rev < newest) {
        history.push(watch.next().await.unwrap().unwrap());
    }
    history
}
