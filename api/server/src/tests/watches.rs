//! Laws of lists and watches: one snapshot, every event once, nothing lost across a resume.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use berth_proto::v1::watch_event::Type;
use berth_proto::v1::write::Verb;
use berth_proto::v1::{self as wire};
use berth_store::{At, EmbeddedStore, Group, Store, StoreError, Write as StoreWrite};
use berth_types::Reason;
use serde_json::json;

use super::faulty::Faulty;
use super::{Api, api, app, beside, key, task, version, with, write};
use crate::Options;

fn watch_of(kind: &str, resource_version: &str) -> wire::WatchRequest {
    let kind = key(kind, "").kind;
    wire::WatchRequest { kind, resource_version: resource_version.into(), ..wire::WatchRequest::default() }
}

fn list_of(kind: &str) -> wire::ListRequest {
    wire::ListRequest { kind: key(kind, "").kind, ..wire::ListRequest::default() }
}

fn names(list: &wire::ListResponse) -> Vec<String> {
    let name = |json| super::parse(json)["metadata"]["name"].as_str().unwrap().to_owned();
    list.items.iter().map(|json| name(json)).collect()
}

async fn many_tasks(api: &Api, range: std::ops::Range<u32>) -> Vec<serde_json::Value> {
    let creates = range.map(|n| write(Verb::Create, "Task", &format!("t-{n:03}"), task())).collect();
    api.batch(true, creates).await.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_watch_begins_with_what_is_there_and_goes_on_with_what_happens() {
    let api = api().await;
    api.create("App", "a", app(1)).await.unwrap();
    let mut watch = api.watch(watch_of("App", "")).await.unwrap();
    let first = watch.next().await.unwrap();
    assert!(first.initial_end && first.events.len() == 1);
    api.create("App", "b", app(1)).await.unwrap();
    api.patch("App", "a", json!({"spec": {"replicas": 2}})).await.unwrap();
    let gone = api.delete("App", "b").await.unwrap();
    assert_eq!(watch.until(&version(&gone)).await, ["ADDED b", "MODIFIED a", "DELETED b"]);
    let bookmark = watch.next().await.unwrap();
    assert!(bookmark.events.is_empty() && bookmark.resource_version >= version(&gone));
}

#[tokio::test]
async fn a_resume_within_a_revision_of_many_objects_loses_none() {
    let api = api().await;
    let start = api.list(list_of("Task")).await.unwrap().resource_version;
    let made = many_tasks(&api, 0..50).await;
    let revisions: std::collections::HashSet<u64> =
        made.iter().map(|task| version(task).parse::<u64>().unwrap() / 1024).collect();
    assert_eq!(revisions.len(), 1);
    let last = made.iter().map(version).max_by_key(|v| v.parse::<u64>().unwrap()).unwrap();
    for (after, expected) in [(start, 50), (version(&made[17]), 32), (last.clone(), 0)] {
        let mut watch = api.watch(watch_of("Task", &after)).await.unwrap();
        assert_eq!(watch.until(&last).await.len(), expected);
    }
}

#[tokio::test]
async fn a_revision_is_told_and_resumed_in_the_order_of_its_versions_not_of_its_names() {
    let api = api().await;
    let start = api.list(list_of("Task")).await.unwrap().resource_version;
    let creates = ["c", "a", "d", "b"].map(|name| write(Verb::Create, "Task", name, task()));
    let made = api.batch(true, creates.into()).await;
    let made: Vec<String> = made.into_iter().map(|task| version(&task.unwrap())).collect();
    let all = ["ADDED c", "ADDED a", "ADDED d", "ADDED b"];
    for (after, expected) in
        [(&start, &all[..]), (&made[0], &all[1..]), (&made[1], &all[2..]), (&made[2], &all[3..])]
    {
        let mut watch = api.watch(watch_of("Task", after)).await.unwrap();
        assert_eq!(watch.until(&made[3]).await, expected);
    }
}

#[tokio::test]
async fn an_object_that_enters_a_selection_is_added_and_one_that_leaves_it_is_deleted() {
    let api = api().await;
    let start = api.list(list_of("App")).await.unwrap().resource_version;
    let request = wire::WatchRequest { label_selector: "tier in (web)".into(), ..watch_of("App", &start) };
    let mut live = api.watch(request.clone()).await.unwrap();
    api.create("App", "a", app(1)).await.unwrap();
    let tier = |tier| json!({"metadata": {"labels": {"tier": tier}}});
    api.patch("App", "a", tier("web")).await.unwrap();
    api.patch("App", "a", json!({"spec": {"replicas": 2}})).await.unwrap();
    let left = api.patch("App", "a", tier("back")).await.unwrap();
    let expected = ["ADDED a", "MODIFIED a", "DELETED a"];
    assert_eq!(live.until(&version(&left)).await, expected);
    let mut resumed = api.watch(request).await.unwrap();
    assert_eq!(resumed.until(&version(&left)).await, expected);
}

#[tokio::test]
async fn watchers_of_one_phase_see_only_what_concerns_them() {
    let api = api().await;
    let made = many_tasks(&api, 0..3).await;
    let start = version(made.last().unwrap());
    let failed =
        wire::WatchRequest { field_selector: "status.phase=Failed".into(), ..watch_of("Task", &start) };
    let by_name =
        wire::WatchRequest { field_selector: "metadata.name=t-002".into(), ..watch_of("Task", &start) };
    let nowhere =
        wire::WatchRequest { field_selector: "spec.nodeName=n9".into(), ..watch_of("Task", &start) };
    let mut watches = Vec::new();
    for request in [failed, by_name, nowhere] {
        watches.push(api.watch(request).await.unwrap());
    }
    api.patch_status("Task", "t-001", json!({"phase": "Failed"})).await.unwrap();
    let last = api.patch_status("Task", "t-002", json!({"phase": "Running"})).await.unwrap();
    let expected: [&[&str]; 3] = [&["ADDED t-001"], &["MODIFIED t-002"], &[]];
    for (watch, expected) in watches.iter_mut().zip(expected) {
        assert_eq!(watch.until(&version(&last)).await, expected);
    }
    let unknown = wire::WatchRequest { field_selector: "spec.x=1".into(), ..watch_of("Task", "") };
    assert_eq!(api.watch(unknown).await.err().unwrap().reason, Reason::BadRequest);
}

#[tokio::test]
async fn pages_are_one_snapshot_of_any_server() {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::memory());
    let servers = [beside(store.clone()).await, beside(store).await];
    many_tasks(&servers[0], 0..10).await;
    let mut page = servers[0].list(wire::ListRequest { limit: 4, ..list_of("Task") }).await.unwrap();
    let first = page.resource_version.clone();
    let mut listed = names(&page);
    servers[0].delete("Task", "t-008").await.unwrap();
    many_tasks(&servers[0], 10..12).await;
    while !page.continue_token.is_empty() {
        let request =
            wire::ListRequest { limit: 4, continue_token: page.continue_token.clone(), ..list_of("Task") };
        page = servers[1].list(request).await.unwrap();
        assert_eq!(page.resource_version, first);
        listed.extend(names(&page));
    }
    assert_eq!(listed, (0..10).map(|n| format!("t-{n:03}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_list_whose_snapshot_is_compacted_may_go_on_at_the_newest_state() {
    let api = api().await;
    many_tasks(&api, 0..6).await;
    let page = api.list(wire::ListRequest { limit: 4, ..list_of("Task") }).await.unwrap();
    api.delete("Task", "t-004").await.unwrap();
    let store = &api.server.writer.store;
    store.compact(store.current_rev().await.unwrap()).await.unwrap();
    let request = wire::ListRequest { limit: 4, continue_token: page.continue_token, ..list_of("Task") };
    let expired = api.list(request).await.unwrap_err();
    assert_eq!(expired.reason, Reason::Expired);
    let request =
        wire::ListRequest { limit: 4, continue_token: expired.metadata.continue_token, ..list_of("Task") };
    assert_eq!(names(&api.list(request).await.unwrap()), ["t-005"]);
}

/// However it selects and whatever its pages are bounded by, a list that goes on gives each object once.
#[tokio::test]
async fn a_list_goes_on_after_the_last_object_whatever_it_selects_by() {
    let api = api().await;
    let node = api.node("n1", 50).await;
    let mut items = Vec::new();
    for (n, made) in many_tasks(&api, 0..9).await.iter().enumerate() {
        items.push(super::binding::item(made, &node, 31000 + n as u32));
    }
    assert!(api.bind(items).await.iter().all(Result::is_ok));
    let all = (0..9).map(|n| format!("t-{n:03}")).collect::<Vec<_>>();
    let mut changes = 0;
    for fields in ["", "spec.nodeName=n1", "spec.nodeName!=n2", "status.phase=Pending"] {
        for (first, rest) in [(4, 0), (4, 3), (1, 0), (8, 1), (9, 0), (0, 0)] {
            let request =
                wire::ListRequest { field_selector: fields.into(), limit: first, ..list_of("Task") };
            let mut page = api.list(request.clone()).await.unwrap();
            let mut listed = names(&page);
            let store = &api.server.writer.store;
            changes += 1;
            let label = json!({"metadata": {"labels": {"n": changes.to_string()}}});
            api.patch("Node", "n1", label).await.unwrap();
            store.compact(store.current_rev().await.unwrap()).await.unwrap();
            while !page.continue_token.is_empty() {
                let token = std::mem::take(&mut page.continue_token);
                let more = wire::ListRequest { limit: rest, continue_token: token, ..request.clone() };
                match api.list(more).await {
                    Ok(more) => page = more,
                    Err(expired) => {
                        page.continue_token = expired.metadata.continue_token;
                        continue;
                    }
                }
                listed.extend(names(&page));
            }
            assert_eq!(listed, all, "{fields}, {first} then {rest}");
        }
    }
}

#[tokio::test]
async fn a_restarted_server_resumes_watches_from_before_its_start() {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::memory());
    let api = beside(store.clone()).await;
    let start = api.list(list_of("App")).await.unwrap().resource_version;
    api.create("App", "a", app(1)).await.unwrap();
    let last = api.delete("App", "a").await.unwrap();
    let restarted = beside(store).await;
    let mut watch = restarted.watch(watch_of("App", &start)).await.unwrap();
    assert_eq!(watch.until(&version(&last)).await, ["ADDED a", "DELETED a"]);
}

#[tokio::test]
async fn a_version_that_is_too_old_or_never_happened_expires() {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::memory());
    let api = with(store, Options { window_bytes: 4000, ..Options::default() }).await;
    let start = api.list(list_of("Task")).await.unwrap().resource_version;
    many_tasks(&api, 0..20).await;
    api.list(list_of("Task")).await.unwrap();
    assert_eq!(api.watch(watch_of("Task", &start)).await.err().unwrap().reason, Reason::Expired);
    let future = (9_000_000u64 * 1024).to_string();
    assert_eq!(api.watch(watch_of("Task", &future)).await.err().unwrap().reason, Reason::Expired);
}

/// Events are kept for a while and not for ever, and a watcher that is told where it is notices nothing.
#[tokio::test]
async fn events_are_let_go_by_age_and_no_watcher_that_follows_notices() {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::memory());
    let options = Options {
        window_age: Duration::from_millis(100),
        bookmarks: Duration::from_millis(20),
        ..Options::default()
    };
    let api = with(store, options).await;
    let start = api.list(list_of("Task")).await.unwrap().resource_version;
    let mut watch = api.watch(watch_of("Task", &start)).await.unwrap();
    let made = many_tasks(&api, 0..5).await;
    assert_eq!(watch.until(&version(&made[4])).await.len(), 5);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while let Ok(early) = api.watch(watch_of("Task", &start)).await {
        drop(early);
        assert!(tokio::time::Instant::now() < deadline, "the events are still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let bookmark = watch.next().await.unwrap().resource_version;
    let last = api.delete("Task", "t-000").await.unwrap();
    assert_eq!(watch.until(&version(&last)).await, ["DELETED t-000"]);
    let mut resumed = api.watch(watch_of("Task", &bookmark)).await.unwrap();
    assert_eq!(resumed.until(&version(&last)).await, ["DELETED t-000"]);
}

#[tokio::test]
async fn a_slow_watcher_loses_its_own_stream_and_nobody_elses() {
    let api = api().await;
    let start = api.create("App", "a", app(1)).await.unwrap();
    let mut slow = api.watch(watch_of("App", &version(&start))).await.unwrap();
    let mut quick = api.watch(watch_of("App", &version(&start))).await.unwrap();
    // 80 writes of an object of almost half a megabyte are more than any queue holds.
    for n in 0..80 {
        let large = json!({"metadata": {"annotations": {"x": format!("{n}{}", "x".repeat(240_000))}}});
        for name in ["a"] {
            let last = api.patch("App", name, large.clone()).await.unwrap();
            assert_eq!(quick.until(&version(&last)).await, ["MODIFIED a"]);
        }
        let more = json!({"metadata": {"labels": {"n": n.to_string()}}});
        let last = api.patch("App", "a", more).await.unwrap();
        assert_eq!(quick.until(&version(&last)).await, ["MODIFIED a"]);
    }
    let expired = loop {
        if let Err(status) = slow.next().await {
            break status;
        }
    };
    assert_eq!(expired.reason, Reason::Expired);
}

#[tokio::test]
async fn two_servers_over_one_store_show_each_others_writes_at_once() {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::memory());
    let servers = [beside(store.clone()).await, beside(store).await];
    assert_eq!(servers[0].server.cluster_uid, servers[1].server.cluster_uid);
    for n in 0..20 {
        let name = format!("a-{n}");
        let made = servers[n % 2].create("App", &name, app(1)).await.unwrap();
        assert_eq!(servers[(n + 1) % 2].get("App", &format!("default/{name}")).await.unwrap(), made);
        let mut watch = servers[(n + 1) % 2].watch(watch_of("App", &version(&made))).await.unwrap();
        let last = servers[n % 2].patch("App", &name, json!({"spec": {"replicas": 3}})).await.unwrap();
        assert_eq!(watch.until(&version(&last)).await, [format!("MODIFIED {name}")]);
    }
}

#[tokio::test]
async fn a_cache_that_differs_from_its_store_is_found_out_and_heals() {
    let store = Faulty::lying(Arc::new(EmbeddedStore::memory()));
    let api = with(store, Options { audits: Duration::from_millis(50), ..Options::default() }).await;
    let mut watch = api.watch(watch_of("App", "")).await.unwrap();
    api.create("App", "unseen", app(1)).await.unwrap();
    let told = loop {
        if let Err(status) = watch.next().await {
            break status;
        }
    };
    assert_eq!(told.reason, Reason::Expired);
    assert_eq!(names(&api.list(list_of("App")).await.unwrap()), ["unseen"]);
}

#[tokio::test]
async fn without_its_store_a_server_refuses_writes_answers_from_its_cache_and_keeps_watches_open() {
    let (store, switch) = Faulty::switched(Arc::new(EmbeddedStore::memory()));
    let api = beside(store).await;
    let first = api.create("App", "a", app(1)).await.unwrap();
    let mut watch = api.watch(watch_of("App", &version(&first))).await.unwrap();
    switch.send_replace(true);
    let refused = api.patch("App", "a", json!({"spec": {"replicas": 2}})).await.unwrap_err();
    assert_eq!((refused.reason, refused.details.retry_after_seconds), (Reason::Unavailable, 1));
    assert_eq!(api.get("App", "default/a").await.unwrap_err().reason, Reason::Unavailable);
    let any = wire::ListRequest { resource_version: "0".into(), ..list_of("App") };
    assert_eq!(names(&api.list(any).await.unwrap()), ["a"]);
    assert!(watch.next().await.unwrap().events.is_empty());
    switch.send_replace(false);
    let last = api.patch("App", "a", json!({"spec": {"replicas": 2}})).await.unwrap();
    assert_eq!(watch.until(&version(&last)).await, ["MODIFIED a"]);
}

#[tokio::test]
async fn a_read_waits_for_a_slow_cache_and_for_no_write() {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::memory());
    let slow = beside(Faulty::slow(store.clone())).await;
    let api = beside(store).await;
    let first = api.create("App", "a", app(1)).await.unwrap();
    assert_eq!(slow.get("App", "default/a").await.unwrap(), first);
}

