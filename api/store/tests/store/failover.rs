//! What becomes of calls and watches when members of etcd die, hang or lose their leader.

use std::sync::Arc;
use std::time::Duration;

use berth_store::{
    At, Author, Committer, CommitterOptions, Condition, Ended, EtcdOptions, EtcdStore, Group, Rev, Store,
    StoreError, Unsupported, WatchStream, Write,
};
use futures::StreamExt;

use crate::etcd::Etcd;

const VERSION: &str = "3.5.1";
const PATIENCE: Duration = Duration::from_secs(60);

fn quick() -> EtcdOptions {
    EtcdOptions {
        unsupported: Unsupported::Allow,
        deadline: Duration::from_secs(5),
        patience: Duration::from_secs(1),
    }
}

fn put(value: usize) -> Group {
    Group { conditions: vec![], writes: vec![Write::put("/a", value.to_string())] }
}

/// Puts until one is acknowledged.
async fn put_until_done(store: &EtcdStore, value: usize) {
    tokio::time::timeout(PATIENCE, async { while store.commit(vec![put(value)]).await.is_err() {} })
        .await
        .expect("no put comes through");
}

/// Reads the watch until it tells the value; revisions only rise, and each change begins where the last one ended.
async fn told_up_to(watch: &mut WatchStream, value: usize, mut before: Option<Rev>) -> Option<Rev> {
    loop {
        let next = tokio::time::timeout(PATIENCE, watch.next()).await.expect("the watch stands still");
        let changes = next.expect("it does not end").expect("it does not fail");
        let change = &changes.changes[0];
        assert_eq!(change.before.as_ref().map(|kv| kv.mod_rev), before, "a change was skipped or told twice");
        before = Some(changes.rev);
        if change.now.as_ref().unwrap().value == value.to_string() {
            return before;
        }
    }
}

#[tokio::test]
async fn a_version_that_loses_writes_is_refused() {
    let etcd = Etcd::start(VERSION);
    etcd.store().await;
    let refused = EtcdStore::connect(&etcd.urls(), EtcdOptions::default()).await.err();
    assert!(matches!(&refused, Some(StoreError::BadCall(why)) if why.contains("3.5.13")), "{refused:?}");
}

