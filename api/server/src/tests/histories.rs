//! Stores that are full, and stores that were restored.

use std::sync::Arc;

use berth_proto::v1 as wire;
use berth_store::{EmbeddedStore, Group, Store, StoreError, Write};
use berth_types::Reason;
use serde_json::json;

use super::{beside, faulty::Faulty, key};

fn list_of(kind: &str, limit: u32, token: &str) -> wire::ListRequest {
    let kind = key(kind, "any").kind;
    wire::ListRequest { kind, limit, continue_token: token.into(), ..wire::ListRequest::default() }
}

fn lease() -> serde_json::Value {
    json!({ "spec": {} })
}

#[tokio::test]
async fn a_full_store_that_another_program_writes_is_read_and_served_anew() {
    let inner: Arc<dyn Store> = Arc::new(EmbeddedStore::memory());
    let (store, full) = Faulty::filled(inner.clone());
    let api = beside(store.clone()).await;
    api.create("Lease", "default/early", lease()).await.unwrap();
    full.send_replace(true);
    let foreign = Group { conditions: Vec::new(), writes: vec![Write::put("/elsewhere", "1")] };
    inner.commit(vec![foreign]).await.unwrap();
    assert_eq!(api.create("Lease", "default/late", lease()).await.unwrap_err().reason, Reason::StorageFull);
    api.get("Lease", "default/early").await.unwrap();
    let second = beside(store).await;
    second.get("Lease", "default/early").await.unwrap();
    full.send_replace(false);
    second.create("Lease", "default/late", lease()).await.unwrap();
    api.get("Lease", "default/late").await.unwrap();
}

#[tokio::test]
async fn what_was_told_of_another_history_is_expired() {
    let (old, new) =
        (beside(Arc::new(EmbeddedStore::memory())).await, beside(Arc::new(EmbeddedStore::memory())).await);
    for api in [&old, &new] {
        for name in ["a", "b", "c"] {
            api.create("Lease", &format!("default/{name}"), lease()).await.unwrap();
        }
    }
    let page = old.list(list_of("Lease", 1, "")).await.unwrap();
    old.list(list_of("Lease", 1, &page.continue_token)).await.unwrap();
    let refused = new.list(list_of("Lease", 1, &page.continue_token)).await.unwrap_err();
    assert_eq!(refused.reason, Reason::Expired);
    assert!(refused.metadata.continue_token.is_empty(), "{refused:?}");

    let watch = |history: &str| wire::WatchRequest {
        kind: key("Lease", "any").kind,
        resource_version: page.resource_version.clone(),
        history: history.into(),
        ..wire::WatchRequest::default()
    };
    let Err(refused) = new.watch(watch(&page.history)).await else { panic!("another history is resumed") };
    assert!(refused.is_of_another_history(), "{refused:?}");
    let told = old.watch(watch(&page.history)).await.unwrap().next().await.unwrap();
    assert_eq!(told.history, page.history);
}

/// An older copy of a data folder goes on under the same numbers, and gives the same revisions to other writes.
#[tokio::test]
async fn what_was_told_after_a_copy_of_the_folder_was_made_is_expired_over_that_copy() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let watch = |page: &wire::ListResponse| wire::WatchRequest {
        kind: key("Lease", "any").kind,
        resource_version: page.resource_version.clone(),
        history: page.history.clone(),
        ..wire::WatchRequest::default()
    };
    let first = beside(opened(&dir).await).await;
    first.create("Lease", "default/a", lease()).await.unwrap();
    let before = first.list(list_of("Lease", 0, "")).await.unwrap();
    drop(first);
    drop(opened(&dir).await);
    std::fs::copy(dir.path().join("journal.redb"), copy.path().join("journal.redb")).unwrap();
    let restarted = beside(opened(&dir).await).await;
    for name in ["b", "c"] {
        restarted.create("Lease", &format!("default/{name}"), lease()).await.unwrap();
    }
    let after = restarted.list(list_of("Lease", 1, "")).await.unwrap();
    restarted.watch(watch(&before)).await.expect("a restart changes nothing");
    drop(restarted);

    let restored = beside(opened(&copy).await).await;
    for n in 0..10 {
        restored.create("Lease", &format!("default/other-{n}"), lease()).await.unwrap();
    }
    restored.watch(watch(&before)).await.expect("the copy has this past");
    let Err(refused) = restored.watch(watch(&after)).await else { panic!("another past is resumed") };
    assert!(refused.is_of_another_history(), "{refused:?}");
    let refused = restored.list(list_of("Lease", 1, &after.continue_token)).await.unwrap_err();
    assert!(refused.is_of_another_history(), "{refused:?}");
}

/// The store of a folder, once a server that was dropped has let go of it.
async fn opened(dir: &tempfile::TempDir) -> Arc<dyn Store> {
    loop {
        match EmbeddedStore::open(dir.path()) {
            Ok(store) => return Arc::new(store),
            Err(StoreError::Unavailable(_)) => tokio::task::yield_now().await,
            Err(other) => panic!("{other}"),
        }
    }
}
