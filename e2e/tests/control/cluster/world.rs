//! One cluster in one process: a server over a store in memory, the controllers, and machines without containers.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use berth_builtin::caches::Caches;
use berth_builtin::garbage::Limits;
use berth_builtin::node::MassVanish;
use berth_builtin::{app, garbage, node};
use berth_client::{Client, Error, Query, Write};
use berth_proto::v1::resources_server::ResourcesServer;
use berth_runtime::{LeaseTerms, Timing as LeaseTiming};
use berth_server::listen::{self, Listener, Place};
use berth_server::{Nodes, Options, ResourcesFace, Server, Timing};
use berth_store::{EmbeddedStore, Store};
use berth_types::app::App;
use berth_types::task::Task;
use berth_types::{Resource, SystemClock};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;

use super::machine::Machine;
use crate::recorded::Recorded;

/// How long a step of a healthy cluster may take at most.
const SOON: Duration = Duration::from_secs(60);
/// Between two looks at the cluster.
const LOOK: Duration = Duration::from_millis(20);

/// The cluster.
pub struct World {
    /// To ask and to tell it anything.
    pub client: Client,
    server: JoinSet<()>,
    recorded: Option<Recorded>,
    _folder: TempDir,
}

/// The controllers of one process; they end when this is dropped, and give their Leases back when told to end.
pub struct Controllers {
    running: JoinSet<()>,
    stop: Option<watch::Sender<()>>,
}

impl World {
    /// A server, and nothing else yet. It believes what it sees after a second, and misses an agent after another.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place: Place = format!("unix:{}", folder.path().join("api.sock").display()).parse().unwrap();
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::memory());
        let mut server = JoinSet::new();
        let (client, listening) =
            (Client::new(&[place.address()]).unwrap(), listen::open(&place).await.unwrap());
        let recorded = Some(Recorded::own(store.clone(), folder.path()));
        server.spawn(serve(store, listening, place.address()));
        let world = Self { client, server, recorded, _folder: folder };
        world.eventually("the server answers", async || world.client.version().await.map_err(debug)).await;
        world
    }

    /// All controllers, without Leases: they act at once, and do not know of each other.
    pub fn controllers_without_leases(&self) -> Controllers {
        self.recorded.as_ref().expect("a world is recorded until it ends").forces();
        let client = self.client.clone();
        let caches = Caches::new(client.clone());
        let mut running = JoinSet::new();
        let never = std::future::pending::<()>;
        running.spawn(app::controller(client.clone(), &caches).run(never()));
        running.spawn(node::controller(client.clone(), &caches, MassVanish::default()).run(never()));
        running.spawn(garbage::controller(client.clone(), &caches, Limits::default()).run(never()));
        running.spawn(berth_scheduler::controller(client, &caches.tasks().all, &caches.nodes()).run(never()));
        Controllers { running, stop: None }
    }

    /// All controllers, as one process runs them.
    pub fn controllers(&self) -> Controllers {
        let client = self.client.clone();
        let caches = Caches::new(client.clone());
        let timing = LeaseTiming {
            duration: Duration::from_secs(2),
            renew_every: Duration::from_millis(400),
            give_up_after: Duration::from_millis(1500),
        };
        let lease = |name: &str| LeaseTerms::new("berth-system", name).timing(timing);
        let (stop, stopping) = watch::channel(());
        let ends = || {
            let mut stopping = stopping.clone();
            async move { while stopping.changed().await.is_ok() {} }
        };
        let mut running = JoinSet::new();
        running.spawn(app::controller(client.clone(), &caches).led_by(lease(app::NAME)).run(ends()));
        let node = node::controller(client.clone(), &caches, MassVanish::default());
        running.spawn(node.led_by(lease(node::NAME)).run(ends()));
        let garbage = garbage::controller(client.clone(), &caches, Limits::default());
        running.spawn(garbage.led_by(lease(garbage::NAME)).run(ends()));
        let scheduler = berth_scheduler::controller(client, &caches.tasks().all, &caches.nodes());
        running.spawn(scheduler.led_by(lease(berth_scheduler::NAME)).run(ends()));
        Controllers { running, stop: Some(stop) }
    }

    /// A machine with 4 cores whose agent runs.
    pub async fn machine(&self, name: &str) -> Machine {
        Machine::start(&self.client, name, json!({ "cpu": 4, "memory": "1Gi" })).await
    }

    /// Applies an object as a user does.
    pub async fn apply(&self, object: Value) {
        self.client.write(&Write::apply(&object, "test")).await.unwrap();
    }

    /// Changes an App's spec.
    pub async fn patch(&self, app: &str, spec: Value) {
        let patch = json!({ "spec": spec });
        self.client.write(&Write::patch::<App>("default", app, patch).by("test")).await.unwrap();
    }

    /// All objects of a kind.
    pub async fn all<K: Resource>(&self) -> Vec<K> {
        self.client.list_as::<K>(&Query::of::<K>()).await.unwrap().items
    }

    /// An App.
    pub async fn app(&self, name: &str) -> App {
        self.client.get_as::<App>("default", name).await.unwrap()
    }

    /// Waits until an App is wholly as asked: every Task available and on its current Revision, none beside.
    pub async fn settled(&self, name: &str, replicas: usize) -> Vec<Task> {
        self.eventually("the App is as asked", async || {
            let app = self.app(name).await;
            let mut tasks = self.all::<Task>().await;
            let version = self.app(name).await.metadata.resource_version;
            if version != app.metadata.resource_version {
                return Err("the App changes while its Tasks are read".to_owned());
            }
            tasks.retain(|task| !matches!(task.status.phase.as_str(), "Succeeded" | "Failed"));
            let status = &app.status;
            let counts = [status.replicas, status.updated_replicas, status.available_replicas];
            let reads = status.observed_generation == app.metadata.generation;
            let all_there = tasks.len() == replicas && !tasks.iter().any(|task| task.metadata.deleting());
            if reads && all_there && counts.iter().all(|count| *count as usize == replicas) {
                Ok(tasks)
            } else {
                Err(format!("{status:?}\n{}", summary(&tasks)))
            }
        })
        .await
    }

    /// Waits until everything that was asked for is done, while controllers and machines are there; the judge says
    /// what is not.
    pub async fn ends_settled(&self) {
        self.recorded.as_ref().expect("a world is recorded until it ends").settles().await;
    }

    /// Waits until `look` gives something; otherwise fails with what it said last.
    pub async fn eventually<T, E: Debug, F>(&self, what: &str, look: impl Fn() -> F) -> T
    where
        F: Future<Output = Result<T, E>>,
    {
        let until = tokio::time::Instant::now() + SOON;
        loop {
            match look().await {
                Ok(found) => return found,
                Err(why) if tokio::time::Instant::now() > until => panic!("never: {what}: {why:?}"),
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.abort_all();
        if let Some(recorded) = self.recorded.take() {
            recorded.must_be_clean();
        }
    }
}

impl Controllers {
    /// Ends them as a signal does: Leases are given back.
    pub async fn end(mut self) {
        self.stop = None;
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap();
        }
    }

    /// Ends them as a crash does.
    pub fn crash(mut self) {
        self.running.abort_all();
    }
}

