//! The one writer: takes jobs, makes what they changed durable at once for all that waited, then lets it be seen.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::draft::Draft;
use super::journal::{Entry, Failure, Journal};
use super::rows;
use super::state::{Place, State};
use crate::{Committed, Group, LeaseId, Rev, StoreError, Urgency, Write};

/// Jobs that become durable together.
const TOGETHER: usize = 256;

/// Versions dropped from the journal at a time: few enough that nobody waits long behind it.
pub(super) const DROPPED_AT_ONCE: usize = 2000;

/// The journal is shrunk after this time without a call.
const QUIET: Duration = Duration::from_millis(300);

/// After this time it is shrunk as soon as no call waits: a busy cluster is never quiet.
const OVERDUE: Duration = Duration::from_secs(5);

/// Pause before a lease is ended again for which there was no room: every read would ask for it.
pub(super) const END_AGAIN: Duration = Duration::from_secs(1);

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// A call of `commit` that waits.
pub(super) struct Call {
    pub(super) groups: Vec<Group>,
    pub(super) urgency: Urgency,
    pub(super) answer: Answer<Committed>,
}

/// What the writer is asked.
pub(super) enum Job {
    Commit(Call),
    Compact { rev: Rev, answer: Answer<()> },
    Grant { ttl: Duration, answer: Answer<LeaseId> },
    Renew { lease: LeaseId, answer: Answer<()> },
    Revoke { lease: LeaseId, answer: Answer<()> },
    Expire { now: Instant, answer: Answer<()> },
    Stop,
}

/// What everybody sees of the store.
pub(super) struct Engine {
    state: RwLock<State>,
    steps: watch::Sender<u64>,
    fault: Mutex<Option<StoreError>>,
    needed: AtomicU64,
    /// No lease ends before, for there was no room for an end.
    leases_end_from: Mutex<Option<Instant>>,
}

impl Engine {
    pub(super) fn new(state: State) -> Self {
        Self {
            state: RwLock::new(state),
            steps: watch::Sender::new(0),
            fault: Mutex::new(None),
            needed: AtomicU64::new(0),
            leases_end_from: Mutex::new(None),
        }
    }

    pub(super) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes whenever there is something new to see.
    pub(super) fn steps(&self) -> watch::Receiver<u64> {
        self.steps.subscribe()
    }

    /// When the next lease runs out; never while nothing can be written.
    pub(super) fn next_lease_end(&self) -> Option<Instant> {
        if self.fault().is_some() {
            return None;
        }
        let from = *locked(&self.leases_end_from);
        self.state().next_end().map(|end| from.map_or(end, |from| end.max(from)))
    }

    pub(super) fn lease_is_due(&self) -> bool {
        self.next_lease_end().is_some_and(|end| end <= Instant::now())
    }

    /// Why nothing can be written, if that is so.
    pub(super) fn fault(&self) -> Option<StoreError> {
        locked(&self.fault).clone()
    }

    /// The free bytes of its disk with which the journal accepts the smallest ordinary write.
    pub(super) fn needed(&self) -> u64 {
        self.needed.load(Ordering::Relaxed)
    }

    /// Ends all watches.
    pub(super) fn close(&self) {
        self.change(State::close);
    }

    fn change<T>(&self, how: impl FnOnce(&mut State) -> T) -> T {
        let mut state: RwLockWriteGuard<'_, State> =
            self.state.write().unwrap_or_else(PoisonError::into_inner);
        let made = how(&mut state);
        drop(state);
        self.steps.send_modify(|steps| *steps += 1);
        made
    }
}

/// The journal and what is still to be done with it. Only its holder changes the state.
pub(super) struct JournalWriter {
    engine: Arc<Engine>,
    journal: Box<dyn Journal>,
    /// The versions of a key are in their order, its tombstone last.
    garbage: VecDeque<Place>,
    fault: Option<StoreError>,
    /// Since when its file may be larger than it must be: much was dropped, or the journal was just opened.
    loose: Option<Instant>,
}

impl JournalWriter {
    pub(super) fn new(engine: Arc<Engine>, journal: Box<dyn Journal>, garbage: Vec<Place>) -> Self {
        let writer =
            Self { engine, journal, garbage: garbage.into(), fault: None, loose: Some(Instant::now()) };
        writer.show_needed();
        writer
    }

    /// Does the jobs in their order; commits that follow each other become durable together.
    pub(super) fn carry_out(&mut self, jobs: impl IntoIterator<Item = Job>) {
        let mut commits = Vec::new();
        for job in jobs {
            match job {
                Job::Commit(call) => commits.push(call),
                other => {
                    self.commit(std::mem::take(&mut commits));
                    self.carry_out_alone(other);
                }
            }
        }
        self.commit(commits);
    }