/// Each reader waits for a slow cache, and the store never ends a write of the sync key. They take no places of others.
#[tokio::test]
async fn readers_of_a_slow_cache_keep_nobody_from_writing() {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::memory());
    let slow = beside(Faulty::slow(store.clone())).await;
    let api = beside(store).await;
    for n in 0..6 {
        let name = format!("a-{n}");
        let made = api.create("App", &name, app(1)).await.unwrap();
        assert_eq!(slow.get("App", &format!("default/{name}")).await.unwrap(), made);
    }
    let writing = tokio::time::timeout(Duration::from_secs(30), slow.create("App", "b", app(1)));
    writing.await.expect("the write waits for those of readers").unwrap();
}

#[tokio::test]
async fn what_another_program_wrote_among_the_objects_is_as_if_it_were_not_there() {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::memory());
    let api = beside(store.clone()).await;
    let first = api.create("App", "a", app(1)).await.unwrap();
    api.create("App", "b", app(1)).await.unwrap();
    let writes = [
        ("/berth/berth.dev/apps/default/b", "garbage"),
        ("/berth/berth.dev/apps/default/c", ""),
        ("/berth/-/x", "y"),
        ("/berth/other/things/default/d", "z"),
        ("/other", "q"),
    ];
    let writes = writes.map(|(key, value)| StoreWrite::put(key, value)).to_vec();
    store.commit(vec![Group { conditions: Vec::new(), writes }]).await.unwrap();
    let mut watch = api.watch(watch_of("App", &version(&first))).await.unwrap();
    let last = api.create("App", "z", app(1)).await.unwrap();
    assert_eq!(watch.until(&version(&last)).await, ["ADDED b", "DELETED b", "ADDED z"]);
    assert_eq!(names(&beside(store).await.list(list_of("App")).await.unwrap()), ["a", "z"]);
}

