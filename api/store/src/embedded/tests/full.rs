//! A store whose disk is short of space writes what is urgent, refuses the rest without harm, and keeps all that it
//! acknowledged.

use std::cell::Cell;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fastrand::Rng;

use super::dropped::{HALF, Hand, after_a_kill, folder};
use super::*;

const HISTORIES: u64 = 12;
const STEPS: usize = 40;
const KEYS: [&str; 4] = ["a", "b", "c", "d"];

thread_local! {
    static FREE: Cell<u64> = const { Cell::new(u64::MAX) };
}

/// What the disks of this thread's tests have left.
pub(super) fn free_bytes(_: &Path) -> u64 {
    FREE.get()
}

pub(super) fn commit(hand: &mut Hand, writes: Vec<Write>, urgency: Urgency) -> Result<Rev, StoreError> {
    let groups = vec![Group { conditions: vec![], writes }];
    hand.try_run(|answer| Job::Commit(Call { groups, urgency, answer })).map(|committed| committed.rev)
}

fn writes(rng: &mut Rng, number: usize) -> Vec<Write> {
    let mut keys = KEYS.to_vec();
    rng.shuffle(&mut keys);
    keys.truncate(rng.usize(0..4));
    let write = |key: &str| match rng.bool() {
        true => Write::put(key.to_owned(), number.to_string()),
        false => Write::delete(key.to_owned()),
    };
    keys.into_iter().map(write).collect()
}

/// What a history does beside its writes.
fn aside(hand: &mut Hand, what: u32) {
    let state = hand.engine.state();
    let (rev, compacted) = (state.rev(), state.compacted());
    drop(state);
    match what {
        0 => {
            let ttl = Duration::from_secs(600);
            let lease = hand.run(|answer| Job::Grant { ttl, answer });
            let bound = Write::Put { key: "e".into(), value: "1".into(), lease };
            commit(hand, vec![bound], Urgency::Upkeep).unwrap();
            hand.try_run(|answer| Job::Revoke { lease: lease - lease % 2, answer }).ok();
        }
        1 if compacted < rev => hand.run(|answer| Job::Compact { rev, answer }),
        2 if compacted + 3 < rev => hand.run(|answer| Job::Compact { rev: rev - 2, answer }),
        _ => {}
    }
}

#[test]
fn a_full_store_keeps_what_is_urgent_and_refuses_the_rest_without_harm() {
    for seed in 0..HISTORIES {
        let mut rng = Rng::with_seed(seed);
        let dir = folder();
        let (mut model, mut store) = (Hand::memory(), Hand::open(dir.path()));
        for number in 0..STEPS {
            let at = format!("seed {seed}, step {number}");
            // Full for several steps, as a disk is.
            if rng.u32(0..4) == 0 {
                FREE.set(if rng.bool() { u64::MAX } else { ENOUGH - 1 });
            }
            let is_full = FREE.get() < ENOUGH;
            let urgency = rng
                .choice([Urgency::Ordinary, Urgency::Upkeep, Urgency::Removal, Urgency::Compaction])
                .unwrap();
            let writes = writes(&mut rng, number);
            let is_refused = is_full && urgency == Urgency::Ordinary && !writes.is_empty();
            let ended = commit(&mut store, writes.clone(), urgency);
            assert_eq!(matches!(ended, Err(StoreError::Full(_))), is_refused, "{at}: {ended:?}");
            if !is_refused {
                assert_eq!(ended, commit(&mut model, writes, urgency), "{at}");
            }
            let what = rng.u32(0..8);
            aside(&mut model, what);
            aside(&mut store, what);
            store.writer.sweep(rng.usize(1..5));
            assert_eq!(store.shown(), model.shown(), "{at}");
            assert_eq!(after_a_kill(dir.path()), model.shown(), "{at}, killed");
            if rng.u32(0..8) == 0 {
                drop(store);
                store = Hand::open(dir.path());
                assert_eq!(store.shown(), model.shown(), "{at}, closed");
            }
        }
    }
}

