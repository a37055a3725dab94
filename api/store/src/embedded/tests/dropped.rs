//! Versions that nobody can read are dropped from the journal little by little. Whenever the process ends in between,
//! the store that is opened from the journal is the one that was closed.

use std::path::Path;

use fastrand::Rng;
use futures::FutureExt;

use super::super::engine::{DROPPED_AT_ONCE, Engine, Job, JournalWriter};
use super::super::journal::NoJournal;
use super::super::redb::{FreeBytes, RedbJournal};
use super::super::state::State;
use super::*;

const KEYS: [&str; 6] = ["a", "a/1", "b", "c", "d", "e"];
/// Bytes of half a reserve in these tests, which copy the file hundreds of times.
pub(super) const HALF: u64 = 16 << 10;
const HISTORIES: u64 = 12;
const STEPS: usize = 40;

/// A store whose owner decides when garbage is dropped.
pub(super) struct Hand {
    pub(super) engine: Arc<Engine>,
    pub(super) writer: JournalWriter,
}

impl Hand {
    pub(super) fn memory() -> Self {
        let engine = Arc::new(Engine::new(State::empty()));
        Self { writer: JournalWriter::new(engine.clone(), Box::new(NoJournal), Vec::new()), engine }
    }

    pub(super) fn open(dir: &Path) -> Self {
        Self::open_with(dir, HALF, super::full::free_bytes).unwrap().0
    }

    pub(super) fn open_with(
        dir: &Path,
        half: u64,
        free_bytes: FreeBytes,
    ) -> Result<(Self, Lives), StoreError> {
        let Opened { journal, state, garbage, lives } = RedbJournal::open_with(dir, half, free_bytes)?;
        let engine = Arc::new(Engine::new(state));
        Ok((Self { writer: JournalWriter::new(engine.clone(), Box::new(journal), garbage), engine }, lives))
    }

    pub(super) fn try_run<T>(
        &mut self,
        job: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Job,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.writer.carry_out([job(answer)]);
        answered.now_or_never().unwrap().unwrap()
    }

    pub(super) fn run<T>(&mut self, job: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Job) -> T {
        self.try_run(job).unwrap()
    }

    fn write(&mut self, writes: Vec<Write>) -> Rev {
        let groups = vec![Group { conditions: vec![], writes }];
        self.run(|answer| Job::Commit(Call { groups, urgency: Urgency::Ordinary, answer })).rev
    }

    fn carry_out(&mut self, step: &Step) {
        match step {
            Step::Write(writes) => drop(self.write(writes.clone())),
            Step::Grant => {
                let ttl = Duration::from_secs(600);
                self.run(|answer| Job::Grant { ttl, answer });
            }
            Step::Revoke(lease) => self.run(|answer| Job::Revoke { lease: *lease, answer }),
            Step::Compact(rev) => self.run(|answer| Job::Compact { rev: *rev, answer }),
        }
    }

    /// All that can be read, now and at every revision that is kept.
    pub(super) fn shown(&self) -> String {
        let state = self.engine.state();
        let oldest = state.compacted().max(1);
        let mut lines = vec![format!("newest {}, oldest {oldest}", state.rev())];
        for rev in oldest..=state.rev() {
            lines.push(format!("{rev}: {:?}", state.range(b"a", b"z", 0, At::Rev(rev)).unwrap().kvs));
        }
        let history = state.history(oldest + 1, usize::MAX).expect("nothing is missing");
        lines.extend(history.map(|changes| format!("{changes:?}")));
        let leases = (1..state.next_lease()).filter_map(|id| Some((id, &state.lease(id)?.keys)));
        lines.extend(leases.map(|(id, keys)| format!("lease {id}: {keys:?}")));
        lines.join("\n")
    }
}

#[derive(Debug)]
enum Step {
    Write(Vec<Write>),
    Grant,
    Revoke(LeaseId),
    Compact(Rev),
}

/// What may happen to this store next.
fn step(rng: &mut Rng, hand: &Hand, number: usize) -> Step {
    let state = hand.engine.state();
    let leases: Vec<LeaseId> = (1..state.next_lease()).filter(|id| state.lease(*id).is_some()).collect();
    match rng.u32(0..20) {
        0 => Step::Grant,
        1 if !leases.is_empty() => Step::Revoke(leases[rng.usize(0..leases.len())]),
        2..6 if state.compacted() < state.rev() => {
            Step::Compact(rng.i64(state.compacted() + 1..=state.rev()))
        }
        _ => {
            let mut keys = KEYS.to_vec();
            rng.shuffle(&mut keys);
            keys.truncate(rng.usize(1..4));
            let write = |key: &str| match rng.u32(0..5) {
                0..2 => Write::delete(key.to_owned()),
                2 if !leases.is_empty() => {
                    let lease = leases[rng.usize(0..leases.len())];
                    Write::Put { key: key.to_owned().into(), value: number.to_string().into(), lease }
                }
                _ => Write::put(key.to_owned(), number.to_string()),
            };
            Step::Write(keys.into_iter().map(write).collect())
        }
    }
}

/// A folder in memory, where the machine has such a place: hundreds of openings do not wait for a disk.
pub(super) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// What is found by whoever opens the journal as it is on disk now, as after a kill.
pub(super) fn after_a_kill(dir: &Path) -> String {
    let copy = folder();
    std::fs::copy(dir.join("journal.redb"), copy.path().join("journal.redb")).unwrap();
    Hand::open(copy.path()).shown()
}

/// Wherever the border of a batch is: beside the tombstone, between it and what it ended, or just before both.
#[test]
fn a_deleted_key_stays_deleted_though_only_a_part_of_its_versions_was_dropped() {
    for (batch, other) in [20, DROPPED_AT_ONCE].into_iter().flat_map(|batch| [(batch, "0"), (batch, "b")]) {
        for puts in [batch, batch + 1] {
            let case = format!("batch {batch}, {puts} puts of {other}");
            let dir = folder();
            let mut hand = Hand::open(dir.path());
            hand.write(vec![Write::put("a", "1")]);
            let mut last = hand.write(vec![Write::delete("a")]);
            for _ in 0..puts {
                last = hand.write(vec![Write::put(other, "1")]);
            }
            hand.run(|answer| Job::Compact { rev: last, answer });
            for size in [batch, 1] {
                assert!(hand.writer.sweep(size), "{case}: nothing to drop");
                drop(hand);
                hand = Hand::open(dir.path());
                assert_eq!(hand.engine.state().newest(b"a"), None, "{case}: it was deleted");
            }
        }
    }
}

#[test]
fn whenever_the_process_ends_the_store_is_the_same_when_it_is_opened_again() {
    for seed in 0..HISTORIES {
        let mut rng = Rng::with_seed(seed);
        let dir = folder();
        let (mut model, mut store) = (Hand::memory(), Hand::open(dir.path()));
        for number in 0..STEPS {
            let step = step(&mut rng, &model, number);
            model.carry_out(&step);
            store.carry_out(&step);
            let expected = model.shown();
            for sweep in 0..rng.usize(0..4) {
                store.writer.sweep(rng.usize(1..5));
                let at = format!("seed {seed}, step {number} {step:?}, sweep {sweep}");
                assert_eq!(store.shown(), expected, "{at}");
                assert_eq!(after_a_kill(dir.path()), expected, "{at}, killed");
            }
            if rng.u32(0..4) == 0 {
                drop(store);
                store = Hand::open(dir.path());
                assert_eq!(store.shown(), expected, "seed {seed}, step {number} {step:?}, closed");
            }
        }
    }
}
