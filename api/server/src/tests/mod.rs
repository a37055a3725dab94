//! Servers over the store in memory, called as a client calls them.

mod answers;
mod batches;
mod binding;
mod deletes;
#[path = "../../../store/tests/store/etcd.rs"]
#[allow(dead_code, reason = "the tests of the store use more of it")]
mod etcd;
pub mod faulty;
mod full;
mod healing;
mod histories;
mod large;
pub mod lost;
mod objects;
mod several;
mod watches;

use std::sync::Arc;
use std::time::Duration;

use berth_proto::from_grpc;
use berth_proto::v1::resources_server::Resources;
use berth_proto::v1::write::Verb;
use berth_proto::v1::{self as wire, outcome};
use berth_store::{EmbeddedStore, Store, StoreError};
use berth_types::{Status, SystemClock};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tonic::Request;

use crate::{Options, ResourcesFace, Server};

/// One server.
pub struct Api {
    pub server: Arc<Server>,
    face: ResourcesFace,
    _tasks: JoinSet<Result<(), StoreError>>,
}

/// A server over a store of its own.
pub async fn api() -> Api {
    beside(Arc::new(EmbeddedStore::memory())).await
}

/// One more server over a store.
pub async fn beside(store: Arc<dyn Store>) -> Api {
    with(store, Options { bookmarks: Duration::from_millis(50), ..Options::default() }).await
}

/// One more server over a store, with options of its own.
pub async fn with(store: Arc<dyn Store>, options: Options) -> Api {
    let mut tasks = JoinSet::new();
    let server = Server::start(store, Arc::new(SystemClock), options, &mut tasks).await.unwrap();
    Api { face: ResourcesFace(server.clone()), server, _tasks: tasks }
}

/// The key of an object on the wire; an empty namespace is `default`, or none for kinds without.
pub fn key(kind: &str, path: &str) -> wire::ObjectKey {
    let api_version = match kind {
        "Namespace" | "Event" => "v1",
        "Lease" => "coordination.k8s.io/v1",
        _ => "berth.dev/v1",
    };
    let (namespace, name) = path.split_once('/').unwrap_or(("", path));
    let kind = Some(wire::Kind { api_version: api_version.into(), kind: kind.into() });
    wire::ObjectKey { kind, namespace: namespace.into(), name: name.into() }
}

/// A write of `body` to an object.
pub fn write(verb: Verb, kind: &str, path: &str, body: Value) -> wire::Write {
    let json = if body.is_null() { Vec::new() } else { serde_json::to_vec(&body).unwrap() };
    wire::Write {
        verb: verb.into(),
        key: Some(key(kind, path)),
        json: json.into(),
        field_manager: "test".into(),
        ..wire::Write::default()
    }
}

impl Api {
    /// One write, in its own call.
    pub async fn send(&self, write: wire::Write) -> Result<Value, Status> {
        self.send_and_hear(write).await.map(|(object, _)| object)
    }

    /// One write, in its own call; also what it did.
    pub async fn send_and_hear(&self, write: wire::Write) -> Result<(Value, wire::Written), Status> {
        let request = Request::new(write.clone());
        let answer = match write.verb() {
            Verb::Unspecified => unreachable!("tests name the verb"),
            Verb::Create => self.face.create(request).await,
            Verb::Update => self.face.update(request).await,
            Verb::UpdateStatus => self.face.update_status(request).await,
            Verb::Patch | Verb::PatchStatus => self.face.patch(request).await,
            Verb::Apply | Verb::ApplyStatus => self.face.apply(request).await,
            Verb::Delete => self.face.delete(request).await,
        };
        let answer = answer.map_err(|grpc| from_grpc(&grpc))?.into_inner();
        Ok((parse(&answer.json), answer.written.expect("every write says what it did")))
    }

    pub async fn create(&self, kind: &str, path: &str, body: Value) -> Result<Value, Status> {
        self.send(write(Verb::Create, kind, path, body)).await
    }

    pub async fn patch(&self, kind: &str, path: &str, body: Value) -> Result<Value, Status> {
        self.send(write(Verb::Patch, kind, path, body)).await
    }

