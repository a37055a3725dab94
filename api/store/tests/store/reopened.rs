//! What the embedded store keeps from one opening to the next.

use std::time::{Duration, Instant};

use berth_store::{At, EmbeddedStore, Group, Store, StoreError, Write};
use futures::StreamExt;

const TTL: Duration = Duration::from_secs(2);

async fn write(store: &EmbeddedStore, writes: Vec<Write>) -> i64 {
    store.commit(vec![Group { conditions: vec![], writes }]).await.unwrap().rev
}

fn bound(key: &'static str, lease: i64) -> Write {
    Write::Put { key: key.into(), value: "bound".into(), lease }
}

#[tokio::test]
async fn a_store_is_opened_by_one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    let Err(StoreError::Unavailable(why)) = EmbeddedStore::open(dir.path()) else {
        panic!("it was opened twice")
    };
    assert!(why.ends_with(&format!("is held by process {}", std::process::id())), "{why}");
    drop(store);
    EmbeddedStore::open(dir.path()).unwrap();
}

fn name(store: &EmbeddedStore) -> String {
    store.history().split('.').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_journal_has_one_history_and_no_other_has_it() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let history = name(&EmbeddedStore::open(dir.path()).unwrap());
    assert_eq!(history.len(), 16);
    assert_eq!(name(&EmbeddedStore::open(dir.path()).unwrap()), history);
    assert_ne!(name(&EmbeddedStore::open(other.path()).unwrap()), history);
    assert_ne!(name(&EmbeddedStore::memory()), name(&EmbeddedStore::memory()));
}

/// An older copy of the folder has the same numbers, and soon the same revisions with other writes.
#[tokio::test]
async fn what_was_told_after_a_copy_was_made_is_not_of_the_copys_past() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = EmbeddedStore::open(dir.path()).unwrap();
    let both = write(&store, vec![Write::put("a", "1")]).await;
    drop(store);
    let journal = "journal.redb";
    std::fs::copy(dir.path().join(journal), copy.path().join(journal)).unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    let (told, only) = (store.history().to_owned(), write(&store, vec![Write::put("a", "2")]).await);
    drop(store);
    let restarted = EmbeddedStore::open(dir.path()).unwrap();
    assert!(restarted.includes(&told, both) && restarted.includes(&told, only));
    let restored = EmbeddedStore::open(copy.path()).unwrap();
    write(&restored, vec![Write::put("a", "3")]).await;
    assert_eq!(restored.current_rev().await, Ok(only));
    assert!(!restored.includes(&told, only));
    assert!(restored.includes(restored.history(), only));
}

#[tokio::test]
async fn revisions_go_on_where_they_ended() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    let first = write(&store, vec![Write::put("a", "1"), Write::put("b", "1")]).await;
    let last = write(&store, vec![Write::delete("a")]).await;
    drop(store);
    let store = EmbeddedStore::open(dir.path()).unwrap();
    assert_eq!(store.current_rev().await, Ok(last));
    assert_eq!(store.get(b"a", At::Latest).await, Ok((last, None)));
    assert_eq!(store.get(b"a", At::Rev(first)).await.unwrap().1.unwrap().mod_rev, first);
    store.compact(last).await.unwrap();
    drop(store);
    let store = EmbeddedStore::open(dir.path()).unwrap();
    assert_eq!(store.get(b"b", At::Rev(first)).await, Err(StoreError::Compacted { oldest: last }));
    assert_eq!(store.get(b"b", At::Latest).await.unwrap().1.unwrap().create_rev, first);
    assert_eq!(write(&store, vec![Write::put("a", "2")]).await, last + 1);
}

/// A tombstone is the newest thing there is and is compacted away: nothing in the history holds the revision.
#[tokio::test]
async fn a_revision_is_not_given_twice_though_nothing_of_it_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    write(&store, vec![Write::put("a", "1")]).await;
    let last = write(&store, vec![Write::delete("a")]).await;
    store.compact(last).await.unwrap();
    drop(store);
    let store = EmbeddedStore::open(dir.path()).unwrap();
    assert_eq!(store.current_rev().await, Ok(last));
}

#[tokio::test]
async fn leases_and_what_is_bound_to_them_stay_and_get_all_their_time_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    let kept = store.lease_grant(TTL).await.unwrap();
    let ended = store.lease_grant(TTL).await.unwrap();
    write(&store, vec![bound("a", kept), bound("b", ended)]).await;
    store.lease_revoke(ended).await.unwrap();
    drop(store);
    let opened = Instant::now();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    assert_eq!(store.lease_renew(ended).await, Err(StoreError::NoLease(ended)));
    let new = store.lease_grant(TTL).await.unwrap();
    assert!(![kept, ended].contains(&new), "a lease's id was given twice");
    let next = store.current_rev().await.unwrap() + 1;
    let mut watch = store.watch(b"a", b"b", next).await.unwrap();
    let gone = watch.next().await.unwrap().unwrap();
    assert_eq!((gone.changes.len(), gone.changes[0].now.as_ref()), (1, None));
    assert!(opened.elapsed() >= TTL, "it had not all its time: {:?}", opened.elapsed());
}

