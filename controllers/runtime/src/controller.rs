//! Runs a controller that works key by key.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use berth_client::Client;
use berth_types::slack::Slack;
use berth_types::{Clock, Resource, SteadyClock, Timestamp};
use futures::stream::{BoxStream, Stream, StreamExt, select_all};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::cache::{Cache, Delta, Progress, catch_up};
use crate::deed::{Deed, Work};
use crate::key::Key;
use crate::leader::{Leader, LeaseTerms, Term};
use crate::queue::{Queue, Retry};
use crate::writer::{Outcome, STATUS, Writer, Written};

/// A controller that works key by key: looks at its caches, decides, and says what is to be done.
pub trait Reconciler: Send + Sync + 'static {
    /// What brings `key` from what is seen to what is asked. Reads caches only; safe to be asked again at any time.
    fn reconcile(&self, key: &Key, now: Timestamp) -> Work;
}

/// Runs a [`Reconciler`]: which changes wake which keys, by which Lease it leads.
pub struct Controller<R> {
    name: &'static str,
    client: Client,
    reconciler: Arc<R>,
    sources: Vec<Source>,
    progress: Vec<Progress>,
    lease: Option<LeaseTerms>,
    clock: Arc<dyn Clock>,
    options: ControllerOptions,
}

type Source = Box<dyn Fn() -> BoxStream<'static, Vec<Key>> + Send + Sync>;

/// How a controller paces itself.
#[derive(Debug, Clone, Copy)]
pub struct ControllerOptions {
    /// How many keys are worked on at once.
    pub at_once: usize,
    /// How a failing key waits.
    pub retry: Retry,
    /// How long a key waits for its own writes to come into the caches before it is planned again regardless: a plan on
    /// an old view loses by its preconditions.
    pub own_writes: Duration,
}

impl Default for ControllerOptions {
    fn default() -> Self {
        Self { at_once: 32, retry: Retry::default(), own_writes: Duration::from_secs(5) }
    }
}

impl<R: Reconciler> Controller<R> {
    /// A controller of this name: its writes' manager, and its name in logs.
    pub fn new(name: &'static str, client: Client, reconciler: R) -> Self {
        Self {
            name,
            client,
            reconciler: Arc::new(reconciler),
            sources: Vec::new(),
            progress: Vec::new(),
            lease: None,
            clock: Arc::new(SteadyClock),
            options: ControllerOptions::default(),
        }
    }

    /// Changes in this cache wake the keys that `keys` names (see [`Delta::keys`]). Every cache that `reconcile` looks
    /// at belongs here: the controller waits for it before it acts, and after its own writes.
    pub fn wakes<K: Resource>(
        mut self,
        cache: &Cache<K>,
        keys: impl Fn(&Delta<K>) -> Vec<Key> + Send + Sync + Clone + 'static,
    ) -> Self {
        self.progress.push(cache.progress());
        let cache = cache.clone();
        self.sources.push(Box::new(move || {
            let keys = keys.clone();
            let changes = UnboundedReceiverStream::new(cache.subscribe());
            changes.map(move |changed| changed.deltas.iter().flat_map(&keys).collect()).boxed()
        }));
        self
    }

    /// Whatever else wakes keys; `open` is called at the start of each term.
    pub fn wakes_on<S>(mut self, open: impl Fn() -> S + Send + Sync + 'static) -> Self
    where
        S: Stream<Item = Vec<Key>> + Send + 'static,
    {
        self.sources.push(Box::new(move || open().boxed()));
        self
    }

    /// Acts only while it holds this Lease.
    pub fn led_by(self, lease: LeaseTerms) -> Self {
        self.led(Some(lease))
    }

    /// Acts only while it holds the Lease; always, where there is none.
    pub fn led(mut self, lease: Option<LeaseTerms>) -> Self {
        self.lease = lease;
        self
    }

    /// With another clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// With another pace.
    pub fn options(mut self, options: ControllerOptions) -> Self {
        self.options = options;
        self
    }

    /// Runs until `stop` ends; then gives its Lease back.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        match self.lease.take() {
            Some(lease) => {
                let leader = Leader::new(self.client.clone(), lease).clock(self.clock.clone());
                leader.run(stop, |term| self.term(term)).await;
            }
            None => tokio::select! {
                () = stop => {}
                () = self.term(Term { fence: None }) => {}
            },
        }
    }

    async fn term(&self, term: Term) {
        let epoch = term.fence.as_ref().map_or(0, |fence| fence.epoch);
        catch_up(&self.progress, epoch).await;
        tracing::debug!(controller = self.name, epoch, "caches are ready");
        let writer = Writer::new(self.client.clone(), self.name, term.fence);
        let mut woken = select_all(self.sources.iter().map(|source| source()));
        let mut queue = Queue::new(self.options.retry);
        let mut jobs = Jobs::new(self.options.at_once);
        loop {
            self.start_due(&mut queue, &mut jobs, &writer);
            let due = queue.next_due(Instant::now(), self.clock.now());
            let pause = due.unwrap_or(CLOCK_CHECK).min(CLOCK_CHECK);
            let room = jobs.room.clone();
            tokio::select! {
                Some(keys) = woken.next() => keys.into_iter().for_each(|key| queue.wake(key)),
                Some((key, ended)) = jobs.next() => self.ended(&mut queue, &key, ended),
                () = room_after(pause, room) => {}
            }
        }
    }

    fn start_due(&self, queue: &mut Queue, jobs: &mut Jobs, writer: &Writer) {
        while let Some(permit) = jobs.permit() {
            let Some(key) = queue.take(Instant::now(), self.clock.now()) else { return };
            let job = Job {
                reconciler: self.reconciler.clone(),
                key: key.clone(),
                clock: self.clock.clone(),
                writer: writer.clone(),
                progress: self.progress.clone(),
                own_writes: self.options.own_writes,
            };
            jobs.spawn(key, job.run(permit));
        }
    }

    fn ended(&self, queue: &mut Queue, key: &Key, ended: Ended) {
        match ended {
            Ended::Settled { wake_at } => queue.settled(key, wake_at),
            Ended::Again => queue.failed(key, Instant::now(), fastrand::f64()),
            Ended::Panicked(why) => {
                tracing::error!(controller = self.name, object = %key, why, "controller panicked");
                queue.failed(key, Instant::now(), fastrand::f64());
            }
        }
    }
}

