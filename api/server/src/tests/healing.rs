//! Laws of the cache's audit: what it heals costs no event, and what cannot be read harms nothing else.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use berth_proto::v1::watch_event::Type;
use berth_proto::v1::{self as wire};
use berth_store::{EmbeddedStore, Group, Store, Write as StoreWrite};
use berth_types::Reason;
use futures::StreamExt;
use futures::future::join3;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::binding::item;
use super::faulty::Faulty;
use super::{Api, app, beside, key, parse, task, with};
use crate::Options;

const NODES: u32 = 120;
/// Binds that are asked for at once.
const AT_ONCE: usize = 8;

/// An App in the store whose value is not an object, as a defect of ours or another program leaves it.
async fn damaged(store: &dyn Store, name: &str) {
    let key = format!("/berth/berth.dev/apps/default/{name}");
    let writes = vec![StoreWrite::put(key, "garbage")];
    store.commit(vec![Group { conditions: Vec::new(), writes }]).await.unwrap();
}

fn often() -> Options {
    Options { audits: Duration::from_millis(5), bookmarks: Duration::from_millis(50), ..Options::default() }
}

/// Two Tasks are bound to every node of one core and one port, one after the other, while the cache is audited all the
/// time over a slow store: beside a value that cannot be read, and with a watch that keeps changes of an App to itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_that_is_audited_all_the_time_goes_back_to_no_earlier_state() {
    for lies in [false, true] {
        let inner: Arc<dyn Store> = Arc::new(EmbeddedStore::memory());
        damaged(&*inner, "damaged").await;
        let slow = Faulty::ponderous(inner.clone());
        let store = if lies { Faulty::lying(slow) } else { slow };
        let (api, honest) = (with(store, often()).await, beside(inner).await);
        let (done, is_done) = watch::channel(false);
        let ((), (), seen) =
            join3(fill(&api, done), keep_unseen_changing(&honest, is_done), follow_tasks(&api)).await;
        let listed = tasks(&honest).await;
        assert_eq!(seen, versions(&listed), "lies: {lies}");
        let mut on_node: HashMap<&str, usize> = HashMap::new();
        for node in listed.iter().filter_map(|task| task["spec"]["nodeName"].as_str()) {
            *on_node.entry(node).or_default() += 1;
        }
        assert_eq!(on_node.len(), NODES as usize, "lies: {lies}");
        assert!(on_node.values().all(|tasks| *tasks == 1), "lies: {lies}: {on_node:?}");
    }
}

/// Binds two Tasks to each node; every answer must be what a read shows then. The last Task created is `last`.
async fn fill(api: &Api, done: watch::Sender<bool>) {
    futures::stream::iter(0..NODES).for_each_concurrent(AT_ONCE, |n| fill_node(api, n)).await;
    done.send_replace(true);
    api.create("Task", "last", task()).await.unwrap();
}

async fn fill_node(api: &Api, n: u32) {
    let node = api.node(&format!("n{n}"), 1).await;
    for attempt in ["first", "second"] {
        let name = format!("{attempt}-{n}");
        let made = api.create("Task", &name, task()).await.unwrap();
        let ended = api.bind(vec![item(&made, &node, 31000)]).await;
        let now = api.get("Task", &format!("default/{name}")).await.unwrap();
        match &ended[0] {
            Ok(bound) => assert_eq!(&now, bound),
            Err(_) => assert_eq!(now, made),
        }
    }
}

async fn keep_unseen_changing(api: &Api, is_done: watch::Receiver<bool>) {
    api.create("App", "unseen", app(1)).await.unwrap();
    for n in 0.. {
        api.patch("App", "unseen", json!({"metadata": {"labels": {"n": n.to_string()}}})).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        if *is_done.borrow() {
            return;
        }
    }
}

/// The Tasks as a watcher has them, with their versions, once it has seen `last`; it lists again only when it is told to.
async fn follow_tasks(api: &Api) -> BTreeMap<String, String> {
    loop {
        let request = wire::WatchRequest { kind: key("Task", "").kind, ..wire::WatchRequest::default() };
        let Ok(mut watch) = api.watch(request).await else { continue };
        let mut seen = BTreeMap::new();
        while let Ok(message) = watch.next().await {
            for event in &message.events {
                let object = parse(&event.json);
                let (name, version) = named(&object);
                match event.r#type() {
                    Type::Added | Type::Modified => drop(seen.insert(name, version)),
                    Type::Deleted => drop(seen.remove(&name)),
                }
            }
            if seen.contains_key("last") {
                return seen;
            }
        }
    }
}

async fn tasks(api: &Api) -> Vec<Value> {
    let request = wire::ListRequest { kind: key("Task", "").kind, ..wire::ListRequest::default() };
    api.list(request).await.unwrap().items.iter().map(|json| parse(json)).collect()
}

fn versions(objects: &[Value]) -> BTreeMap<String, String> {
    objects.iter().map(named).collect()
}

fn named(object: &Value) -> (String, String) {
    (object["metadata"]["name"].as_str().unwrap().to_owned(), super::version(object))
}

#[tokio::test]
async fn a_value_that_cannot_be_read_is_named_by_health_until_it_is_written_anew_and_ends_no_watch() {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::memory());
    damaged(&*store, "before").await;
    let api = with(store.clone(), often()).await;
    let made = api.create("App", "a", app(1)).await.unwrap();
    let mut watch = api
        .watch(wire::WatchRequest {
            kind: key("App", "").kind,
            resource_version: super::version(&made),
            ..wire::WatchRequest::default()
        })
        .await
        .unwrap();
    damaged(&*store, "a").await;
    for n in 0..20 {
        let last = api.create("App", &format!("b-{n}"), app(1)).await.unwrap();
        let added = format!("ADDED b-{n}");
        let expected = if n == 0 { vec!["DELETED a".into(), added] } else { vec![added] };
        assert_eq!(watch.until(&super::version(&last)).await, expected);
    }
    let health = api.server.health().await;
    assert!(health.ready && health.writable);
    expect_test::expect![[r#"
        the value of `/berth/berth.dev/apps/default/a` in the store cannot be read; restore it from a backup, or delete the key
        the value of `/berth/berth.dev/apps/default/before` in the store cannot be read; restore it from a backup, or delete the key"#]]
    .assert_eq(&health.faults.join("\n"));

    let refused = api.create("App", "a", app(1)).await.unwrap_err();
    assert_eq!(refused.reason, Reason::InternalError, "{refused:?}");
    let writes =
        ["a", "before"].map(|name| StoreWrite::delete(format!("/berth/berth.dev/apps/default/{name}")));
    store.commit(vec![Group { conditions: Vec::new(), writes: writes.to_vec() }]).await.unwrap();
    api.create("App", "a", app(1)).await.unwrap();
    assert_eq!(api.server.health().await.faults, Vec::<String>::new());
}

#[tokio::test]
async fn health_names_a_few_of_many_unreadable_values_and_counts_the_rest() {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::memory());
    for n in 0..15 {
        damaged(&*store, &format!("d-{n:02}-{}", "x".repeat(400))).await;
    }
    let faults = beside(store).await.server.health().await.faults;
    assert_eq!((faults.len(), faults[10].as_str()), (11, "5 more values in the store cannot be read"));
    assert!(faults.iter().all(|fault| fault.len() < 500), "{faults:?}");
}
