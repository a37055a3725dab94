//! A small cluster in this process: servers over one store in memory, and whoever a history needs, each moving when
//! it is told to, so that what must coincide does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_client::{BindItem, Client, Error, Fence, ObjectKey, Query, Write};
use berth_e2e::history::content::all_of;
use berth_e2e::history::{Event, Header, Run, Settled, State, Stored, unsettled};
use berth_e2e::load::Peer;
use berth_proto::v1::resources_server::ResourcesServer;
use berth_server::{Options, ResourcesFace, Server};
use berth_store::{Change, EmbeddedStore, Store};
use berth_types::SystemClock;
use berth_types::app::App;
use berth_types::node::Node;
use berth_types::task::Task;
use futures::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;

use crate::gate::Gate;

/// Nothing is done any more when nothing was written for so long; nobody here waits longer for anything.
const QUIET: Duration = Duration::from_secs(5);
/// The controllers, which lead by no Lease here: they act when they are told to.
const FORCED: [&str; 4] = ["app-controller", "node-controller", "garbage-collector", "scheduler"];
/// Between two looks at the store.
const LOOK: Duration = Duration::from_millis(50);

/// The cluster.
pub struct World {
    store: Arc<dyn Store>,
    folder: TempDir,
    servers: JoinSet<()>,
    /// Before the first server.
    pub gate: Arc<Gate>,
    /// To the first server.
    pub client: Client,
    /// The first server, for who wants to see each answer as it is.
    pub peer: Peer,
}

/// One server, its gate, and how it is reached.
pub struct Apiserver {
    /// Between it and the store.
    pub gate: Arc<Gate>,
    /// For who wants to have things done.
    pub client: Client,
    /// For who wants to see each answer as it is.
    pub peer: Peer,
}