/// A store compacts itself every few minutes. So leaders keep their Leases however long the disk is full.
#[test]
fn renewals_use_up_no_more_than_a_part_of_the_reserve_and_go_on_for_ever_with_compactions() {
    let dir = folder();
    let mut store = Hand::open(dir.path());
    for key in KEYS {
        commit(&mut store, vec![Write::put(key, "1")], Urgency::Ordinary).unwrap();
    }
    FREE.set(0);
    let renewal = || vec![Write::put("lease", vec![b'x'; 500])];
    let mut last = 0;
    for n in 0..500 {
        last = commit(&mut store, renewal(), Urgency::Upkeep).unwrap_or_else(|error| panic!("{n}: {error}"));
        if n % 5 == 0 {
            store.run(|answer| Job::Compact { rev: last, answer });
        }
    }
    let shown = store.shown();
    assert_eq!(after_a_kill(dir.path()), shown);

    let mut renewals = 0;
    let used_up = loop {
        match commit(&mut store, renewal(), Urgency::Upkeep) {
            Ok(rev) => last = rev,
            Err(error) => break error.to_string(),
        }
        renewals += 1;
        assert!(renewals < 1000, "leases have all of the reserve");
    };
    assert!(renewals > 5, "{renewals}");
    assert!(used_up.contains("used up") && used_up.contains("free some space"), "{used_up}");
    let refused = commit(&mut store, vec![Write::put("a", "2")], Urgency::Ordinary).unwrap_err().to_string();
    let folder = dir.path().display().to_string();
    assert!(refused.contains("free some space") && refused.contains(&folder), "{refused}");
    let deleted = commit(&mut store, vec![Write::delete("a")], Urgency::Removal).unwrap();
    let ended = commit(&mut store, vec![Write::put("b", "ended")], Urgency::Removal).unwrap();
    assert_eq!((deleted, ended), (last + 1, last + 2));
    assert_eq!(after_a_kill(dir.path()), store.shown());

    FREE.set(u64::MAX);
    let last = commit(&mut store, vec![Write::put("c", "2")], Urgency::Ordinary).unwrap();
    let shown = store.shown();
    drop(store);
    FREE.set(0);
    let mut store = Hand::open(dir.path());
    assert_eq!((store.engine.state().rev(), store.shown()), (last, shown));
    commit(&mut store, renewal(), Urgency::Upkeep).expect("the reserve is whole again");
}

/// A revision that was told from the reserve belongs to the past of the store that is opened next, and to no copy made
/// before it.
#[test]
fn what_the_reserve_holds_is_of_one_history_with_the_journal() {
    let (dir, older) = (folder(), folder());
    let mut store = Hand::open(dir.path());
    commit(&mut store, vec![Write::put("a", "1")], Urgency::Ordinary).unwrap();
    drop(store);
    let journal = |dir: &Path| dir.join("journal.redb");
    std::fs::copy(journal(dir.path()), journal(older.path())).unwrap();
    let open = |dir: &Path| Hand::open_with(dir, HALF, free_bytes).unwrap();
    FREE.set(0);
    let (mut store, first) = open(dir.path());
    let told = commit(&mut store, vec![Write::delete("a")], Urgency::Removal).unwrap();
    drop(store);
    let (mut store, second) = open(dir.path());
    assert!(second.include(first.name(), told) && !second.include(first.name(), told + 1));
    let later = commit(&mut store, vec![Write::put("a", "2")], Urgency::Removal).unwrap();
    drop(store);
    for free in [0, u64::MAX] {
        FREE.set(free);
        let (store, next) = open(dir.path());
        assert_eq!(store.engine.state().rev(), later);
        assert!(next.include(first.name(), told) && next.include(second.name(), later), "{free}");
        assert!(!open(older.path()).1.include(first.name(), told), "{free}");
    }
}

/// A process that ends after the reserve was moved to the tables, before it is cleared, leaves its rows in both.
#[test]
fn an_ended_lease_stays_ended_when_its_grant_was_moved_and_not_cleared() {
    let dir = folder();
    let file = dir.path().join("journal.redb");
    let mut store = Hand::open(dir.path());
    FREE.set(0);
    let ttl = Duration::from_secs(600);
    let lease = store.run(|answer| Job::Grant { ttl, answer });
    let granted = std::fs::read(&file).unwrap();
    FREE.set(u64::MAX);
    commit(&mut store, vec![Write::put("a", "1")], Urgency::Ordinary).unwrap();
    drop(store);
    let moved = std::fs::read(&file).unwrap();
    let tables = usize::try_from(2 * HALF).unwrap();
    std::fs::write(&file, [&granted[..tables], &moved[tables..]].concat()).unwrap();

    FREE.set(0);
    let mut store = Hand::open(dir.path());
    assert!(store.engine.state().lease(lease).is_some());
    store.run(|answer| Job::Revoke { lease, answer });
    // Renewals until the rows that are not needed any more leave the reserve.
    for _ in 0..50 {
        let renewal = vec![Write::put("lease", vec![b'x'; 500])];
        let rev = commit(&mut store, renewal, Urgency::Upkeep).unwrap();
        store.run(|answer| Job::Compact { rev, answer });
    }
    drop(store);
    assert!(Hand::open(dir.path()).engine.state().lease(lease).is_none(), "the lease lives again");
}

