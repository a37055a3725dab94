//! A real disk, small and full to its last byte, whose space another writer takes at once.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

use super::super::folder::free_bytes;
use super::dropped::{HALF, Hand};
use super::full::commit;
use super::*;

const BYTES: u64 = 64 << 20;
/// What may be removed, ended and renewed while the disk is full.
const TASKS: usize = 300;
const RENEWALS: usize = 500;

/// A file system in memory; gone with the test. Needs root.
struct Disk {
    folder: TempDir,
}

impl Disk {
    fn mounted() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let size = std::ffi::CString::new(format!("size={BYTES}")).unwrap();
        mount("tmpfs", folder.path(), "tmpfs", MountFlags::empty(), size.as_c_str()).expect("root mounts");
        Self { folder }
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Takes all that is left.
    fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.filler()).unwrap();
        let mut size = 1 << 20;
        while size > 0 {
            match file.write(&vec![0; size]) {
                Ok(written) if written > 0 => {}
                Ok(_) => size /= 2,
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => size /= 2,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(free_bytes(self.folder.path()), 0);
    }

    /// Takes all but so many bytes.
    fn leave(&self, bytes: u64) {
        self.fill();
        let file = File::options().write(true).open(self.filler()).unwrap();
        file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
        assert_eq!(free_bytes(self.folder.path()), bytes);
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.folder.path().join("others")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(self.folder.path(), UnmountFlags::DETACH).ok();
    }
}

fn task(n: usize) -> String {
    format!("/berth/Task/default/task-{n:06}")
}

async fn put(store: &EmbeddedStore, key: String, bytes: usize, urgency: Urgency) -> Result<Rev, StoreError> {
    let writes = vec![Write::put(key, vec![b'x'; bytes])];
    let groups = vec![Group { conditions: vec![], writes }];
    store.commit_urgent(groups, urgency).await.map(|committed| committed.rev)
}

async fn delete(store: &EmbeddedStore, key: String) -> Rev {
    let groups = vec![Group { conditions: vec![], writes: vec![Write::delete(key)] }];
    store.commit(groups).await.expect("deletes are written").rev
}

/// All that is readable now.
async fn held(store: &EmbeddedStore) -> Vec<Kv> {
    store.range(b"/", b"0", 0, At::Latest).await.unwrap().kvs
}

