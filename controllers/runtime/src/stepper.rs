//! Runs a controller that looks at everything at once: events in, actions out, outcomes back in as events.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use berth_client::Client;
use berth_types::{Clock, Resource, SteadyClock, Timestamp};
use futures::stream::{BoxStream, Stream, StreamExt, select_all};
use tokio::task::{JoinError, JoinSet};
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::cache::{Cache, Delta, Progress, catch_up};
use crate::leader::{Leader, LeaseTerms, Term};
use crate::writer::Writer;

/// The state of a controller and the rule by which it changes. Synchronous, without clock or chance.
pub trait Stepper: Send + 'static {
    /// What may happen: changes of objects, outcomes of actions.
    type Event: Send + 'static;
    /// What it may want done.
    type Action: Send + 'static;

    /// Takes one event in; what is to be done at once.
    fn step(&mut self, event: Self::Event, now: Timestamp) -> Vec<Self::Action>;

    /// No more events are at hand (or [`Self::wake_at`] came): what is to be done on all that was taken in.
    fn rest(&mut self, now: Timestamp) -> Vec<Self::Action>;

    /// When it wants to [`Self::rest`] again though nothing happens; after a rest, later than that rest's `now`.
    fn wake_at(&self) -> Option<Timestamp>;
}

/// Carries actions out.
#[async_trait]
pub trait Execute<S: Stepper>: Send + Sync + 'static {
    /// Carries one action out; what came of it. Actions run beside each other, in no order.
    async fn execute(&self, action: S::Action, writer: &Writer) -> Vec<S::Event>;
}

/// Runs a [`Stepper`]: which changes are its events, who carries its actions out, by which Lease it leads. Each term
/// begins with a new state, which is told of all present objects as `Added`.
pub struct StepController<S: Stepper> {
    name: &'static str,
    client: Client,
    begin: Box<dyn Fn() -> S + Send + Sync>,
    hands: Arc<dyn Execute<S>>,
    sources: Vec<Source<S::Event>>,
    progress: Vec<Progress>,
    lease: Option<LeaseTerms>,
    clock: Arc<dyn Clock>,
}

type Source<E> = Box<dyn Fn() -> BoxStream<'static, Vec<E>> + Send + Sync>;

/// Events taken in before actions get their turn, however many there are.
const BURST: usize = 4096;
/// `wake_at` names a wall-clock time; a clock that was set forward is noticed within this time.
const CLOCK_CHECK: Duration = Duration::from_secs(2);

impl<S: Stepper> StepController<S> {
    /// A controller of this name: its writes' manager, and its name in logs.
    pub fn new(
        name: &'static str,
        client: Client,
        begin: impl Fn() -> S + Send + Sync + 'static,
        hands: impl Execute<S>,
    ) -> Self {
        Self {
            name,
            client,
            begin: Box::new(begin),
            hands: Arc::new(hands),
            sources: Vec::new(),
            progress: Vec::new(),
            lease: None,
            clock: Arc::new(SteadyClock),
        }
    }

    /// Changes in this cache are events, where `event` makes one of them.
    pub fn feeds<K: Resource>(
        mut self,
        cache: &Cache<K>,
        event: impl Fn(Delta<K>) -> Option<S::Event> + Send + Sync + Clone + 'static,
    ) -> Self {
        self.progress.push(cache.progress());
        let cache = cache.clone();
        self.sources.push(Box::new(move || {
            let event = event.clone();
            let changes = UnboundedReceiverStream::new(cache.subscribe());
            changes.map(move |changed| changed.deltas.into_iter().filter_map(&event).collect()).boxed()
        }));
        self
    }

    /// Whatever else brings events; `open` is called at the start of each term.
    pub fn feeds_on<T>(mut self, open: impl Fn() -> T + Send + Sync + 'static) -> Self
    where
        T: Stream<Item = Vec<S::Event>> + Send + 'static,
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
        let mut state = (self.begin)();
        let mut events = select_all(self.sources.iter().map(|source| source())).ready_chunks(BURST);
        let mut running = JoinSet::new();
        loop {
            let happened = tokio::select! {
                Some(bursts) = events.next() => bursts.into_iter().flatten().collect(),
                Some(ended) = running.join_next() => self.outcomes(ended),
                () = self.until(state.wake_at()) => Vec::new(),
            };
            let now = self.clock.now();
            let mut actions = Vec::new();
            for event in happened {
                actions.extend(state.step(event, now));
            }
            actions.extend(state.rest(now));
            if !actions.is_empty() {
                berth_failpoint::reach("runtime.step.planned");
            }
            for action in actions {
                let (hands, writer) = (self.hands.clone(), writer.clone());
                running.spawn(async move { hands.execute(action, &writer).await });
            }
        }
    }

    /// A state whose action was lost in a panic cannot be trusted; the panic goes on, and the process begins anew.
    fn outcomes(&self, ended: Result<Vec<S::Event>, JoinError>) -> Vec<S::Event> {
        match ended {
            Ok(events) => events,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Vec::new(),
        }
    }

    async fn until(&self, at: Option<Timestamp>) {
        loop {
            let left = at.map(|at| at.since(self.clock.now()));
            match left {
                Some(Duration::ZERO) => return,
                Some(left) => tokio::time::sleep(left.min(CLOCK_CHECK)).await,
                None => std::future::pending().await,
            }
        }
    }
}
