//! However large the objects of a revision are, a watcher gets each of them, in messages that a client accepts. However
//! large an accepted object is, it can report its status and go.

use std::sync::Arc;

use berth_proto::v1 as wire;
use berth_proto::v1::watch_event::Type;
use berth_proto::v1::write::Verb;
use berth_store::EmbeddedStore;
use berth_store::committer::MOST_WATCH_BYTES;
use berth_types::{Reason, Status};
use futures::future::join_all;
use prost::Message;
use serde_json::{Value, json};

use super::binding::item;
use super::{Api, api, app, bytes_too_many, key, parse, task, with, write};
use crate::Options;

/// Nearly the most that an App may be.
const BYTES: usize = 560_000;
/// In one revision they would be more than a client accepts in one message.
const OBJECTS: usize = 126;
const CLIENT_ACCEPTS: usize = 64 << 20;

/// Creates Apps that a selector takes; a version after the last.
async fn created(api: &Api, objects: usize) -> String {
    let value = |n: usize| json!({"name": format!("V{n}"), "value": "x".repeat(BYTES / 5)});
    let mut large = app(1);
    large["metadata"] = json!({"labels": {"in": "yes"}});
    large["spec"]["template"]["spec"]["containers"][0]["env"] = (0..5).map(value).collect();
    for n in 0..objects {
        api.create("App", &name(n), large.clone()).await.unwrap();
    }
    let request = wire::ListRequest { kind: key("App", "").kind, limit: 1, ..Default::default() };
    api.list(request).await.unwrap().resource_version
}

/// A server whose window keeps all events of a test.
async fn api_that_remembers() -> Api {
    with(Arc::new(EmbeddedStore::memory()), Options { window_bytes: 1 << 30, ..Options::default() }).await
}

fn name(n: usize) -> String {
    format!("a-{n:03}")
}