    fn carry_out_alone(&mut self, job: Job) {
        match job {
            Job::Commit(call) => self.commit(vec![call]),
            Job::Compact { rev, answer } => reply(answer, self.compact(rev)),
            Job::Grant { ttl, answer } => reply(answer, self.grant(ttl)),
            Job::Renew { lease, answer } => {
                reply(answer, self.engine.change(|state| state.renew(lease, Instant::now())));
            }
            Job::Revoke { lease, answer } => reply(answer, self.revoke(lease)),
            Job::Expire { now, answer } => reply(answer, self.expire(now)),
            // What is in the reserve is moved to where a reader looks first, if there is room. After a fault nothing is
            // written any more.
            Job::Stop if self.fault.is_none() => drop(self.look(0)),
            Job::Stop => {}
        }
    }

    fn commit(&mut self, calls: Vec<Call>) {
        let calls = self.admitted(calls);
        if calls.is_empty() {
            return;
        }
        let state = self.engine.state();
        let mut draft = Draft::on(&state);
        let ended: Vec<_> =
            calls.into_iter().map(|call| (call.answer, call.urgency, draft.commit(call.groups))).collect();
        let changes = draft.into_changes();
        drop(state);
        let entries: Vec<Entry> = changes.into_iter().map(Entry::Changed).collect();
        let kept = self.add(&entries);
        for (answer, urgency, outcome) in ended {
            reply(answer, kept.clone().map_err(|error| self.told(error, urgency)).and(outcome));
        }
    }

    /// The error of a call of this urgency. If others took the space after the look at it, the reserve is there still: a
    /// call that may use it is to be sent again.
    fn told(&self, error: StoreError, urgency: Urgency) -> StoreError {
        match error {
            StoreError::Full(why) if self.fault.is_none() && urgency > Urgency::Ordinary => {
                StoreError::Unavailable(why)
            }
            other => other,
        }
    }

    /// The calls for which there is room; the others are refused. After a fault, `add` reports it to all.
    fn admitted(&mut self, calls: Vec<Call>) -> Vec<Call> {
        if self.fault.is_some() || self.look(calls.iter().map(bytes).sum()).is_err() {
            return calls;
        }
        let mut admitted_bytes = 0;
        let (admitted, refused): (Vec<Call>, Vec<Call>) = calls.into_iter().partition(|call| {
            let with_it = admitted_bytes + bytes(call);
            let is_admitted = bytes(call) == 0 || self.journal.admits(call.urgency, with_it);
            if is_admitted {
                admitted_bytes = with_it;
            }
            is_admitted
        });
        for call in refused {
            reply(call.answer, Err(self.journal.shortage(call.urgency)));
        }
        admitted
    }

    fn compact(&mut self, rev: Rev) -> Result<(), StoreError> {
        self.engine.state().check_compact(rev)?;
        self.keep(&[Entry::Compacted { rev }], Urgency::Compaction)
    }

    fn grant(&mut self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let lease = self.engine.state().next_lease();
        self.keep(&[Entry::Granted { lease, ttl }], Urgency::Upkeep)?;
        Ok(lease)
    }

    fn revoke(&mut self, lease: LeaseId) -> Result<(), StoreError> {
        let state = self.engine.state();
        let mut draft = Draft::on(&state);
        draft.empty_lease(lease)?;
        let changes = draft.into_changes();
        drop(state);
        let mut entries: Vec<Entry> = changes.into_iter().map(Entry::Changed).collect();
        entries.push(Entry::Ended { lease });
        self.keep(&entries, Urgency::Removal)
    }

    fn expire(&mut self, now: Instant) -> Result<(), StoreError> {
        let ended = self.engine.state().ended(now);
        let all_ended = ended.into_iter().try_for_each(|lease| self.revoke(lease));
        if matches!(all_ended, Err(StoreError::Full(_))) {
            *locked(&self.engine.leases_end_from) = Some(now + END_AGAIN);
        }
        all_ended
    }

    /// Adds the entries if there is room for entries of this urgency.
    fn keep(&mut self, entries: &[Entry], urgency: Urgency) -> Result<(), StoreError> {
        let bytes = rows::bytes_of(entries);
        if self.fault.is_none() {
            self.look(bytes)?;
            if !self.journal.admits(urgency, bytes) {
                return Err(self.journal.shortage(urgency));
            }
        }
        self.add(entries)
    }

    /// Makes the entries durable, then visible. After a failure that leaves it open what reached the disk nothing is
    /// written any more: it is known only when the store is opened again.
    fn add(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        if entries.is_empty() {
            return Ok(());
        }
        berth_failpoint::reach("store.journal.before");
        let appended = self.journal.append(entries);
        self.show_needed();
        match appended {
            Ok(()) => {}
            Err(Failure::Refused(error)) => return Err(error),
            Err(Failure::Broken(fault)) => {
                let why = fault.to_string();
                self.give_up(fault);
                return Err(StoreError::Unknown(why));
            }
        }
        berth_failpoint::reach("store.journal.after");
        let gone = self.engine.change(|state| entries.iter().flat_map(|entry| show(state, entry)).collect());
        self.garbage.extend::<Vec<Place>>(gone);
        Ok(())
    }

    fn look(&mut self, bytes: u64) -> Result<(), StoreError> {
        let looked = self.journal.look(bytes);
        self.show_needed();
        looked.inspect_err(|fault| self.give_up(fault.clone()))
    }