/// Everything between `fill` and `free`: no byte of the disk is left, and none that is given back.
async fn a_while_without_space(disk: &Disk, store: &EmbeddedStore, round: usize) {
    let refused = put(store, "/berth/App/default/new".into(), 100, Urgency::Ordinary).await.unwrap_err();
    let StoreError::Full(text) = &refused else { panic!("{refused}") };
    let folder = disk.store().display().to_string();
    for part in [folder.as_str(), "0 MiB left", "free some space", "deletes"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(store.health().await.unwrap().read_only.is_some());
    let lease = store.lease_grant(Duration::from_secs(600)).await.expect("a server begins");
    for n in 0..TASKS {
        put(store, task(2 * n), 4000 + round, Urgency::Removal).await.expect("ends are written");
        delete(store, task(2 * n + 1)).await;
        disk.fill();
    }
    for n in 0..RENEWALS {
        let renewed = put(store, "/berth/Lease/default/leader".into(), 600, Urgency::Upkeep).await;
        let rev = renewed.unwrap_or_else(|error| panic!("renewal {n}: {error}"));
        if n % 100 == 0 {
            store.compact(rev).await.expect("compactions are written");
            disk.fill();
        }
    }
    store.lease_renew(lease).await.expect("leases are renewed");
    store.lease_revoke(lease).await.expect("leases end");
    assert!(put(store, "/berth/App/default/new".into(), 100, Urgency::Ordinary).await.is_err());
}

#[tokio::test]
async fn on_a_full_disk_deletes_ends_and_leases_are_written_and_with_space_all_is_again() {
    let disk = Disk::mounted();
    let mut store = EmbeddedStore::open(&disk.store()).unwrap();
    for round in 0..2 {
        for n in 0..2 * TASKS {
            put(&store, task(n), 2000 + round, Urgency::Ordinary).await.unwrap();
        }
        let key = format!("/berth/App/default/app-{round}");
        put(&store, key, 1000, Urgency::Ordinary).await.expect("there is space");
        disk.fill();
        a_while_without_space(&disk, &store, round).await;
        let before = held(&store).await;
        drop(store);
        disk.fill();
        store = EmbeddedStore::open(&disk.store()).expect("a process begins on a full disk");
        disk.fill();
        assert_eq!(held(&store).await, before);
        delete(&store, task(0)).await;
        let before = held(&store).await;
        disk.free();
        put(&store, "/berth/App/default/new".into(), 100, Urgency::Ordinary)
            .await
            .expect("there is space again");
        delete(&store, "/berth/App/default/new".into()).await;
        assert_eq!(store.health().await.unwrap().read_only, None);
        assert_eq!(held(&store).await, before);
    }
    let before = held(&store).await;
    drop(store);
    assert_eq!(held(&EmbeddedStore::open(&disk.store()).unwrap()).await, before);
}

/// What is in the reserve is moved before an ordinary write, and that needs room too.
#[tokio::test]
async fn a_store_is_reported_as_full_exactly_while_it_refuses_ordinary_writes() {
    let disk = Disk::mounted();
    let store = EmbeddedStore::open(&disk.store()).unwrap();
    disk.fill();
    for n in 0..20 {
        put(&store, task(n), 100_000, Urgency::Removal).await.expect("ends are written");
    }
    // The reserve holds 2 MB, and is empty after the first ordinary write.
    for (more, accepts) in [(4 << 20, false), (16 << 20, true), (4 << 20, true)] {
        disk.leave(ENOUGH + more);
        let read_only = store.health().await.unwrap().read_only;
        let written = put(&store, "/berth/App/default/new".into(), 100, Urgency::Ordinary).await;
        assert_eq!((read_only.is_none(), written.is_ok()), (accepts, accepts), "{more}: {read_only:?}");
    }
}

/// A start that failed for want of space leaves nothing that a later start takes for a damaged journal.
#[test]
fn a_first_start_on_a_full_disk_harms_no_later_one() {
    let disk = Disk::mounted();
    let dir = disk.store();
    std::fs::create_dir(&dir).unwrap();
    let open = || Hand::open_with(&dir, HALF, free_bytes).map(|(hand, _)| hand.engine.state().rev());
    let mut failed = 0;
    for left in (0..=2 * HALF + (64 << 10)).step_by(4096) {
        disk.leave(left);
        match open() {
            Ok(_) => {}
            Err(StoreError::Full(_)) => failed += 1,
            Err(other) => panic!("{left} bytes left: {other}"),
        }
        disk.free();
        assert_eq!(open(), Ok(State::empty().rev()), "after a start with {left} bytes left");
        std::fs::remove_file(dir.join("journal.redb")).unwrap();
    }
    assert!(failed > 2 * HALF / 4096, "only {failed} starts failed");
}

/// The keys with the revision and the size of their newest version: the values are large.
fn readable(hand: &Hand) -> Vec<(Bytes, Rev, usize)> {
    let page = hand.engine.state().range(b"a", b"z", 0, At::Latest).unwrap();
    page.kvs.into_iter().map(|kv| (kv.key, kv.mod_rev, kv.value.len())).collect()
}

thread_local! {
    static IS_HONEST: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// What a look finds just before others take all of it.
fn much_or_what_is_left(folder: &Path) -> u64 {
    if IS_HONEST.get() { free_bytes(folder) } else { u64::MAX }
}

/// The look before a write was in vain: the write is refused, no other is, and nothing that was acknowledged is lost.
#[test]
fn a_disk_that_becomes_full_in_the_middle_of_a_write_ends_no_other() {
    let disk = Disk::mounted();
    let dir = disk.store();
    std::fs::create_dir(&dir).unwrap();
    let open = || Hand::open_with(&dir, 1 << 20, much_or_what_is_left).unwrap().0;
    let (mut model, mut store) = (Hand::memory(), open());
    let large = |n: usize| vec![Write::put(format!("large-{n}"), vec![b'x'; 300_000])];
    for n in 0..5 {
        assert_eq!(
            commit(&mut store, large(n), Urgency::Ordinary),
            commit(&mut model, large(n), Urgency::Ordinary)
        );
    }
    for round in 0..3 {
        IS_HONEST.set(false);
        disk.fill();
        let mut refused = 0;
        for n in 0..40 {
            match commit(&mut store, large(n), Urgency::Ordinary) {
                Ok(rev) => assert_eq!(Ok(rev), commit(&mut model, large(n), Urgency::Ordinary)),
                Err(StoreError::Full(_)) => refused += 1,
                Err(other) => panic!("round {round}, write {n}: {other}"),
            }
            assert_eq!(store.engine.fault(), None, "round {round}, write {n}");
            // Each refusal opens the tables again, which takes long in a debug build.
            if refused == 3 {
                break;
            }
        }
        assert_eq!(refused, 3, "round {round}: the disk was not full");
        IS_HONEST.set(true);
        let removal = || vec![Write::delete("large-0")];
        commit(&mut store, removal(), Urgency::Removal).expect("a delete is written");
        commit(&mut model, removal(), Urgency::Removal).unwrap();
        assert_eq!(readable(&store), readable(&model), "round {round}");
        drop(store);
        store = open();
        assert_eq!(readable(&store), readable(&model), "round {round}, opened again");
        disk.free();
        assert_eq!(
            commit(&mut store, large(0), Urgency::Ordinary),
            commit(&mut model, large(0), Urgency::Ordinary)
        );
        let last = model.engine.state().rev();
        for hand in [&mut store, &mut model] {
            hand.run(|answer| Job::Compact { rev: last, answer });
            while hand.writer.sweep(100) {}
        }
    }
}