/// Alarms name wall-clock times; a clock that was set forward is noticed within this time.
const CLOCK_CHECK: Duration = Duration::from_secs(2);

/// How the work on one key ended.
enum Ended {
    Settled { wake_at: Option<Timestamp> },
    Again,
    Panicked(String),
}

/// The keys that are being worked on.
struct Jobs {
    running: JoinSet<Ended>,
    keys: HashMap<Id, Key>,
    room: Arc<Semaphore>,
}

impl Jobs {
    fn new(at_once: usize) -> Self {
        Self { running: JoinSet::new(), keys: HashMap::new(), room: Arc::new(Semaphore::new(at_once)) }
    }

    fn permit(&self) -> Option<OwnedSemaphorePermit> {
        self.room.clone().try_acquire_owned().ok()
    }

    fn spawn(&mut self, key: Key, job: impl Future<Output = Ended> + Send + 'static) {
        let id = self.running.spawn(job).id();
        self.keys.insert(id, key);
    }

    async fn next(&mut self) -> Option<(Key, Ended)> {
        let (id, ended) = match self.running.join_next_with_id().await? {
            Ok((id, ended)) => (id, ended),
            Err(error) => (error.id(), Ended::Panicked(error.to_string())),
        };
        let key = self.keys.remove(&id).expect("every job has a key");
        self.keys.give_back();
        Some((key, ended))
    }
}

/// Waits this long, and then until another key may be worked on.
async fn room_after(pause: Duration, room: Arc<Semaphore>) {
    tokio::time::sleep(pause).await;
    let _permit = room.acquire().await;
}

/// The work on one key: decide, send the waves, write the status, wait until the caches show it.
struct Job<R> {
    reconciler: Arc<R>,
    key: Key,
    clock: Arc<dyn Clock>,
    writer: Writer,
    progress: Vec<Progress>,
    own_writes: Duration,
}

impl<R: Reconciler> Job<R> {
    async fn run(self, room: OwnedSemaphorePermit) -> Ended {
        berth_failpoint::reach("runtime.key.taken");
        let work = self.reconciler.reconcile(&self.key, self.clock.now());
        berth_failpoint::reach("runtime.key.planned");
        let wake_at = work.wake_at;
        let mut written = Written::new();
        let outcome = self.carry_out(work, &mut written).await;
        drop(room);
        self.wait_for_caches(&written).await;
        match outcome {
            Outcome::Done => Ended::Settled { wake_at },
            Outcome::Stale | Outcome::Failed(_) => Ended::Again,
        }
    }

    /// The worst outcome. A wave that failed keeps the next from being sent; the status says why all the same, but an
    /// old view has nothing to say.
    async fn carry_out(&self, work: Work, written: &mut Written) -> Outcome {
        let mut worst = Outcome::Done;
        for wave in work.waves {
            for outcome in self.writer.send_noting(wave, written).await {
                worst = worst.or(outcome);
            }
            if worst != Outcome::Done {
                break;
            }
            berth_failpoint::reach("runtime.key.wave-done");
        }
        if let (Some(status), Outcome::Done | Outcome::Failed(_)) = (work.status, &worst) {
            berth_failpoint::reach("runtime.status.before");
            let deed = Deed::one(STATUS, self.key.to_string(), "", status).noting(work.notes);
            for outcome in self.writer.send_noting(vec![deed], written).await {
                worst = worst.or(outcome);
            }
        }
        worst
    }

    /// Waits until every cache of a written kind has the write.
    async fn wait_for_caches(&self, written: &Written) {
        let seen = async {
            for progress in &self.progress {
                if let Some(version) = written.get(&progress.kind) {
                    progress.reached(*version).await;
                }
            }
        };
        if tokio::time::timeout(self.own_writes, seen).await.is_err() {
            tracing::debug!(object = %self.key, "own writes not seen in time");
        }
    }
}