/// redb sets the length of its file, then writes its head without a mark, and the mark last.
#[test]
fn tables_whose_making_was_cut_short_are_made_and_used_ones_without_their_mark_are_damaged() {
    const MARK: usize = 9;
    let dir = folder();
    let file = dir.path().join("journal.redb");
    drop(Hand::open(dir.path()));
    let made = std::fs::read(&file).unwrap();
    let tables = usize::try_from(2 * HALF).unwrap();
    for head in [0, 320] {
        let mut cut = made[..tables + head].to_vec();
        cut.resize(made.len(), 0);
        cut[tables..tables + MARK].fill(0);
        std::fs::write(&file, cut).unwrap();
        let mut store = Hand::open(dir.path());
        commit(&mut store, vec![Write::put("a", "1")], Urgency::Ordinary).unwrap();
        assert_eq!(after_a_kill(dir.path()), store.shown());
    }
    let mut used = std::fs::read(&file).unwrap();
    used[tables..tables + MARK].fill(0);
    std::fs::write(&file, used).unwrap();
    let opened = Hand::open_with(dir.path(), HALF, free_bytes).map(|_| ());
    assert!(matches!(opened, Err(StoreError::Damaged(_))), "{opened:?}");
}

/// Garbage is dropped when there is room again; what is read is the same meanwhile.
#[test]
fn nothing_is_dropped_while_the_store_is_full() {
    let dir = folder();
    let mut store = Hand::open(dir.path());
    commit(&mut store, vec![Write::put("a", "1")], Urgency::Ordinary).unwrap();
    let last = commit(&mut store, vec![Write::put("a", "2")], Urgency::Ordinary).unwrap();
    FREE.set(0);
    store.run(|answer| Job::Compact { rev: last, answer });
    let shown = store.shown();
    assert!(!store.writer.sweep(10), "it waits");
    FREE.set(u64::MAX);
    assert!(store.writer.sweep(10) && !store.writer.sweep(10));
    assert_eq!(after_a_kill(dir.path()), shown);
}

/// A file without a reserve, as older versions made it, gets one when it is opened.
#[test]
fn the_journal_of_an_older_version_gets_a_reserve() {
    let (dir, older) = (folder(), folder());
    let mut store = Hand::open(dir.path());
    commit(&mut store, vec![Write::put("a", "1")], Urgency::Ordinary).unwrap();
    let shown = store.shown();
    drop(store);
    let file = std::fs::read(dir.path().join("journal.redb")).unwrap();
    let tables = &file[usize::try_from(2 * HALF).unwrap()..];
    assert!(tables.starts_with(b"redb"));
    std::fs::write(older.path().join("journal.redb"), tables).unwrap();
    let mut store = Hand::open(older.path());
    assert_eq!(store.shown(), shown);
    FREE.set(0);
    commit(&mut store, vec![Write::delete("a")], Urgency::Removal).unwrap();
    assert_eq!(after_a_kill(older.path()), store.shown());
    let files: Vec<_> =
        std::fs::read_dir(older.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["journal.redb"]);
}

/// The whole of the reserve has blocks of its own, also after the file was shrunk and written again.
#[test]
fn the_blocks_of_the_reserve_are_there_and_stay() {
    let dir = folder();
    let mut store = Hand::open_with(dir.path(), 1 << 20, free_bytes).unwrap().0;
    let large = || vec![Write::put("large", vec![b'x'; 200_000])];
    for round in 0..3 {
        for urgency in [Urgency::Ordinary, Urgency::Removal] {
            FREE.set(if urgency == Urgency::Ordinary { u64::MAX } else { 0 });
            let last = (0..3).map(|_| commit(&mut store, large(), urgency).unwrap()).max().unwrap();
            store.run(|answer| Job::Compact { rev: last, answer });
            while store.writer.sweep(10) {}
            let file = std::fs::metadata(dir.path().join("journal.redb")).unwrap();
            assert!(file.blocks() * 512 >= (2 << 20) + 200_000, "{round}: {} blocks", file.blocks());
        }
    }
}
