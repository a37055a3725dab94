//! Load: clients that write, read and watch all the while, through kills, pauses and outages, and note what they asked
//! and were told. They keep to a namespace of their own and disturb nobody. The checker judges what they noted.

mod client;
mod errands;
mod floor;
mod watcher;
mod watchers;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use berth_proto::v1 as proto;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

pub use floor::{Floor, Measured, Records};
pub use watcher::{Manner, Watch};
pub use wire::{APP, Failure, Kind, NODE, Peer, REVISION, Sure, TASK};

use crate::World;
use crate::history::answers::Operation;
use crate::history::watched::Stream;
use crate::wait::eventually;
use crate::{monotonic, soak};
use client::Client;
use watcher::Watcher;

/// How long the servers may take to answer at the start and at the end.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a load may take to come as far as a test waits for.
const PROGRESSES_WITHIN: Duration = Duration::from_secs(60);

/// How far the clients of a load have come.
#[derive(Debug, Default)]
struct Progress {
    /// Calls that a server answered.
    answered: AtomicU64,
    /// Calls whose server was away.
    missed: AtomicU64,
}

/// How much is asked.
#[derive(Debug, Clone)]
pub struct Pressure {
    /// The namespace that it keeps to; made when it is not there.
    pub namespace: String,
    /// Clients that do one thing after the other. Every other one gives a call up soon.
    pub clients: usize,
    /// How often each of them begins one.
    pub every: Duration,
    /// How often a client of its own changes many objects in one revision.
    pub shuffles: Duration,
    /// How many: at most what one group of the store takes.
    pub shuffled: usize,
    /// Who watches.
    pub watches: Vec<Watch>,
    /// What it must reach outside of faults.
    pub floor: Floor,
}

impl Default for Pressure {
    fn default() -> Self {
        let namespace = "load".to_string();
        Self {
            watches: watchers::all_sorts(&namespace),
            namespace,
            clients: 5,
            every: Duration::from_millis(100),
            shuffles: Duration::from_secs(2),
            shuffled: 100,
            floor: Floor::default(),
        }
    }
}

/// What clients and watchers are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Their work.
    Working,
    /// To end once they were told of everything up to this version.
    Ending(u64),
}

/// A running load. Dropping it ends it without a judgement.
#[derive(Debug)]
pub struct Load {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<Result<Records, String>>>,
    progress: Arc<Progress>,
    floor: Floor,
}

impl Load {
    /// Starts the usual load on a world's servers, its chance begun where the run's is.
    ///
    /// # Panics
    /// When no server takes its namespace within 30 s.
    pub fn start(world: &World) -> Self {
        Self::with(world, Pressure::default())
    }

    /// Starts a load on a world's servers.
    ///
    /// # Panics
    /// When no server takes its namespace within 30 s.
    pub fn with(world: &World, pressure: Pressure) -> Self {
        let servers: Vec<String> = world.servers().split(',').map(str::to_string).collect();
        let (stop, stopped) = watch::channel(false);
        let floor = pressure.floor;
        let progress = Arc::new(Progress::default());
        let made = progress.clone();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime starts").block_on(async {
                let peers: Vec<Peer> = servers.iter().map(|server| Peer::new(server)).collect();
                make_namespace(&peers, &pressure.namespace).await?;
                // Nobody listens any more when the test has failed meanwhile.
                let _ = ready.send(());
                run(peers, pressure, made, stopped).await
            })
        });
        let load = Self { stop, thread: Some(thread), progress, floor };
        if is_ready.recv().is_err() {
            let why = load.join().expect_err("what did not begin ended with a reason");
            panic!("the load could not begin: {why}");
        }
        load
    }

    /// Waits until servers have answered so many more calls.
    pub fn goes_on(&self, calls: u64) {
        grows("calls are answered", &self.progress.answered, calls);
    }

    /// Waits until a client calls a server that is away.
    pub fn meets_a_fault(&self) {
        grows("calls meet a server that is away", &self.progress.missed, 1);
    }

    /// Ends the load: every watcher is told of everything, and the world gets what was noted, to be judged at its
    /// end. Every server that there is must answer again by now; while one of the world's faults is in force they
    /// need not have.
    ///
    /// # Panics
    /// When the load was below its floor: a run without load proves nothing.
    pub fn end(self, world: &mut World) -> Measured {
        let floor = self.floor;
        let records = self.join().unwrap_or_else(|why| panic!("INVALID: {why}"));
        let measured = records.measure(&world.faults().all());
        world.told(records);
        measured.reaches(&floor).unwrap_or_else(|why| panic!("INVALID: {why}"));
        measured
    }

    fn join(mut self) -> Result<Records, String> {
        self.stop.send_replace(true);
        let thread = self.thread.take().expect("a load is joined once");
        thread.join().unwrap_or_else(|_| Err("the load's thread panicked".into()))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // Whatever it noted, nobody asks any more.
            let _ = thread.join();
        }
    }
}