impl World {
    /// One server over an empty store.
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    /// One server that works so, over an empty store.
    pub async fn with(options: Options) -> Self {
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::memory());
        let folder = tempfile::tempdir().unwrap();
        let mut servers = JoinSet::new();
        let Apiserver { gate, client, peer } = serve(&store, &folder, "one", options, &mut servers).await;
        Self { store, folder, servers, gate, client, peer }
    }

    /// One more server over the same store.
    pub async fn another_server(&mut self) -> Apiserver {
        serve(&self.store, &self.folder, "two", Options::default(), &mut self.servers).await
    }

    /// A ready Node with so many cores.
    pub async fn node(&self, name: &str, cores: u32) -> Node {
        let node = json!({ "apiVersion": "berth.dev/v1", "kind": "Node", "metadata": { "name": name } });
        self.client.write(&Write::create_json(&node)).await.unwrap();
        let node = self.resize(&self.client, name, cores).await;
        self.is_seen().await;
        node
    }

    /// The first server sees all that was written: a Bind decides on what it sees.
    async fn is_seen(&self) {
        self.client.list_as::<Node>(&Query::of::<Node>()).await.unwrap();
    }

    /// The Node has so many cores now.
    pub async fn resize(&self, client: &Client, name: &str, cores: u32) -> Node {
        let room = json!({ "cpu": cores, "memory": "4Gi" });
        let status = json!({ "status": {
            "capacity": room, "allocatable": room, "portRange": { "first": 31000, "last": 32000 },
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "AgentPresent", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }],
        } });
        client.write_as(&Write::patch_status::<Node>("", name, status)).await.unwrap()
    }

    /// A Task that asks for so many cores.
    pub async fn task(&self, name: &str, cores: u32) -> Task {
        let container = json!({
            "name": "main", "command": ["/bin/true"], "resources": { "requests": { "cpu": cores } },
        });
        let task = json!({
            "apiVersion": "berth.dev/v1", "kind": "Task", "metadata": { "namespace": "default", "name": name },
            "spec": { "containers": [container] },
        });
        let task = self.client.write_as(&Write::create_json(&task)).await.unwrap();
        self.is_seen().await;
        task
    }

    /// An App, as asked for.
    pub async fn app(&self, name: &str, spec: Value) -> App {
        let app = json!({
            "apiVersion": "berth.dev/v1", "kind": "App", "metadata": { "namespace": "default", "name": name },
            "spec": spec,
        });
        self.client.write_as(&Write::create_json(&app)).await.unwrap()
    }

    /// Tells a Task's status, as its agent.
    pub async fn tell(&self, task: &Task, phase: &str) -> Result<Task, Error> {
        let status = json!({ "status": { "phase": phase } });
        let meta = &task.metadata;
        let write = Write::patch_status::<Task>(&meta.namespace, &meta.name, status);
        let told = self.client.write_as(&write.by("node-agent")).await;
        self.is_seen().await;
        told
    }

    /// Deletes a Task.
    pub async fn delete(&self, task: &Task) {
        self.client.write(&Write::delete(&ObjectKey::to(task))).await.unwrap();
        self.is_seen().await;
    }

    /// All that is known of what happened.
    pub async fn run(self) -> Run {
        Run { events: self.events().await, forced: forced(), ..Run::default() }
    }

    /// The version of all that happened so far.
    pub async fn head(&self) -> u64 {
        all_of(self.store.current_rev().await.unwrap())
    }

    /// All that is known of what happened, when everything that was asked for is done, or nothing is done any more.
    pub async fn run_to_its_end(self) -> Run {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let events = self.events().await;
            let rev = events.last().map_or(0, |event| event.rev);
            let settled = Settled { rev, ..Settled::default() };
            let mut state = State::default();
            events.iter().for_each(|event| state.learn(event.clone()));
            if rev != last {
                (last, since) = (rev, Instant::now());
            }
            if unsettled(&state, &settled, &[]).is_empty() || since.elapsed() > QUIET {
                return Run { events, settled: vec![settled], forced: forced(), ..Run::default() };
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn events(&self) -> Vec<Event> {
        let newest = self.store.current_rev().await.unwrap();
        let mut watch = self.store.watch(b"/berth/", b"/berth0", 1).await.unwrap();
        let mut events: Vec<Event> = Vec::new();
        while events.last().is_none_or(|event| event.rev < newest) {
            let changes = watch.next().await.expect("a watch goes on").unwrap();
            events.extend(changes.changes.into_iter().map(|change| event(changes.rev, change)));
        }
        events
    }
}

/// Starts a server behind a gate of its own, and waits until it serves.
async fn serve(
    store: &Arc<dyn Store>,
    folder: &TempDir,
    name: &str,
    options: Options,
    servers: &mut JoinSet<()>,
) -> Apiserver {
    let gate = Gate::before(store.clone());
    let socket = folder.path().join(name);
    let listener = UnixListener::bind(&socket).unwrap();
    let behind = gate.clone();
    let mut tasks = JoinSet::new();
    let server = Server::start(behind, Arc::new(SystemClock), options, &mut tasks).await.unwrap();
    servers.spawn(async move {
        let _works = tasks;
        let router =
            tonic::transport::Server::builder().add_service(ResourcesServer::new(ResourcesFace(server)));
        router.serve_with_incoming(UnixListenerStream::new(listener)).await.unwrap();
    });
    let address = format!("unix:{}", socket.display());
    Apiserver { gate, client: Client::new(&[&address]).unwrap(), peer: Peer::new(&address) }
}

fn forced() -> Vec<String> {
    FORCED.map(str::to_owned).into()
}

/// Binds a Task to a Node as that was seen.
pub async fn bind(client: &Client, task: &Task, node: &Node) -> Result<Task, Error> {
    bind_fenced(client, task, node, None).await
}

/// The same, as who leads in this epoch.
pub async fn bind_fenced(
    client: &Client,
    task: &Task,
    node: &Node,
    fence: Option<&Fence>,
) -> Result<Task, Error> {
    let mut outcomes = client.bind(&[BindItem::new(task, node)], fence).await?;
    outcomes.remove(0)?.read()
}

fn event(rev: i64, change: Change) -> Event {
    let now = change.now.map(|kv| {
        let (header, json) = Header::split(&kv.value).unwrap();
        Stored { create_rev: kv.create_rev, version: kv.version, lease: kv.lease, header, json: json.into() }
    });
    Event { rev, at: 0, key: String::from_utf8(change.key.to_vec()).unwrap(), now }
}
