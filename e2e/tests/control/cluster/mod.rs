//! The controllers against a real server: a store in memory, sessions of agents, no containers.

mod machine;
mod rollouts;
mod world;

use std::collections::BTreeSet;

use berth_client::{ObjectKey, Query, Write};
use berth_types::app::App;
use berth_types::core::{Event, Namespace};
use berth_types::lease::Lease;
use berth_types::node::Node;
use berth_types::revision::Revision;
use berth_types::task::Task;
use berth_types::{Condition, ConditionStatus, Resource};
use serde_json::{Value, json};

use machine::{BROKEN, CRASHING, Machine};
use world::{World, summary};

/// An App of `replicas` Tasks, each with half a core and a port.
fn app(name: &str, replicas: u32, version: &str) -> Value {
    let container = json!({
        "name": "main", "command": ["serve"], "args": [version], "ports": [{ "name": "http" }],
        "resources": { "requests": { "cpu": "500m" } },
    });
    json!({
        "apiVersion": "berth.dev/v1", "kind": "App", "metadata": { "name": name, "namespace": "default" },
        "spec": { "replicas": replicas, "minReadySeconds": 0, "template": { "spec": { "containers": [container] } } },
    })
}

fn template(version: &str) -> Value {
    json!({ "template": app("", 1, version)["spec"]["template"] })
}

fn version_of(task: &Task) -> &str {
    &task.spec.containers[0].args[0]
}

async fn delete<K: Resource>(world: &World, object: &K) {
    world
        .client
        .write(&Write::delete(&ObjectKey::to(object)).expecting_uid(&object.meta().uid))
        .await
        .unwrap();
}