fn grows(what: &str, count: &AtomicU64, more: u64) {
    let before = count.load(Ordering::Relaxed);
    eventually(&format!("{more} {what}"), PROGRESSES_WITHIN, || {
        match count.load(Ordering::Relaxed) - before {
            grown if grown >= more => Ok(()),
            grown => Err(grown.to_string()),
        }
    });
}

async fn run(
    peers: Vec<Peer>,
    pressure: Pressure,
    progress: Arc<Progress>,
    stopped: watch::Receiver<bool>,
) -> Result<Records, String> {
    let from = monotonic::now();
    let mut chance = fastrand::Rng::with_seed(soak::seed());
    let hasty: Vec<Peer> = peers.iter().map(|peer| peer.clone().hasty()).collect();
    let (phase, phases) = watch::channel(Phase::Working);
    let mut watchers: JoinSet<Vec<Stream>> = JoinSet::new();
    for watch in pressure.watches.clone() {
        let watcher = Watcher::new(watch, peers.clone(), chance.fork(), phases.clone());
        watchers.spawn(watcher.run());
    }
    let mut clients: JoinSet<Vec<Operation>> = JoinSet::new();
    for number in 0..pressure.clients {
        let peers = if number % 2 == 0 { &peers } else { &hasty };
        let client =
            Client::new(&format!("load-{number}"), peers.clone(), number, &pressure.namespace, &progress);
        clients.spawn(work(client, chance.fork(), pressure.every, stopped.clone()));
    }
    let client = Client::new("load-shuffle", peers.clone(), 0, &pressure.namespace, &progress);
    let (shuffles, shuffled) = (pressure.shuffles, pressure.shuffled);
    clients.spawn(shuffle(client, chance.fork(), shuffles, shuffled, stopped));
    let answers: Vec<Operation> = clients.join_all().await.into_iter().flatten().collect();
    let until = monotonic::now();
    phase.send_replace(Phase::Ending(head(&peers).await?));
    let watches = watchers.join_all().await.into_iter().flatten().collect();
    Ok(Records { answers, watches, from, until })
}

/// One errand after the other, in step.
async fn work(
    mut client: Client,
    mut chance: fastrand::Rng,
    every: Duration,
    stopped: watch::Receiver<bool>,
) -> Vec<Operation> {
    let mut steps = interval(every);
    steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !*stopped.borrow() {
        steps.tick().await;
        errands::one(&mut client, &mut chance).await;
    }
    client.log
}

/// Many objects in one revision, in step.
async fn shuffle(
    mut client: Client,
    mut chance: fastrand::Rng,
    every: Duration,
    objects: usize,
    mut stopped: watch::Receiver<bool>,
) -> Vec<Operation> {
    let mut steps = interval(every);
    steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !*stopped.borrow() {
        tokio::select! {
            _ = steps.tick() => {}
            // The flag is raised once, or its owner is gone.
            _ = stopped.changed() => return client.log,
        }
        errands::shuffle(&mut client, objects, &mut chance).await;
    }
    client.log
}

/// The version of everything that has happened.
async fn head(peers: &[Peer]) -> Result<u64, String> {
    let request = proto::ListRequest { kind: Some(REVISION.wire()), limit: 1, ..Default::default() };
    let deadline = Instant::now() + PATIENCE;
    let mut last = String::new();
    for peer in peers.iter().cycle() {
        match peer.list(request.clone()).await {
            Ok(answer) => return answer.resource_version.parse().map_err(|_| answer.resource_version),
            Err(failure) => last = failure.to_string(),
        }
        if Instant::now() > deadline {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    Err(format!("no server tells the head within {PATIENCE:?}: {last}"))
}

async fn make_namespace(peers: &[Peer], name: &str) -> Result<(), String> {
    let kind = proto::Kind { api_version: "v1".into(), kind: "Namespace".into() };
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let write = proto::Write {
        key: Some(proto::ObjectKey { kind: Some(kind), namespace: String::new(), name: name.into() }),
        json: object.to_string().into_bytes().into(),
        field_manager: "load".into(),
        ..proto::Write::default()
    };
    let deadline = Instant::now() + PATIENCE;
    let mut last = String::new();
    for peer in peers.iter().cycle() {
        match peer.write(proto::write::Verb::Create, write.clone()).await {
            Ok(_) => return Ok(()),
            Err(failure) if failure.reason == "AlreadyExists" => return Ok(()),
            Err(failure) => last = failure.to_string(),
        }
        if Instant::now() > deadline {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    Err(format!("no server makes the namespace `{name}` within {PATIENCE:?}: {last}"))
}