#[tokio::test]
async fn a_store_that_moves_without_us_holds_no_reader_up() {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::memory());
    let api = beside(store.clone()).await;
    api.create("App", "a", app(1)).await.unwrap();
    for n in 0..3 {
        let elsewhere = StoreWrite::put("/other", n.to_string());
        store.commit(vec![Group { conditions: Vec::new(), writes: vec![elsewhere] }]).await.unwrap();
        assert!(api.get("App", "default/a").await.is_ok());
    }
}

#[tokio::test]
async fn servers_forget_the_past_together_and_no_watcher_notices() {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::memory());
    let options = Options { compaction: Duration::from_millis(40), ..Options::default() };
    let servers = [with(store.clone(), options.clone()).await, with(store.clone(), options).await];
    let first = servers[0].create("App", "a", app(1)).await.unwrap();
    let mut watch = servers[1].watch(watch_of("App", &version(&first))).await.unwrap();
    let rev = version(&first).parse::<i64>().unwrap() / 1024;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    let mut last = first;
    for n in 0.. {
        last = servers[0].patch("App", "a", json!({"spec": {"minReadySeconds": n}})).await.unwrap();
        match store.get(b"/berth/x", At::Rev(rev)).await {
            Err(StoreError::Compacted { .. }) => break,
            read => assert!(tokio::time::Instant::now() < deadline, "{read:?}"),
        }
    }
    let seen = watch.until(&version(&last)).await;
    assert!(seen.iter().all(|line| line == "MODIFIED a"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_breaks_a_watcher_that_begins_anew_when_told_so_ends_with_what_is_there() {
    for seed in 0..6 {
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::memory());
        let honest = beside(store.clone()).await;
        let api = beside(Faulty::over(store, seed)).await;
        let ((), seen) = futures::future::join(churn(&honest, seed), follow(&api)).await;
        let listed = honest.list(list_of("App")).await.unwrap();
        let there = listed.items.iter().map(|json| name_and_version(json)).collect();
        assert_eq!(seen, there, "seed {seed}");
    }
}

/// Makes, changes and removes Apps by chance; the last one made is `last`.
async fn churn(api: &Api, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    for n in 0..200 {
        let name = format!("a-{}", random.u8(0..8));
        // Most of these meet an object that is there already, or is not.
        let _ = match random.u8(0..3) {
            0 => api.create("App", &name, app(1)).await,
            1 => api.patch("App", &name, json!({"spec": {"minReadySeconds": n}})).await,
            _ => api.delete("App", &name).await,
        };
    }
    api.create("App", "last", app(1)).await.unwrap();
}

/// What a watcher knows once it has seen `last`.
async fn follow(api: &Api) -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    let mut after = String::new();
    while !seen.contains_key("last") {
        if after.is_empty() {
            seen.clear();
        }
        let Ok(mut watch) = api.watch(watch_of("App", &after)).await else {
            after.clear();
            continue;
        };
        loop {
            match watch.next().await {
                Ok(message) => {
                    for event in &message.events {
                        let (name, version) = name_and_version(&event.json);
                        match event.r#type() {
                            Type::Added | Type::Modified => drop(seen.insert(name, version)),
                            Type::Deleted => drop(seen.remove(&name)),
                        }
                    }
                    after = message.resource_version;
                    // Now and then it breaks off by itself, and resumes.
                    if seen.contains_key("last") || (!after.is_empty() && fastrand::u8(0..10) == 0) {
                        break;
                    }
                }
                Err(_) => {
                    after.clear();
                    break;
                }
            }
        }
    }
    seen
}

fn name_and_version(json: &[u8]) -> (String, String) {
    let object = super::parse(json);
    (object["metadata"]["name"].as_str().unwrap().to_owned(), version(&object))
}