/// etcd 3.4 counts the puts of nested transactions for nothing: without help a full store would be written on.
#[tokio::test]
async fn a_full_store_is_read_and_emptied_but_not_written() {
    for version in ["3.5.1", "3.4.23"] {
        let etcd = Etcd::small(version, 16 << 20);
        let store = etcd.store_with(quick()).await;
        store.commit(vec![put(1)]).await.unwrap();
        // etcd measures its file, which grows a little after the writes.
        let large = || Write::put("/large", vec![b'x'; 500_000]);
        let filling = async {
            loop {
                match store.commit(vec![Group { conditions: vec![], writes: vec![large()] }]).await {
                    Err(StoreError::Full(_)) => return,
                    Ok(_) | Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, filling).await.unwrap_or_else(|_| panic!("{version} is never full"));
        assert!(matches!(store.commit(vec![put(2)]).await, Err(StoreError::Full(_))), "{version}");
        assert!(store.health().await.unwrap().read_only.is_some(), "{version}");
        assert!(store.get(b"/a", At::Latest).await.unwrap().1.is_some());
        let removed = Group { conditions: vec![], writes: vec![Write::delete("/a")] };
        let ended = store.commit(vec![removed]).await;
        // 3.5.1 refuses any transaction while it is full, one without writes too; 3.5.7 does not.
        assert!(ended.is_ok() || version == "3.5.1", "{ended:?}");
    }
}

#[tokio::test]
async fn what_never_left_was_not_done() {
    let mut etcd = Etcd::start(VERSION);
    let store = etcd.store_with(quick()).await;
    store.commit(vec![put(1)]).await.unwrap();
    etcd.kill_member(0);
    // The first call may still find the broken connection; it cannot know what became of it.
    let refusing = async {
        loop {
            match store.commit(vec![put(2)]).await {
                Err(StoreError::Unknown(_)) => tokio::task::yield_now().await,
                other => return other,
            }
        }
    };
    let refused = tokio::time::timeout(PATIENCE, refusing).await.expect("it never knows");
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert!(matches!(store.get(b"/a", At::Latest).await, Err(StoreError::Unavailable(_))));
    let nobody = EtcdStore::connect(&etcd.urls(), quick()).await.err();
    assert!(matches!(nobody, Some(StoreError::Unavailable(_))), "{nobody:?}");
    etcd.start_member(0);
    put_until_done(&store, 4).await;
}

#[tokio::test]
async fn calls_and_watches_go_on_when_a_member_dies() {
    let mut etcd = Etcd::cluster(VERSION, 3);
    let store = etcd.store_with(quick()).await;
    let mut watch = store.watch(b"/", b"0", 1).await.unwrap();
    put_until_done(&store, 0).await;
    let mut before = told_up_to(&mut watch, 0, None).await;
    for member in 0..3 {
        etcd.kill_member(member);
        for n in 1..=20 {
            put_until_done(&store, member * 100 + n).await;
        }
        before = told_up_to(&mut watch, member * 100 + 20, before).await;
        etcd.start_member(member);
    }
}

#[tokio::test]
async fn calls_and_watches_go_on_when_a_member_hangs() {
    let etcd = Etcd::cluster(VERSION, 3);
    let store = etcd.store_with(quick()).await;
    let mut watch = store.watch(b"/", b"0", 1).await.unwrap();
    put_until_done(&store, 0).await;
    let before = told_up_to(&mut watch, 0, None).await;
    etcd.signal_member(0, "-STOP");
    put_until_done(&store, 1).await;
    let seen = told_up_to(&mut watch, 1, before).await;
    assert!(seen > before);
    etcd.signal_member(0, "-CONT");
}

#[tokio::test]
async fn without_a_leader_calls_fail_and_watches_wait_for_one() {
    let mut etcd = Etcd::cluster(VERSION, 3);
    let store = etcd.store_with(quick()).await;
    put_until_done(&store, 0).await;
    let mut watch = store.watch(b"/", b"0", 1).await.unwrap();
    let before = told_up_to(&mut watch, 0, None).await;
    etcd.kill_member(1);
    etcd.kill_member(2);
    let health = store.health().await;
    assert!(matches!(health, Err(StoreError::Unavailable(_))), "{health:?}");
    assert!(store.commit(vec![put(1)]).await.is_err());
    etcd.start_member(1);
    put_until_done(&store, 2).await;
    told_up_to(&mut watch, 2, before).await;
}

/// A member that passed a write on to a leader that died says nothing for 7 s: the store asks it who leads, instead of
/// waiting, however patient it is.
#[tokio::test]
async fn a_write_given_to_a_dead_leader_is_not_waited_for() {
    let mut etcd = Etcd::cluster(VERSION, 3);
    let patient = EtcdOptions { deadline: PATIENCE, patience: PATIENCE, ..quick() };
    let leader = etcd.leader();
    let follower = etcd.urls().swap_remove((leader + 1) % 3);
    let store = EtcdStore::connect(&[follower], patient).await.unwrap();
    store.commit(vec![put(1)]).await.unwrap();
    etcd.kill_member(leader);
    let told = store.commit(vec![put(2)]).await;
    let heard = matches!(&told, Err(StoreError::Unknown(why)) if why.contains("meanwhile"));
    // Where this process is held up for a second, the new leader is there already.
    assert!(heard || told.is_ok(), "{told:?}");
    put_until_done(&store, 3).await;
}

/// A lost answer may have been any of three things; the committer finds out which. etcd 3.5.0 to 3.5.2 lose writes when a
/// member is killed under load: here it would be found to have another history.
#[tokio::test]
async fn a_committer_counts_right_through_deaths_of_members() {
    let mut etcd = Etcd::cluster("3.4.23", 3);
    let store = Arc::new(etcd.store_with(quick()).await);
    let options = CommitterOptions { settle_within: PATIENCE, ..CommitterOptions::of(1) };
    let committer = Committer::new(store.clone(), options);
    let counting = async {
        let mut last = None;
        for count in 1..=300 {
            last = Some(count_on(&committer, count, last).await);
        }
    };
    let dying = async {
        let mut watch = store.watch(b"/count", b"/count0", 1).await.unwrap();
        let mut told = 0;
        for member in [0, 1, 2] {
            while told < (member + 1) * 60 {
                told += watch.next().await.unwrap().unwrap().changes.len();
            }
            etcd.kill_member(member);
            etcd.start_member(member);
        }
    };
    let both = async { tokio::join!(counting, dying) };
    tokio::time::timeout(PATIENCE * 2, both).await.expect("it does not come to an end");
    let (_, kv) = store.get(b"/count", At::Latest).await.unwrap();
    assert_eq!(kv.unwrap().version, 300);
}

/// Writes the count if it was last written in `last`; the revision.
async fn count_on(committer: &Committer, count: usize, last: Option<Rev>) -> Rev {
    let condition =
        last.map_or_else(|| Condition::absent("/count"), |rev| Condition::unchanged("/count", rev));
    let group = Group { conditions: vec![condition], writes: vec![Write::put("/count", count.to_string())] };
    loop {
        match committer.submit(group.clone(), &Author::default()).await {
            Ok(Ended::Applied { rev, .. }) => return rev,
            Err(StoreError::Unavailable(_)) => {}
            other => panic!("count {count}: {other:?}"),
        }
    }
}
