//! What users and containers notice: writes that were acknowledged, a watch that stays open, processes that stay.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use berth_client::{Client, Options, Query, Write};
use berth_e2e::World;
use berth_e2e::leftovers::programs_of_task;
use berth_e2e::wait::eventually;
use berth_e2e::world::{SOON, name, uid};
use berth_proto::v1 as wire;
use berth_proto::v1::resources_client::ResourcesClient;
use berth_types::core::Event;
use berth_types::{Resource, Status};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

/// A small object that nobody looks after.
fn object(name: &str) -> Value {
    json!({
        "apiVersion": Event::API_VERSION,
        "kind": Event::KIND,
        "metadata": {"namespace": "default", "name": name},
        "involvedObject": {"apiVersion": "v1", "kind": "Namespace", "name": "default"},
        "reason": "Witnessed",
        "type": "Normal",
    })
}

fn kind() -> Option<wire::Kind> {
    Some(wire::Kind { api_version: Event::API_VERSION.into(), kind: Event::KIND.into() })
}

/// Single calls at one server, answers as they are.
pub struct Api {
    runtime: Runtime,
    raw: ResourcesClient<Channel>,
}

impl Api {
    /// The first apiserver of a world.
    pub fn of(world: &World) -> Self {
        Self::at(world.server())
    }

    /// An apiserver.
    pub fn at(address: String) -> Self {
        let runtime = runtime();
        let endpoint = Endpoint::from_shared(address).expect("a socket is an endpoint");
        let raw = runtime.block_on(async { ResourcesClient::new(endpoint.connect_lazy()) });
        Self { runtime, raw }
    }

    /// Creates an object; the refusal when there is one.
    pub fn create(&self, name: &str) -> Result<(), Status> {
        self.create_large(name, 0)
    }

    /// The same with an annotation of so many bytes.
    pub fn create_large(&self, name: &str, bytes: usize) -> Result<(), Status> {
        let mut large = object(name);
        large["metadata"]["annotations"] = json!({"example.org/large": "x".repeat(bytes)});
        let write = wire::Write {
            json: large.to_string().into(),
            key: Some(wire::ObjectKey { kind: kind(), namespace: "default".into(), name: name.into() }),
            ..wire::Write::default()
        };
        let mut raw = self.raw.clone();
        let answer = self.runtime.block_on(async { raw.create(write).await });
        answer.map(drop).map_err(|status| berth_proto::from_grpc(&status))
    }

    /// Gives an object another large annotation: the store grows by its history alone.
    pub fn rewrite(&self, name: &str, number: usize, bytes: usize) -> Result<(), Status> {
        let text = format!("{number} {}", "x".repeat(bytes));
        let patch = json!({"metadata": {"annotations": {"example.org/large": text}}});
        let write = wire::Write {
            json: patch.to_string().into(),
            key: Some(wire::ObjectKey { kind: kind(), namespace: "default".into(), name: name.into() }),
            ..wire::Write::default()
        };
        let mut raw = self.raw.clone();
        let answer = self.runtime.block_on(async { raw.patch(write).await });
        answer.map(drop).map_err(|status| berth_proto::from_grpc(&status))
    }

    /// Deletes an object.
    pub fn delete(&self, name: &str) -> Result<(), Status> {
        let write = wire::Write {
            key: Some(wire::ObjectKey { kind: kind(), namespace: "default".into(), name: name.into() }),
            ..wire::Write::default()
        };
        let mut raw = self.raw.clone();
        let answer = self.runtime.block_on(async { raw.delete(write).await });
        answer.map(drop).map_err(|status| berth_proto::from_grpc(&status))
    }

    /// The names of the objects; `version` as a list takes it: empty for the newest state, `0` for any.
    pub fn list(&self, version: &str) -> Result<BTreeSet<String>, Status> {
        let request = wire::ListRequest {
            kind: kind(),
            namespace: "default".into(),
            resource_version: version.into(),
            ..wire::ListRequest::default()
        };
        let mut raw = self.raw.clone();
        let answer = self.runtime.block_on(async { raw.list(request).await });
        let answer = answer.map_err(|status| berth_proto::from_grpc(&status))?.into_inner();
        Ok(answer.items.iter().map(|item| named(item)).collect())
    }

    /// How the server says it does.
    pub fn health(&self) -> Result<wire::HealthResponse, Status> {
        let mut raw = self.raw.clone();
        let answer = self.runtime.block_on(async { raw.health(wire::HealthRequest {}).await });
        answer.map(tonic::Response::into_inner).map_err(|status| berth_proto::from_grpc(&status))
    }

    /// Where a list of now ends.
    pub fn place(&self) -> wire::WatchRequest {
        let request =
            wire::ListRequest { kind: kind(), namespace: "default".into(), ..wire::ListRequest::default() };
        let mut raw = self.raw.clone();
        let listed = self.runtime.block_on(async { raw.list(request).await }).expect("objects are listed");
        let wire::ListResponse { resource_version, history, .. } = listed.into_inner();
        let namespace = "default".into();
        wire::WatchRequest {
            kind: kind(),
            namespace,
            resource_version,
            history,
            ..wire::WatchRequest::default()
        }
    }