async fn serve(store: Arc<dyn Store>, listener: Listener, address: String) {
    let Listener::Unix(listener) = listener else { panic!("a unix socket was asked for") };
    let mut tasks = JoinSet::new();
    let started = Server::start(store.clone(), Arc::new(SystemClock), Options::default(), &mut tasks).await;
    let server = started.unwrap();
    let timing = Timing {
        silence: Duration::from_secs(1),
        tick: Duration::from_millis(100),
        judge_after: Duration::from_secs(1),
        ..Timing::default()
    };
    let committer = server.writer.committer.clone();
    let nodes = Nodes::start(store, committer, &server.cluster_uid, vec![address], timing);
    let router = tonic::transport::Server::builder()
        .add_service(ResourcesServer::new(ResourcesFace(server)))
        .add_service(nodes.service());
    router.serve_with_incoming(UnixListenerStream::new(listener)).await.unwrap();
}

/// An error as text.
pub fn debug(error: Error) -> String {
    format!("{error:?}")
}

/// Tasks in a few words each.
pub fn summary(tasks: &[Task]) -> String {
    let line = |task: &Task| {
        let (meta, status) = (&task.metadata, &task.status);
        let stopping = if meta.deleting() { "stopping" } else { "" };
        let said = status
            .conditions
            .iter()
            .map(|c| format!("{}={:?} {} {}", c.type_, c.status, c.reason, c.message));
        let said: Vec<String> = said.collect();
        format!("{} on {:?} {} {stopping} {}", meta.name, task.spec.node_name, status.phase, said.join("; "))
    };
    tasks.iter().map(line).collect::<Vec<_>>().join("\n")
}
