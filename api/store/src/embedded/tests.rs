//! What the embedded store does when its journal fails it.

mod disk;
mod dropped;
mod full;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;

use super::engine::{END_AGAIN, Engine, JournalWriter, Writer};
use super::journal::{Entry, Failure, Journal};
use super::state::State;
use super::*;
use crate::{Condition, Outcome, Write};

/// A journal that takes so many appends and no more.
struct Takes(usize);

impl Journal for Takes {
    fn look(&mut self, _: u64) -> Result<(), StoreError> {
        Ok(())
    }

    fn needed(&self) -> u64 {
        0
    }

    fn admits(&mut self, _: Urgency, _: u64) -> bool {
        true
    }

    fn shortage(&self, _: Urgency) -> StoreError {
        unreachable!("it takes everything")
    }

    fn append(&mut self, _: &[Entry]) -> Result<(), Failure> {
        match self.0.checked_sub(1) {
            Some(left) => self.0 = left,
            None => return Err(Failure::Broken(StoreError::Full("no space".into()))),
        }
        Ok(())
    }
}

/// A journal without room for a removal; it counts how often it is asked for one.
struct TakesNoRemoval(Arc<AtomicUsize>);

impl Journal for TakesNoRemoval {
    fn look(&mut self, _: u64) -> Result<(), StoreError> {
        Ok(())
    }

    fn needed(&self) -> u64 {
        0
    }

    fn admits(&mut self, urgency: Urgency, _: u64) -> bool {
        let is_removal = urgency == Urgency::Removal;
        self.0.fetch_add(usize::from(is_removal), Ordering::Relaxed);
        !is_removal
    }

    fn shortage(&self, _: Urgency) -> StoreError {
        StoreError::Full("no space".into())
    }

    fn append(&mut self, _: &[Entry]) -> Result<(), Failure> {
        Ok(())
    }
}

fn store_over(journal: impl Journal + 'static) -> EmbeddedStore {
    let engine = Arc::new(Engine::new(State::empty()));
    let writer = Writer::inline(JournalWriter::new(engine.clone(), Box::new(journal), Vec::new()));
    EmbeddedStore::over(engine, writer, Lives::only(), None)
}

fn store_that_takes(appends: usize) -> EmbeddedStore {
    store_over(Takes(appends))
}

fn put(value: &'static str) -> Vec<Group> {
    vec![Group { conditions: vec![], writes: vec![Write::put("a", value)] }]
}

#[tokio::test]
async fn after_a_failed_append_only_reads_are_served() {
    let store = store_that_takes(1);
    let written = store.commit(put("1")).await.unwrap().rev;
    let mut watch = store.watch(b"a", b"b", written).await.unwrap();
    assert!(matches!(store.commit(put("2")).await, Err(StoreError::Unknown(_))));
    let full = Err(StoreError::Full("no space".into()));
    assert_eq!(store.commit(put("3")).await, full);
    let asking = vec![Group { conditions: vec![Condition::absent("b")], writes: vec![] }];
    assert_eq!(store.commit(asking).await, full);
    assert_eq!(store.lease_grant(Duration::from_secs(1)).await, Err(StoreError::Full("no space".into())));
    assert_eq!(store.health().await.unwrap().read_only, Some("store is full: no space".into()));
    let (rev, kv) = store.get(b"a", At::Latest).await.unwrap();
    assert_eq!((rev, kv.map(|kv| kv.value)), (written, Some("1".into())));
    assert_eq!(watch.next().await.unwrap().unwrap().rev, written);
}

#[tokio::test]
async fn a_lease_that_cannot_end_is_told_once_and_holds_up_no_read() {
    let store = store_that_takes(2);
    let lease = store.lease_grant(Duration::from_millis(50)).await.unwrap();
    let bound = Write::Put { key: "a".into(), value: "1".into(), lease };
    let rev = store.commit(vec![Group { conditions: vec![], writes: vec![bound] }]).await.unwrap().rev;
    let mut watch = store.watch(b"a", b"b", rev + 1).await.unwrap();
    assert!(matches!(watch.next().await, Some(Err(StoreError::Unknown(_)))));
    assert!(store.get(b"a", At::Latest).await.unwrap().1.is_some());
    let mut watch = store.watch(b"a", b"b", rev).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().rev, rev);
}

#[tokio::test(start_paused = true)]
async fn reads_do_not_each_ask_for_the_end_of_a_lease_for_which_there_is_no_room() {
    let asked = Arc::new(AtomicUsize::new(0));
    let store = store_over(TakesNoRemoval(asked.clone()));
    store.lease_grant(Duration::from_millis(50)).await.unwrap();
    for round in 1..=3 {
        tokio::time::advance(END_AGAIN).await;
        for _ in 0..100 {
            store.get(b"a", At::Latest).await.unwrap();
        }
        assert_eq!(asked.load(Ordering::Relaxed), round);
    }
}

#[tokio::test]
async fn a_lease_ends_whether_a_watch_or_a_read_notices_first() {
    const TTL: Duration = Duration::from_millis(50);
    let store = EmbeddedStore::memory();
    let lease = store.lease_grant(TTL).await.unwrap();
    let ends = Instant::now() + TTL;
    let bound = Write::Put { key: "a".into(), value: "1".into(), lease };
    let rev = store.commit(vec![Group { conditions: vec![], writes: vec![bound] }]).await.unwrap().rev;
    while store.get(b"a", At::Latest).await.unwrap().1.is_some() {
        assert!(Instant::now() < ends + Duration::from_secs(5), "the lease does not end");
        tokio::task::yield_now().await;
    }
    assert!(Instant::now() >= ends, "it ended too early");
    assert_eq!(store.current_rev().await, Ok(rev + 1));
    assert_eq!(store.lease_renew(lease).await, Err(StoreError::NoLease(lease)));
}

#[tokio::test]
async fn a_watcher_that_compaction_overtakes_is_cut_off() {
    let store = EmbeddedStore::memory();
    let first = store.commit(put("1")).await.unwrap().rev;
    let mut watch = store.watch(b"a", b"b", first).await.unwrap();
    for _ in 0..3 {
        assert_eq!(store.commit(put("2")).await.unwrap().outcomes, [Outcome::Applied]);
    }
    store.compact(first + 2).await.unwrap();
    assert_eq!(watch.next().await, Some(Err(StoreError::Lagged)));
    assert!(watch.next().await.is_none());
}