    /// Why a watch from such a place is refused.
    ///
    /// # Panics
    /// When it is not.
    pub fn follow_from(&self, place: &wire::WatchRequest) -> Status {
        let mut raw = self.raw.clone();
        let opened = self.runtime.block_on(async { raw.watch(place.clone()).await });
        berth_proto::from_grpc(&opened.expect_err("a watch opens in the middle of another past"))
    }

    /// A watch that does not resume: it ends when the server ends it.
    pub fn watch(&self) -> OpenWatch<'_> {
        let request =
            wire::WatchRequest { kind: kind(), namespace: "default".into(), ..wire::WatchRequest::default() };
        let mut raw = self.raw.clone();
        let stream = self.runtime.block_on(async { raw.watch(request).await }).expect("a watch opens");
        OpenWatch { api: self, stream: stream.into_inner() }
    }
}

fn named(json: &[u8]) -> String {
    let object: Value = serde_json::from_slice(json).expect("an object is JSON");
    name(&object).to_owned()
}

/// A stream that is never opened again.
pub struct OpenWatch<'a> {
    api: &'a Api,
    stream: Streaming<wire::WatchResponse>,
}

impl OpenWatch<'_> {
    /// Reads on until an object of this name is told.
    ///
    /// # Panics
    /// When the stream ended, or nothing of the object comes in time.
    pub fn tells(&mut self, name: &str) {
        let end = Instant::now() + SOON;
        loop {
            let next = async { tokio::time::timeout(SOON, self.stream.message()).await };
            let message = self.api.runtime.block_on(next).expect("the watch says nothing at all");
            let message = message.expect("the watch stays open").expect("the watch does not end");
            if message.events.iter().any(|event| named(&event.json) == name) {
                return;
            }
            assert!(Instant::now() < end, "the watch does not tell of {name}");
        }
    }

    /// How the stream ends.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn ends(mut self) -> Status {
        let end = Instant::now() + SOON;
        loop {
            assert!(Instant::now() < end, "the watch does not end");
            let next = async { tokio::time::timeout(SOON, self.stream.message()).await };
            match self.api.runtime.block_on(next).expect("the watch says nothing at all") {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the watch ended without a word"),
                Err(status) => return berth_proto::from_grpc(&status),
            }
        }
    }
}

/// Writes one object after another until it is stopped, and remembers what was acknowledged.
pub struct Writer {
    acknowledged: Arc<Mutex<Vec<String>>>,
    stopped: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    /// Begins to write objects `<prefix>-<n>` at all servers of the world.
    pub fn start(world: &World, prefix: &'static str) -> Self {
        let (acknowledged, stopped) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (servers, done, stop) = (world.servers(), acknowledged.clone(), stopped.clone());
        let thread = std::thread::spawn(move || runtime().block_on(write(servers, prefix, done, stop)));
        Self { acknowledged, stopped, thread: Some(thread) }
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until more writes are acknowledged.
    pub fn goes_on(&self, when: &str) {
        let before = self.count();
        eventually(&format!("writes are acknowledged {when}"), SOON, || match self.count() {
            now if now >= before + 5 => Ok(()),
            now => Err(format!("{now} acknowledged, {before} before")),
        });
    }

    /// Ends it: the names of all that was acknowledged.
    pub fn stop(mut self) -> BTreeSet<String> {
        self.stopped.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the writer does not panic");
        }
        std::mem::take(&mut *self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner))
            .into_iter()
            .collect()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
    }
}

async fn write(
    servers: String,
    prefix: &str,
    acknowledged: Arc<Mutex<Vec<String>>>,
    stopped: Arc<AtomicBool>,
) {
    let addresses: Vec<&str> = servers.split(',').collect();
    let options = Options { deadline: Duration::from_secs(2), ..Options::default() };
    let client = Client::with_options(&addresses, options).expect("a world's servers are addresses");
    for number in 0.. {
        if stopped.load(Ordering::SeqCst) {
            return;
        }
        let name = format!("{prefix}-{number}");
        if client.write(&Write::create_json(&object(&name))).await.is_ok() {
            acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(name);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// All objects that are there, read page by page.
pub fn present(world: &World) -> BTreeSet<String> {
    let servers = world.servers();
    let addresses: Vec<&str> = servers.split(',').collect();
    let listed = runtime().block_on(async {
        let client = Client::new(&addresses).expect("a world's servers are addresses");
        client.list(&Query::of::<Event>().in_namespace("default")).await
    });
    listed.expect("objects are listed").items.iter().map(|object| name(object).to_owned()).collect()
}

/// The processes of Tasks, by uid.
#[derive(Debug, PartialEq, Eq)]
pub struct Containers(BTreeMap<String, Vec<u32>>);

impl Containers {
    /// Of these Tasks, which run.
    pub fn of(world: &World, tasks: &[Value]) -> Self {
        let found = |task: &Value| (uid(task).to_owned(), programs_of_task(world.dir(), uid(task)));
        let found: BTreeMap<_, _> = tasks.iter().map(found).collect();
        assert!(found.values().all(|processes| !processes.is_empty()), "{found:?}");
        Self(found)
    }

    /// Whether each process still is there, and no other.
    pub fn untouched(&self, world: &World) -> Result<(), String> {
        let now: BTreeMap<_, _> =
            self.0.keys().map(|uid| (uid.clone(), programs_of_task(world.dir(), uid))).collect();
        if now == self.0 { Ok(()) } else { Err(format!("were {:?}, are {now:?}", self.0)) }
    }
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("a runtime starts")
}