/// Follows the watch from `version` on, opening it anew after each message; all Apps must be reported as gone, each
/// once.
async fn told_gone(api: &Api, version: &str) {
    let mut version = version.to_owned();
    let mut gone = Vec::new();
    while gone.len() < OBJECTS {
        let request = wire::WatchRequest {
            kind: key("App", "").kind,
            label_selector: "in=yes".into(),
            resource_version: version,
            ..Default::default()
        };
        let message = api.watch(request).await.unwrap().next().await.unwrap();
        let bytes = message.encoded_len();
        assert!(bytes <= CLIENT_ACCEPTS, "a message of {bytes} bytes");
        assert!(bytes <= MOST_WATCH_BYTES + (64 << 10), "a revision that tells {bytes} bytes");
        version = message.resource_version;
        for event in message.events {
            assert_eq!(event.r#type(), Type::Deleted);
            gone.push(parse(&event.json)["metadata"]["name"].as_str().unwrap().to_owned());
        }
    }
    gone.sort();
    assert_eq!(gone, (0..OBJECTS).map(name).collect::<Vec<_>>());
}

/// Many clients at once: their calls travel to the store together.
async fn each(api: &Api, write: impl Fn(usize) -> wire::Write) {
    for ended in join_all((0..OBJECTS).map(|n| api.send(write(n)))).await {
        ended.unwrap();
    }
}

#[tokio::test]
async fn a_watcher_gets_past_deletes_of_large_objects() {
    let api = api_that_remembers().await;
    let before = created(&api, OBJECTS).await;
    each(&api, |n| write(Verb::Delete, "App", &name(n), Value::Null)).await;
    told_gone(&api, &before).await;
}

/// An object that leaves a selection is reported as it was, however small it is now.
#[tokio::test]
async fn a_watcher_gets_past_large_objects_that_leave_its_selection() {
    let api = api_that_remembers().await;
    let before = created(&api, OBJECTS).await;
    let mut small = app(1);
    small["metadata"] = json!({"labels": null});
    each(&api, |n| write(Verb::Patch, "App", &name(n), small.clone())).await;
    told_gone(&api, &before).await;
}

#[tokio::test]
async fn an_atomic_batch_of_more_than_a_revision_may_tell_is_refused() {
    let api = api().await;
    created(&api, 20).await;
    let delete = |n| write(Verb::Delete, "App", &name(n), Value::Null);
    let ended = api.batch(true, (0..20).map(delete).collect()).await;
    let why = ended[0].as_ref().unwrap_err();
    assert_eq!(why.reason, Reason::RequestEntityTooLarge, "{why:?}");
    assert!(why.message.contains("send fewer or smaller objects"), "{}", why.message);
    for (n, ended) in ended.iter().enumerate() {
        assert!(ended.is_err() && api.get("App", &format!("default/{}", name(n))).await.is_ok(), "{n}");
    }
    let ended = api.batch(true, (0..12).map(delete).collect()).await;
    assert!(ended.iter().all(Result::is_ok), "{ended:?}");
}

/// The most bytes that are accepted. A refusal tells by how many an object is too large; one byte more is refused.
async fn most(try_out: impl AsyncFn(usize) -> Result<Value, Status>) -> usize {
    const TOO_MANY: usize = 262_000;
    let why = try_out(TOO_MANY).await.unwrap_err().message;
    let fits = TOO_MANY - bytes_too_many(&why);
    let refused = try_out(fits + 1).await.unwrap_err();
    assert_eq!(refused.reason, Reason::RequestEntityTooLarge, "{}", refused.message);
    try_out(fits).await.unwrap();
    fits
}

/// Creates a Task that could not have one byte more, with a finalizer that is not Bind's.
async fn largest_task(api: &Api, owners: &Value) -> Value {
    let of = |bytes: usize| {
        let env = json!([{"name": "LARGE", "value": "x".repeat(115_000)}]);
        let container = |n| json!({"name": format!("c{n}"), "command": ["sleep", "1"], "env": env});
        let mut task = task();
        let containers = task["spec"]["containers"].as_array_mut().unwrap();
        containers.extend((0..8).map(container));
        task["metadata"] = json!({
            "annotations": {"rest": "x".repeat(bytes)},
            "finalizers": ["example.com/kept"],
            "ownerReferences": owners,
        });
        write(Verb::Create, "Task", "large", task)
    };
    let try_out = async |bytes| api.send(wire::Write { dry_run: true, ..of(bytes) }).await;
    let bytes = most(try_out).await;
    api.send(of(bytes)).await.unwrap()
}

/// The status of a Task with ten containers whose last attempts failed for long reasons.
fn status(phase: &str) -> Value {
    let container = |n| {
        let failed = json!({"exitCode": 1, "reason": "Error", "message": "y".repeat(1024)});
        json!({"name": format!("c{n}"), "ready": false, "restartCount": 1, "state": {"terminated": failed}})
    };
    json!({"phase": phase, "containerStatuses": (0..10).map(container).collect::<Value>()})
}

#[tokio::test]
async fn the_largest_task_is_bound_reports_and_goes() {
    let api = api().await;
    let node = api.node("n1", 4).await;
    let made = largest_task(&api, &json!([])).await;
    let bound = api.bind(vec![item(&made, &node, 31000)]).await.remove(0).unwrap();
    assert_eq!(bound["spec"]["nodeName"], "n1");
    for phase in ["Starting", "Running"] {
        api.patch_status("Task", "large", status(phase)).await.unwrap();
    }
    // No user takes the room of the status, and what gives room back is accepted.
    let annotate = async |text: Value| {
        api.patch("Task", "large", json!({"metadata": {"annotations": {"rest": text}}})).await
    };
    let rest = made["metadata"]["annotations"]["rest"].as_str().unwrap();
    let refused = annotate(json!(format!("{rest}x"))).await.unwrap_err();
    assert_eq!(refused.reason, Reason::RequestEntityTooLarge, "{}", refused.message);
    annotate(json!(&rest[1..])).await.unwrap();
    let marked = api.delete("Task", "large").await.unwrap();
    assert!(marked["metadata"]["deletionTimestamp"].is_string(), "{}", marked["metadata"]);
    api.patch_status("Task", "large", status("Succeeded")).await.unwrap();
    api.patch("Task", "large", json!({"metadata": {"finalizers": null}})).await.unwrap();
    assert_eq!(api.get("Task", "default/large").await.unwrap_err().reason, Reason::NotFound);
}

/// The store takes what the server accepts, and there is always room for the marks of a deletion.
#[tokio::test]
async fn a_task_with_the_largest_status_is_let_go_and_deleted() {
    let api = api().await;
    let owner = api.create("App", "web", app(1)).await.unwrap();
    let uid = &owner["metadata"]["uid"];
    let owners = json!([{"apiVersion": "berth.dev/v1", "kind": "App", "name": "web", "uid": uid}]);
    largest_task(&api, &owners).await;
    let say = |bytes: usize| {
        let (reason, message) = ("z".repeat(1_000), "z".repeat(bytes));
        let status = json!({"status": {"phase": "Pending", "reason": reason, "message": message}});
        write(Verb::PatchStatus, "Task", "large", status)
    };
    let bytes = most(async |bytes| api.send(wire::Write { dry_run: true, ..say(bytes) }).await).await;
    api.send(say(bytes)).await.unwrap();
    let release = write(Verb::Delete, "App", "web", Value::Null);
    api.send(wire::Write { orphan: true, ..release }).await.unwrap();
    let task = api.get("Task", "default/large").await.unwrap();
    assert_eq!(task["metadata"].get("ownerReferences"), None);
    api.send(say(bytes + owners.to_string().len())).await.unwrap();
    for seconds in [30, 5] {
        let delete = write(Verb::Delete, "Task", "large", Value::Null);
        let delete = wire::Write { grace_period_seconds: Some(seconds), ..delete };
        let marked = api.send(delete).await.unwrap();
        assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], seconds);
    }
    api.patch("Task", "large", json!({"metadata": {"finalizers": null}})).await.unwrap();
    assert_eq!(api.get("Task", "default/large").await.unwrap_err().reason, Reason::NotFound);
}