    pub async fn patch_status(&self, kind: &str, path: &str, status: Value) -> Result<Value, Status> {
        self.send(write(Verb::PatchStatus, kind, path, json!({ "status": status }))).await
    }

    pub async fn delete(&self, kind: &str, path: &str) -> Result<Value, Status> {
        self.send(write(Verb::Delete, kind, path, Value::Null)).await
    }

    pub async fn get(&self, kind: &str, path: &str) -> Result<Value, Status> {
        let request = wire::GetRequest { key: Some(key(kind, path)) };
        let answer = self.face.get(Request::new(request)).await;
        answer.map(|object| parse(&object.into_inner().json)).map_err(|grpc| from_grpc(&grpc))
    }

    pub async fn list(&self, request: wire::ListRequest) -> Result<wire::ListResponse, Status> {
        let answer = self.face.list(Request::new(request)).await;
        answer.map(tonic::Response::into_inner).map_err(|grpc| from_grpc(&grpc))
    }

    pub async fn batch(&self, atomic: bool, writes: Vec<wire::Write>) -> Vec<Result<Value, Status>> {
        let request = wire::BatchRequest { writes, atomic };
        outcomes(self.face.batch(Request::new(request)).await.unwrap().into_inner().outcomes)
    }

    pub async fn watch(&self, request: wire::WatchRequest) -> Result<Watch, Status> {
        let answer = self.face.watch(Request::new(request)).await;
        answer.map(|stream| Watch { stream: stream.into_inner() }).map_err(|grpc| from_grpc(&grpc))
    }
}

/// A stream of watch messages.
pub struct Watch {
    stream: <ResourcesFace as Resources>::WatchStream,
}

impl Watch {
    /// The next message of any kind.
    pub async fn next(&mut self) -> Result<wire::WatchResponse, Status> {
        use futures::StreamExt;
        let next = tokio::time::timeout(Duration::from_secs(10), self.stream.next()).await;
        next.expect("a message within 10 s").expect("the stream goes on").map_err(|grpc| from_grpc(&grpc))
    }

    /// The events up to a version, as lines `ADDED web`.
    pub async fn until(&mut self, version: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let message = self.next().await.unwrap();
            lines.extend(message.events.iter().map(|event| {
                let name = parse(&event.json)["metadata"]["name"].as_str().unwrap().to_owned();
                format!("{} {name}", event.r#type().as_str_name())
            }));
            if message.resource_version.parse::<u64>().is_ok_and(|at| at >= version.parse().unwrap()) {
                return lines;
            }
        }
    }
}

/// What each write of a batch came to.
pub fn outcomes(outcomes: Vec<wire::Outcome>) -> Vec<Result<Value, Status>> {
    outcomes
        .into_iter()
        .map(|outcome| match outcome.result.unwrap() {
            outcome::Result::Json(json) => Ok(parse(&json)),
            outcome::Result::Status(json) => Err(serde_json::from_slice(&json).unwrap()),
        })
        .collect()
}

pub fn parse(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap()
}

/// The version of an object.
pub fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

/// By how many bytes something is too large, by the two sizes in the text of its refusal.
pub fn bytes_too_many(refusal: &str) -> usize {
    let numbers =
        refusal.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse::<usize>().ok());
    let [one, other] = numbers.collect::<Vec<_>>()[..] else { panic!("two sizes: {refusal}") };
    one.abs_diff(other)
}

pub fn app(replicas: u32) -> Value {
    json!({
        "apiVersion": "berth.dev/v1", "kind": "App",
        "spec": {"replicas": replicas, "template": {"spec": task_spec()}},
    })
}

pub fn task() -> Value {
    json!({"apiVersion": "berth.dev/v1", "kind": "Task", "spec": task_spec()})
}

fn task_spec() -> Value {
    json!({"containers": [{
        "name": "main", "command": ["sleep", "1"],
        "resources": {"requests": {"cpu": "1", "memory": "64Mi"}},
        "ports": [{"name": "http"}],
    }]})
}