    /// Lets readers see how much room the next ordinary write needs: what is in the reserve is moved first.
    fn show_needed(&self) {
        self.engine.needed.store(self.journal.needed(), Ordering::Relaxed);
    }

    fn give_up(&mut self, fault: StoreError) {
        *locked(&self.engine.fault) = Some(fault.clone());
        self.fault = Some(fault);
    }

    /// Drops at most `most` of the versions that nobody can read; whether there may be more. A fault is left for the
    /// next writer to be told. The oldest go first: a version must not outlive the tombstone that ended it, or its
    /// object exists again when the journal is opened after only a part was dropped.
    pub(super) fn sweep(&mut self, most: usize) -> bool {
        if self.garbage.is_empty() || self.fault.is_some() || self.look(0).is_err() {
            return false;
        }
        if !self.journal.admits(Urgency::Ordinary, 0) {
            return false;
        }
        let places: Vec<Place> = self.garbage.iter().take(most).copied().collect();
        let count = places.len();
        if self.add(&[Entry::Dropped { places }]).is_err() {
            return false;
        }
        self.garbage.drain(..count);
        if self.garbage.is_empty() {
            self.garbage.shrink_to_fit();
            self.loose.get_or_insert_with(Instant::now);
        }
        true
    }
}

impl JournalWriter {
    /// How long nothing may be asked for before disk space is given back.
    fn quiet(&self) -> Duration {
        let is_overdue = self.loose.is_some_and(|since| since.elapsed() > OVERDUE);
        if is_overdue { Duration::ZERO } else { QUIET }
    }

    /// Gives back disk space, once nothing has been asked for a while.
    fn shrink(&mut self) {
        self.loose = None;
        if self.fault.is_none() {
            let shrunk = self.journal.shrink();
            self.show_needed();
            shrunk.unwrap_or_else(|fault| self.give_up(fault));
        }
    }
}

/// The most that a call may add to the journal.
fn bytes(call: &Call) -> u64 {
    /// Of a write, beside its key and value: its frame, and its share of the call's.
    const FRAME: usize = 128;
    let writes = call.groups.iter().flat_map(|group| &group.writes);
    let each = writes.map(|write| match write {
        Write::Put { key, value, .. } => FRAME + key.len() + value.len(),
        Write::Delete { key } => FRAME + key.len(),
    });
    each.sum::<usize>() as u64
}

/// Makes one entry visible; the places of versions that nobody can read any more.
fn show(state: &mut State, entry: &Entry) -> Vec<Place> {
    match entry {
        Entry::Changed(changes) => state.apply(changes),
        Entry::Granted { lease, ttl } => state.grant(*lease, *ttl, Instant::now()),
        Entry::Ended { lease } => state.end_lease(*lease),
        Entry::Compacted { rev } => return state.compact(*rev),
        Entry::Dropped { .. } => {}
    }
    Vec::new()
}

/// A submitter that went away does not want its answer.
fn reply<T>(answer: Answer<T>, outcome: Result<T, StoreError>) {
    drop(answer.send(outcome));
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The way to the writer; cheap to clone.
#[derive(Clone)]
pub(super) enum Writer {
    /// Every caller does its own job: no thread, no waiting.
    Inline(Arc<Mutex<JournalWriter>>),
    /// A thread does what has gathered meanwhile.
    Thread(mpsc::Sender<Job>),
}

impl Writer {
    pub(super) fn inline(writer: JournalWriter) -> Self {
        Self::Inline(Arc::new(Mutex::new(writer)))
    }

    /// A writer with a thread of its own, which ends with `Job::Stop`.
    pub(super) fn thread(writer: JournalWriter) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, waiting) = mpsc::channel();
        let thread =
            std::thread::Builder::new().name("berth-store".into()).spawn(move || write(writer, &waiting))?;
        Ok((Self::Thread(jobs), thread))
    }

    /// Hands a job over; its answer is dropped when the writer has stopped.
    pub(super) fn run(&self, job: Job) {
        match self {
            Self::Inline(writer) => {
                let mut writer = locked(writer);
                writer.carry_out([job]);
                while writer.sweep(DROPPED_AT_ONCE) {}
            }
            Self::Thread(jobs) => drop(jobs.send(job)),
        }
    }
}

/// Takes jobs as they gather; drops garbage while there are none.
fn write(mut writer: JournalWriter, waiting: &mpsc::Receiver<Job>) {
    loop {
        let first = match waiting.try_recv() {
            Ok(job) => job,
            Err(_) if writer.sweep(DROPPED_AT_ONCE) => continue,
            Err(_) if writer.loose.is_some() => match waiting.recv_timeout(writer.quiet()) {
                Ok(job) => job,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    writer.shrink();
                    continue;
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            },
            Err(_) => match waiting.recv() {
                Ok(job) => job,
                Err(_) => return,
            },
        };
        let mut jobs = vec![first];
        jobs.extend(waiting.try_iter().take(TOGETHER - 1));
        let stop = jobs.iter().any(|job| matches!(job, Job::Stop));
        writer.carry_out(jobs);
        if stop {
            return;
        }
    }
}