async fn none_left<K: Resource>(world: &World) {
    world
        .eventually("nothing is left", async || {
            let left = world.all::<K>().await;
            let names: Vec<String> = left.iter().map(|one| one.meta().name.clone()).collect();
            if names.is_empty() { Ok(()) } else { Err(names) }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_gets_its_tasks_each_on_a_node_with_a_port_and_loses_them_with_itself() {
    let world = World::start().await;
    let controllers = world.controllers();
    let machines = [world.machine("n1").await, world.machine("n2").await];
    world.apply(app("web", 3, "v1")).await;
    let tasks = world.settled("web", 3).await;
    let names: BTreeSet<&str> = tasks.iter().map(|task| task.metadata.name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["web-0", "web-1", "web-2"]));
    let places: BTreeSet<(&str, u16)> =
        tasks.iter().map(|task| (task.spec.node_name.as_str(), task.spec.assigned_ports[0].port)).collect();
    assert_eq!(places.len(), 3, "{}", summary(&tasks));

    world.patch("web", json!({ "replicas": 5 })).await;
    world.settled("web", 5).await;
    world.patch("web", json!({ "replicas": 2 })).await;
    world.settled("web", 2).await;

    delete(&world, &world.app("web").await).await;
    none_left::<Task>(&world).await;
    none_left::<Revision>(&world).await;
    world.ends_settled().await;
    drop(machines);
    controllers.end().await;
    let held: Vec<Lease> = world.all().await;
    assert!(held.iter().all(|lease| lease.spec.holder_identity.is_empty()), "{held:?}");
}

/// 100 Tasks of 14 KB are more than one call of the store takes, and so are their binds and their statuses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_of_many_large_tasks_gets_them_all() {
    let world = World::start().await;
    let _controllers = world.controllers();
    let _machine = world.machine("n1").await;
    let mut large = app("web", 100, "v1");
    let container = &mut large["spec"]["template"]["spec"]["containers"][0];
    container["env"] = json!([{ "name": "A", "value": "x".repeat(14_000) }]);
    container["resources"] = json!({ "requests": { "cpu": "10m" } });
    world.apply(large).await;
    world.settled("web", 100).await;
}

/// Beside 120 KB of spec the server keeps 240 KB of `managedFields`, and writes both with each batch of Tasks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_of_many_small_variables_gets_all_its_tasks() {
    let world = World::start().await;
    let _controllers = world.controllers();
    let _machine = world.machine("n1").await;
    let mut large = app("web", 10, "v1");
    let env: Value = (0..1000).map(|n| json!({ "name": format!("A{n}"), "value": "x" })).collect();
    let container = |name: &str| {
        let requests = json!({ "requests": { "cpu": "10m" } });
        json!({ "name": name, "command": ["serve"], "args": ["v1"], "env": env, "resources": requests })
    };
    large["spec"]["template"]["spec"]["containers"] = ["a", "b", "c", "d"].map(container).into();
    world.apply(large).await;
    world.settled("web", 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_replaces_every_task_and_an_undo_brings_the_old_template_back() {
    let world = World::start().await;
    let _controllers = world.controllers();
    let _machines = [world.machine("n1").await, world.machine("n2").await];
    world.apply(app("web", 3, "v1")).await;
    world.settled("web", 3).await;
    let first = world.app("web").await.status.current_revision;

    world.patch("web", template("v2")).await;
    let tasks = world.settled("web", 3).await;
    assert!(tasks.iter().all(|task| version_of(task) == "v2"), "{}", summary(&tasks));

    // A version that never gets ready takes nothing away.
    world.patch("web", template(BROKEN)).await;
    world
        .eventually("a broken Task is there", async || {
            let tasks = world.all::<Task>().await;
            let broken =
                tasks.iter().any(|task| version_of(task) == BROKEN && task.status.phase == "Running");
            if broken { Ok(()) } else { Err(summary(&tasks)) }
        })
        .await;
    let app = world.app("web").await;
    assert_eq!(app.status.available_replicas, 3, "{:?}", app.status);

    world.patch("web", template("v1")).await;
    let tasks = world.settled("web", 3).await;
    assert!(tasks.iter().all(|task| version_of(task) == "v1"), "{}", summary(&tasks));
    assert_eq!(world.app("web").await.status.current_revision, first);
    let numbers: BTreeSet<(i64, String)> =
        world.all::<Revision>().await.into_iter().map(|r| (r.spec.number, r.metadata.name)).collect();
    assert_eq!(numbers.len(), 3, "{numbers:?}");
    assert_eq!(numbers.last(), Some(&(4, first)), "{numbers:?}");
    world.ends_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_a_dead_machine_are_replaced_elsewhere_and_it_is_welcome_back() {
    let world = World::start().await;
    let _controllers = world.controllers();
    let (first, _second) = (world.machine("n1").await, world.machine("n2").await);
    let mut quick = app("web", 2, "v1");
    quick["spec"]["template"]["spec"]["unreachable"] = json!({ "replaceAfterSeconds": 1 });
    quick["spec"]["template"]["spec"]["nodeSelector"] = json!({});
    world.apply(quick).await;
    world.settled("web", 2).await;
    let node = first.node.clone();
    drop(first);
    world
        .eventually("the Node is NotReady", async || {
            let node: Node = world.client.get_as("", "n1").await.unwrap();
            let ready = Condition::find(&node.status.conditions, "Ready").map(|ready| ready.status);
            if ready == Some(ConditionStatus::False) { Ok(()) } else { Err(node.status) }
        })
        .await;
    let replaced = async || {
        let tasks = world.all::<Task>().await;
        let elsewhere =
            tasks.iter().filter(|task| task.spec.node_name == "n2" && task.status.phase == "Running");
        if elsewhere.count() == 2 { Ok(()) } else { Err(summary(&tasks)) }
    };
    world.eventually("both Tasks run on the other machine", replaced).await;

    let _first = Machine::again(&world.client, node);
    world
        .eventually("the Node is Ready", async || {
            let node: Node = world.client.get_as("", "n1").await.unwrap();
            if Condition::holds(&node.status.conditions, "Ready") { Ok(()) } else { Err(node.status) }
        })
        .await;
    world.settled("web", 2).await;
    world.ends_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_a_deleted_node_go_and_are_replaced() {
    let world = World::start().await;
    let _controllers = world.controllers();
    let first = world.machine("n1").await;
    world.apply(app("web", 2, "v1")).await;
    world.settled("web", 2).await;
    let node = first.node.clone();
    drop(first);
    delete(&world, &node).await;
    let _second = world.machine("n2").await;
    world
        .eventually("both run on the other node", async || {
            let tasks = world.settled("web", 2).await;
            let moved = tasks.iter().all(|task| task.spec.node_name == "n2");
            if moved { Ok(()) } else { Err(summary(&tasks)) }
        })
        .await;
    world.ends_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_without_room_says_why_and_is_placed_when_there_is_some() {
    let world = World::start().await;
    let _controllers = world.controllers();
    world.apply(app("web", 1, "v1")).await;
    let says = async |words: &str| {
        world
            .eventually("the Task says why it waits", async || {
                let tasks = world.all::<Task>().await;
                let said =
                    tasks.first().and_then(|task| Condition::find(&task.status.conditions, "Scheduled"));
                let said = said.map(|scheduled| scheduled.message.clone()).unwrap_or_default();
                if said.contains(words) { Ok(()) } else { Err(said) }
            })
            .await;
    };
    says("there is no node").await;
    let _small = Machine::start(&world.client, "small", json!({ "cpu": "100m" })).await;
    says("0 of 1 nodes fit: 1 not enough cpu (nearest small is short of 400m)").await;
    let _large = world.machine("large").await;
    let tasks = world.settled("web", 1).await;
    assert_eq!(tasks[0].spec.node_name, "large");
    world.ends_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_fails_again_and_again_is_replaced_ever_more_slowly() {
    let world = World::start().await;
    let _controllers = world.controllers();
    let _machine = world.machine("n1").await;
    world.apply(app("web", 1, CRASHING)).await;
    world
        .eventually("the fourth has failed", async || {
            let tasks = world.all::<Task>().await;
            let failed = tasks.iter().filter(|task| task.status.phase == "Failed").count();
            if failed >= 4 { Ok(()) } else { Err(summary(&tasks)) }
        })
        .await;
    let mut tasks = world.all::<Task>().await;
    tasks.sort_by_key(|task| task.metadata.name.clone());
    let ended = |task: &Task| {
        task.status.container_statuses[0].state.terminated.clone().unwrap().finished_at.unwrap()
    };
    let pauses: Vec<u64> =
        tasks.windows(2).map(|pair| ended(&pair[1]).since(ended(&pair[0])).as_secs()).collect();
    assert_eq!(pauses[..3], [0, 1, 2], "{}", summary(&tasks));
    assert_eq!(tasks[3].metadata.annotations["berth.dev/failed-before"], "3");
    assert_eq!(tasks[3].metadata.annotations["berth.dev/restarts-before"], "15");
    world
        .eventually("the App says when it tries again", async || {
            let app = world.app("web").await;
            let available = Condition::find(&app.status.conditions, "Available");
            let said = available.map(|condition| condition.message.clone()).unwrap_or_default();
            if said.contains("failed 4 times, next try") { Ok(()) } else { Err(said) }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_whose_owner_was_never_there_goes_with_an_event_that_names_the_owner() {
    let world = World::start().await;
    let _controllers = world.controllers();
    world.apply(app("owner", 0, "v1")).await;
    let owner = world.app("owner").await.metadata.uid;
    let owned = |name: &str, uid: &str| {
        let mut app = app(name, 0, "v1");
        app["metadata"]["ownerReferences"] =
            json!([{ "apiVersion": "berth.dev/v1", "kind": "App", "name": "owner", "uid": uid }]);
        app
    };
    let ghost = "0123456789abcdef0123456789abcdef";
    world.apply(owned("kept", &owner)).await;
    world.apply(owned("stray", ghost)).await;
    let told = world
        .eventually("an Event tells why it went", async || {
            let events = world.all::<Event>().await;
            let told = events.iter().find(|event| event.reason == "OwnerNotFound").cloned();
            told.ok_or_else(|| events.iter().map(|event| event.reason.clone()).collect::<Vec<_>>())
        })
        .await;
    assert_eq!((told.involved_object.kind.as_str(), told.involved_object.name.as_str()), ("App", "stray"));
    let names = format!("App owner with uid {ghost} in namespace default");
    assert!(told.message.contains(&names), "{}", told.message);
    let left: Vec<String> = world.all::<App>().await.into_iter().map(|app| app.metadata.name).collect();
    assert_eq!(left, ["kept", "owner"]);
    // What goes with an owner that was there is no surprise.
    delete(&world, &world.app("owner").await).await;
    none_left::<App>(&world).await;
    // An object that names a missing owner later goes with an Event too.
    world.apply(app("later", 0, "v1")).await;
    world
        .eventually("the controllers look at it", async || {
            let status = world.app("later").await.status;
            if status.observed_generation > 0 { Ok(()) } else { Err(status) }
        })
        .await;
    world.apply(owned("later", ghost)).await;
    world.apply(owned("stray-too", ghost)).await;
    let all = BTreeSet::from(["later", "stray", "stray-too"].map(str::to_owned));
    let told = world
        .eventually("Events tell of the next ones", async || {
            let mut events = world.all::<Event>().await;
            events.retain(|event| event.reason == "OwnerNotFound");
            let names: BTreeSet<String> =
                events.into_iter().map(|event| event.involved_object.name).collect();
            if names.is_superset(&all) { Ok(names) } else { Err(names) }
        })
        .await;
    assert_eq!(told, all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_namespace_goes_with_all_that_is_in_it() {
    let world = World::start().await;
    let _controllers = world.controllers();
    let _machine = world.machine("n1").await;
    world.apply(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } })).await;
    let mut web = app("web", 2, "v1");
    web["metadata"]["namespace"] = "shop".into();
    world.apply(web).await;
    world
        .eventually("Tasks run in it", async || {
            let tasks = world.all::<Task>().await;
            let running = tasks.iter().filter(|task| task.status.phase == "Running").count();
            if running == 2 { Ok(()) } else { Err(summary(&tasks)) }
        })
        .await;
    let namespace: Namespace = world.client.get_as("", "shop").await.unwrap();
    delete(&world, &namespace).await;
    world
        .eventually("the Namespace is gone", async || {
            let all = world.all::<Namespace>().await;
            if all.iter().all(|one| one.metadata.name != "shop") { Ok(()) } else { Err(all) }
        })
        .await;
    none_left::<Task>(&world).await;
    none_left::<App>(&world).await;
    world.ends_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over_and_nothing_is_doubled() {
    let world = World::start().await;
    let leading = world.controllers();
    let _standby = world.controllers();
    let _machines = [world.machine("n1").await, world.machine("n2").await];
    world.apply(app("web", 8, "v1")).await;
    leading.crash();
    let tasks = world.settled("web", 8).await;
    let ordinals: BTreeSet<Option<u32>> = tasks.iter().map(|task| task.spec.ordinal).collect();
    assert_eq!(ordinals.len(), 8, "{}", summary(&tasks));
    assert_eq!(world.app("web").await.status.tasks_created, 8);
    world.ends_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settled_cluster_writes_nothing_but_leases() {
    let world = World::start().await;
    let _controllers = world.controllers();
    let _machine = world.machine("n1").await;
    world.apply(app("web", 3, "v1")).await;
    world.settled("web", 3).await;
    let versions = async || {
        let mut versions: Vec<String> = Vec::new();
        for query in [Query::of::<App>(), Query::of::<Task>(), Query::of::<Node>(), Query::of::<Revision>()] {
            let listed = world.client.list(&query).await.unwrap();
            versions.extend(listed.items.iter().map(|one| one["metadata"]["resourceVersion"].to_string()));
        }
        versions
    };
    // The last status may still be on its way; whoever goes on writing lets no such time pass.
    let quiet = std::time::Duration::from_secs(2);
    let last = std::cell::RefCell::new((versions().await, std::time::Instant::now()));
    world
        .eventually("nothing is written for a while", async || {
            let now = versions().await;
            let (seen, since) = &mut *last.borrow_mut();
            if now != *seen {
                (*seen, *since) = (now, std::time::Instant::now());
            }
            if since.elapsed() >= quiet { Ok(()) } else { Err(seen.clone()) }
        })
        .await;
    world.ends_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whenever_the_controllers_are_killed_the_promise_holds_and_the_end_is_the_same() {
    let world = World::start().await;
    let _machines = [world.machine("n1").await, world.machine("n2").await];
    let mut web = app("web", 4, "v1");
    web["spec"]["strategy"] = json!({ "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 1 } });
    world.apply(web).await;
    let mut chance: u64 = 2026;
    for version in ["v2", "v3", "v4", "v5"] {
        world.patch("web", template(version)).await;
        for _ in 0..10 {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let controllers = world.controllers_without_leases();
            tokio::time::sleep(std::time::Duration::from_millis(30 + (chance >> 33) % 60)).await;
            controllers.crash();
        }
    }
    let _controllers = world.controllers_without_leases();
    let tasks = world.settled("web", 4).await;
    assert!(tasks.iter().all(|task| version_of(task) == "v5"), "{}", summary(&tasks));
    world.ends_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_too_large_to_name_all_that_it_counts_on_rolls_too() {
    let world = World::start().await;
    let _controllers = world.controllers();
    let _machine = world.machine("n1").await;
    let small = |version: &str| {
        let mut web = app("web", 110, version);
        let container = &mut web["spec"]["template"]["spec"]["containers"][0];
        container["resources"] = json!({ "requests": { "cpu": "10m" } });
        web["spec"]["strategy"] = json!({ "rollingUpdate": { "maxSurge": 20, "maxUnavailable": 10 } });
        web
    };
    world.apply(small("v1")).await;
    world.settled("web", 110).await;
    world.patch("web", json!({ "template": small("v2")["spec"]["template"] })).await;
    let tasks = world.settled("web", 110).await;
    assert!(tasks.iter().all(|task| version_of(task) == "v2"), "{}", summary(&tasks));
    world.ends_settled().await;
}