/// Every key goes with the lease that its last write before the closing named, and only with that one.
#[tokio::test]
async fn all_keys_of_a_lease_go_with_it_though_the_store_was_opened_anew_meanwhile() {
    const LONG: Duration = Duration::from_secs(600);
    let dir = tempfile::tempdir().unwrap();
    let mut store = EmbeddedStore::open(dir.path()).unwrap();
    let (one, other) = (store.lease_grant(LONG).await.unwrap(), store.lease_grant(LONG).await.unwrap());
    write(&store, vec![bound("a", one), bound("b", one), bound("c", other), bound("d", other)]).await;
    write(&store, vec![bound("e", one), bound("f", other), bound("moves", one), bound("stays", one)]).await;
    write(&store, vec![bound("gone", one), bound("again", one)]).await;
    let last = write(&store, vec![bound("moves", other), Write::put("stays", "1")]).await;
    write(&store, vec![Write::delete("gone"), Write::delete("again")]).await;
    write(&store, vec![Write::put("gone", "1"), bound("again", other)]).await;
    for compact in [last, last + 2] {
        store.compact(compact).await.unwrap();
        drop(store);
        store = EmbeddedStore::open(dir.path()).unwrap();
    }
    write(&store, vec![bound("late", one), bound("b", one)]).await;
    let table = [
        (one, vec!["a", "b", "e", "late"], vec!["again", "c", "d", "f", "gone", "moves", "stays"]),
        (other, vec!["again", "c", "d", "f", "moves"], vec!["gone", "stays"]),
    ];
    for (lease, goes, stays) in table {
        let next = store.current_rev().await.unwrap() + 1;
        let mut watch = store.watch(b"a", b"z", next).await.unwrap();
        store.lease_revoke(lease).await.unwrap();
        let told = watch.next().await.unwrap().unwrap();
        assert!(told.changes.iter().all(|change| change.now.is_none()), "{told:?}");
        assert_eq!(
            told.changes.iter().map(|change| &change.key[..]).collect::<Vec<_>>(),
            goes.clone().into_iter().map(str::as_bytes).collect::<Vec<_>>()
        );
        let left = store.range(b"a", b"z", 0, At::Latest).await.unwrap().kvs;
        assert_eq!(
            left.iter().map(|kv| &kv.key[..]).collect::<Vec<_>>(),
            stays.into_iter().map(str::as_bytes).collect::<Vec<_>>()
        );
    }
}

/// A lease that runs out takes all its keys along, also those that were bound before the last two openings.
#[tokio::test]
async fn all_keys_of_a_lease_that_runs_out_go_though_the_store_was_opened_anew_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = EmbeddedStore::open(dir.path()).unwrap();
    let (lease, kept) = (store.lease_grant(TTL).await.unwrap(), store.lease_grant(TTL * 300).await.unwrap());
    for keys in [["a", "b"], ["c", "d"]] {
        write(&store, keys.map(|key| bound(key, lease)).to_vec()).await;
        write(&store, vec![bound("kept", kept)]).await;
        drop(store);
        store = EmbeddedStore::open(dir.path()).unwrap();
    }
    let next = store.current_rev().await.unwrap() + 1;
    let mut watch = store.watch(b"a", b"z", next).await.unwrap();
    let gone = watch.next().await.unwrap().unwrap().changes;
    assert_eq!(gone.iter().map(|change| &change.key[..]).collect::<Vec<_>>(), [b"a", b"b", b"c", b"d"]);
    assert_eq!(store.range(b"a", b"z", 0, At::Latest).await.unwrap().kvs.len(), 1);
}

#[tokio::test]
async fn closing_the_store_ends_its_watches() {
    let dir = tempfile::tempdir().unwrap();
    for store in [EmbeddedStore::memory(), EmbeddedStore::open(dir.path()).unwrap()] {
        let mut watch = store.watch(b"a", b"b", 2).await.unwrap();
        drop(store);
        assert!(matches!(watch.next().await, Some(Err(StoreError::Unavailable(_)))));
        assert!(watch.next().await.is_none());
    }
}

/// Most of what was written is gone: the file gets smaller, in the store that dropped it and in one that is opened later;
/// and though somebody writes all the time.
#[tokio::test]
async fn a_journal_gives_back_the_space_of_what_was_dropped() {
    for (reopened, busy) in [(false, false), (true, false), (false, true)] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = EmbeddedStore::open(dir.path()).unwrap();
        let length = || std::fs::metadata(dir.path().join("journal.redb")).unwrap().len();
        let kept = write(&store, vec![Write::put("kept", "1")]).await;
        let empty = length();
        let keys = |n: u32| (0..10).map(move |k| format!("k-{n}-{k}"));
        for n in 0..30 {
            write(&store, keys(n).map(|key| Write::put(key, vec![b'x'; 100_000])).collect()).await;
        }
        let full = length() - empty;
        assert!(full > 30 << 20, "{full}");
        for n in 0..30 {
            write(&store, keys(n).map(Write::delete).collect()).await;
        }
        store.compact(store.current_rev().await.unwrap()).await.unwrap();
        if reopened {
            drop(store);
            store = EmbeddedStore::open(dir.path()).unwrap();
        }
        let end = Instant::now() + Duration::from_secs(60);
        while length() > empty + full / 4 {
            let left = length() - empty;
            let when = format!("reopened: {reopened}, busy: {busy}");
            assert!(Instant::now() < end, "{when}: it has {left} of {full} bytes still");
            if busy {
                write(&store, vec![Write::put("zz", "1")]).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(store.get(b"kept", At::Latest).await.unwrap().1.unwrap().mod_rev, kept);
        let last = write(&store, vec![Write::put("last", "2")]).await;
        drop(store);
        let store = EmbeddedStore::open(dir.path()).unwrap();
        let held = store.range(b"a", b"z", 0, At::Latest).await.unwrap().kvs;
        assert_eq!(held.iter().map(|kv| kv.mod_rev).collect::<Vec<_>>(), [kept, last]);
    }
}
