//! Laws of deletes that name the version they mean: alone, in batches, and on a view that is older than the store.

use std::sync::Arc;

use berth_proto::v1 as wire;
use berth_proto::v1::write::Verb;
use berth_store::{EmbeddedStore, Store};
use berth_types::{Reason, Status};
use serde_json::{Value, json};

use super::faulty::Faulty;
use super::{Api, api, app, beside, version, write};

/// A delete of an App in the version that was seen.
fn delete(name: &str, seen: &Value) -> wire::Write {
    wire::Write { resource_version: version(seen), ..write(Verb::Delete, "App", name, Value::Null) }
}

async fn created(api: &Api, names: &[&str]) -> Vec<Value> {
    let mut created = Vec::new();
    for name in names {
        created.push(api.create("App", name, app(1)).await.unwrap());
    }
    created
}

async fn is_there(api: &Api, name: &str) -> bool {
    api.get("App", &format!("default/{name}")).await.is_ok()
}

/// Changes of everything that has a version of its own: spec, labels, status.
async fn change(api: &Api, name: &str, part: &str) -> Value {
    match part {
        "spec" => api.patch("App", name, json!({"spec": {"replicas": 7}})).await,
        "labels" => api.patch("App", name, json!({"metadata": {"labels": {"a": "b"}}})).await,
        "status" => api.patch_status("App", name, json!({"tasksCreated": 3})).await,
        _ => unreachable!("a part of the table"),
    }
    .unwrap()
}

const PARTS: [&str; 3] = ["spec", "labels", "status"];

fn is_refused(ended: &Result<Value, Status>) -> bool {
    ended.as_ref().is_err_and(|why| why.reason == Reason::Conflict)
}

#[tokio::test]
async fn a_delete_in_a_version_is_refused_once_the_object_changed() {
    let api = api().await;
    for part in PARTS {
        let seen = created(&api, &[part]).await.remove(0);
        let newer = change(&api, part, part).await;
        let refused = api.send(delete(part, &seen)).await;
        assert!(is_refused(&refused) && is_there(&api, part).await, "{part}: {refused:?}");
        api.send(delete(part, &newer)).await.unwrap();
        assert!(!is_there(&api, part).await, "{part}");
    }
    let gone = created(&api, &["again"]).await.remove(0);
    api.delete("App", "again").await.unwrap();
    created(&api, &["again"]).await;
    assert!(is_refused(&api.send(delete("again", &gone)).await) && is_there(&api, "again").await);
}

/// One that only marks its object is a delete too, and so is one that lets go of what belongs to it.
#[tokio::test]
async fn a_delete_that_marks_or_orphans_is_refused_once_the_object_changed() {
    let api = api().await;
    let held = json!({"metadata": {"finalizers": ["test/held"]}});
    for (name, orphan) in [("marks", false), ("orphans", true)] {
        created(&api, &[name]).await;
        let seen = api.patch("App", name, held.clone()).await.unwrap();
        let newer = change(&api, name, "status").await;
        let refused = api.send(wire::Write { orphan, ..delete(name, &seen) }).await;
        assert!(is_refused(&refused), "{name}: {refused:?}");
        let there = api.get("App", &format!("default/{name}")).await.unwrap();
        assert_eq!(there["metadata"].get("deletionTimestamp"), None, "{name}");
        let marked = api.send(wire::Write { orphan, ..delete(name, &newer) }).await.unwrap();
        assert!(marked["metadata"]["deletionTimestamp"].is_string(), "{name}");
    }
}

#[tokio::test]
async fn of_a_batch_exactly_the_deletes_of_changed_objects_are_refused() {
    const NAMES: [&str; 3] = ["first", "middle", "last"];
    for changed in NAMES {
        let api = api().await;
        let seen = created(&api, &NAMES).await;
        change(&api, changed, "status").await;
        let deletes = || NAMES.iter().zip(&seen).map(|(name, seen)| delete(name, seen)).collect();
        let ended = api.batch(true, deletes()).await;
        assert!(ended.iter().all(is_refused), "{changed}: {ended:?}");
        for name in NAMES {
            assert!(is_there(&api, name).await, "{changed}: {name} of an atomic batch is gone");
        }
        let ended = api.batch(false, deletes()).await;
        for (name, ended) in NAMES.iter().zip(ended) {
            assert_eq!(is_refused(&ended), *name == changed, "{changed}, {name}: {ended:?}");
            assert_eq!(is_there(&api, name).await, *name == changed, "{changed}, {name}");
        }
    }
}

/// The view of the server that is asked is still that of the caller: the store has a newer state.
#[tokio::test]
async fn a_delete_in_a_version_is_refused_though_the_view_of_the_server_is_old() {
    let forms = [("alone", None), ("batch", Some(false)), ("atomic batch", Some(true))];
    let table = PARTS.into_iter().flat_map(|part| forms.map(|form| (part, form)));
    let each = table.map(|(part, (form, atomic))| on_an_old_view(part, atomic, format!("{part}, {form}")));
    futures::future::join_all(each).await;
}

async fn on_an_old_view(part: &str, atomic: Option<bool>, at: String) {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::memory());
    let (server, behind) = (beside(store.clone()).await, beside(Faulty::slow(store)).await);
    let seen = created(&server, &["a", "b"]).await;
    // The server that is behind has what was created, and not what comes now.
    behind.get("App", "default/b").await.unwrap();
    let newer = change(&server, "b", part).await;
    let deletes = vec![delete("a", &seen[0]), delete("b", &seen[1])];
    let ended = match atomic {
        None => vec![behind.send(deletes[0].clone()).await, behind.send(deletes[1].clone()).await],
        Some(atomic) => behind.batch(atomic, deletes).await,
    };
    assert!(is_refused(&ended[1]), "{at}: {ended:?}");
    assert_eq!(ended[0].is_err(), atomic == Some(true), "{at}: {ended:?}");
    assert_eq!(is_there(&server, "a").await, atomic == Some(true), "{at}");
    assert!(is_there(&server, "b").await, "{at}");
    // A version that this server has not seen yet is no reason to refuse.
    let newest = change(&server, "b", if part == "spec" { "labels" } else { "spec" }).await;
    assert!(is_refused(&behind.send(delete("b", &newer)).await), "{at}");
    behind.send(delete("b", &newest)).await.unwrap_or_else(|why| panic!("{at}: {why:?}"));
    assert!(!is_there(&server, "b").await, "{at}");
}
