//! A server whose store is full writes deletes, ends and Leases, and refuses the rest.

use std::sync::Arc;

use berth_proto::v1::write::Verb;
use berth_store::{EmbeddedStore, Store};
use berth_types::{Reason, Status};
use serde_json::{Value, json};

use super::faulty::Faulty;
use super::{Api, app, beside, task, write};

const LEASE: &str = "berth-system/leader";

/// A server with some objects, whose store is full.
async fn on_reserve() -> (Api, tokio::sync::watch::Sender<bool>) {
    let inner: Arc<dyn Store> = Arc::new(EmbeddedStore::memory());
    let (store, full) = Faulty::on_reserve(inner);
    let api = beside(store).await;
    for name in ["plain", "other", "third"] {
        api.create("App", name, app(1)).await.unwrap();
    }
    let held = json!({"metadata": {"finalizers": ["a/b", "c/d"]}});
    api.patch("App", "third", held).await.unwrap();
    for name in ["t-0", "t-1", "t-2"] {
        api.create("Task", name, task()).await.unwrap();
    }
    api.create("Lease", LEASE, json!({"spec": {"holderIdentity": "a"}})).await.unwrap();
    full.send_replace(true);
    (api, full)
}

fn refused(ended: Result<Value, Status>) {
    let status = ended.expect_err("the status ends no Task, and the store is full");
    assert_eq!(status.reason, Reason::StorageFull, "{status:?}");
}

#[tokio::test]
async fn deletes_ends_and_leases_are_written_and_the_rest_is_refused() {
    let (api, full) = on_reserve().await;
    refused(api.create("App", "new", app(1)).await);
    refused(api.create("Task", "new", task()).await);
    refused(api.patch("App", "plain", json!({"spec": {"replicas": 2}})).await);
    refused(api.patch_status("App", "plain", json!({"tasksCreated": 3})).await);
    refused(api.patch_status("Task", "t-0", json!({"phase": "Running"})).await);

    for phase in ["Failed", "Succeeded"] {
        let name = if phase == "Failed" { "t-0" } else { "t-1" };
        let ended = api.patch_status("Task", name, json!({"phase": phase})).await.unwrap();
        assert_eq!(ended["status"]["phase"], phase);
    }
    // Only the write that ends the Task is urgent; a later status is not.
    refused(api.patch_status("Task", "t-0", json!({"message": "x"})).await);
    api.delete("App", "plain").await.unwrap();
    let dying = api.delete("App", "third").await.unwrap();
    assert!(dying["metadata"]["deletionTimestamp"].is_string());
    api.patch("App", "third", json!({"metadata": {"finalizers": ["c/d"]}})).await.unwrap();
    api.patch("App", "third", json!({"metadata": {"finalizers": null}})).await.unwrap();
    for name in ["plain", "third"] {
        let gone = api.get("App", &format!("default/{name}")).await.unwrap_err();
        assert_eq!(gone.reason, Reason::NotFound, "{name}");
    }
    for holder in ["a", "b", "b"] {
        api.patch("Lease", LEASE, json!({"spec": {"holderIdentity": holder}})).await.unwrap();
    }

    full.send_replace(false);
    api.create("App", "new", app(1)).await.unwrap();
}

#[tokio::test]
async fn an_urgent_write_that_adds_much_to_its_object_is_not_urgent() {
    let (api, _full) = on_reserve().await;
    let noted = |bytes: usize| json!({"note": "x".repeat(bytes)});
    for (kind, name, mut patch) in [
        ("App", "third", json!({"metadata": {"finalizers": ["c/d"]}})),
        ("Lease", LEASE, json!({"metadata": {}, "spec": {"holderIdentity": "b"}})),
    ] {
        patch["metadata"]["annotations"] = noted(5000);
        refused(api.patch(kind, name, patch.clone()).await);
        patch["metadata"]["annotations"] = noted(3000);
        api.patch(kind, name, patch).await.unwrap();
    }
}

/// A write that is not urgent holds up none that is, and takes none with it but in one atomic batch.
#[tokio::test]
async fn of_a_batch_the_urgent_writes_are_carried_out() {
    let (api, _full) = on_reserve().await;
    let create = |name| write(Verb::Create, "App", name, app(1));
    let delete = |kind, name| write(Verb::Delete, kind, name, Value::Null);
    let ended = api.batch(true, vec![delete("App", "plain"), create("new")]).await;
    assert!(ended.iter().all(Result::is_err), "{ended:?}");
    refused(ended.into_iter().next().unwrap());
    api.get("App", "default/plain").await.expect("nothing of an atomic batch happens alone");
    let writes = vec![create("new"), delete("App", "plain"), create("newer"), delete("App", "other")];
    let mut ended = api.batch(false, writes).await.into_iter();
    for is_written in [false, true, false, true] {
        let ended = ended.next().unwrap();
        if is_written { drop(ended.unwrap()) } else { refused(ended) }
    }
    let ended = api.batch(true, vec![delete("Task", "t-1"), delete("Task", "t-2")]).await;
    assert!(ended.iter().all(Result::is_ok), "{ended:?}");
}
