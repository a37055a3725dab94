//! However large the objects of a revision are, a watcher gets each of them, in messages that a client accepts.

use std::sync::Arc;

use berth_proto::v1 as wire;
use berth_proto::v1::watch_event::Type;
use berth_proto::v1::write::Verb;
use berth_store::EmbeddedStore;
use berth_store::committer::MOST_WATCH_BYTES;
use berth_types::Reason;
use futures::future::join_all;
use prost::Message;
use serde_json::{Value, json};

use super::{Api, api, app, key, parse, with, write};
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
