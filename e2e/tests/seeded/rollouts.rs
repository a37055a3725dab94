//! Histories about rollouts: the App controller and the scheduler, over a machine that is slow or never ready.

use std::time::Duration;

use berth_builtin::caches::Caches;
use berth_client::{Change, Client, Query, Update, Write};
use berth_e2e::history::Run;
use berth_runtime::LeaseTerms;
use berth_types::app::App;
use berth_types::task::Task;
use berth_types::{Clock, SystemClock};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::world::World;

/// The argument of a container that never gets ready.
const BROKEN: &str = "broken";
/// How long a Task takes to stop: longer than a controller needs to do the wrong thing.
const STOPPING: Duration = Duration::from_millis(500);

pub fn three_replicas(argument: &str) -> Value {
    let container = json!({ "name": "main", "command": ["/bin/true"], "args": [argument] });
    json!({
        "replicas": 3, "minReadySeconds": 0, "template": { "spec": { "containers": [container] } },
        "strategy": { "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 1 } },
    })
}

/// App controller, scheduler and a machine, which end when it is dropped.
pub async fn begin(world: &World) -> JoinSet<()> {
    world.node("n1", 64).await;
    let mut running = JoinSet::new();
    let (client, caches) = (world.client.clone(), Caches::new(world.client.clone()));
    let never = std::future::pending::<()>;
    running.spawn(berth_builtin::app::controller(client.clone(), &caches).run(never()));
    running.spawn(
        berth_scheduler::controller(client.clone(), &caches.tasks().all, &caches.nodes()).run(never()),
    );
    running.spawn(run_tasks(client));
    running
}

/// The App controller and the scheduler lead, each by its Lease, and an App gets its Tasks.
pub async fn controllers_lead() -> Run {
    let world = World::start().await;
    world.node("n1", 64).await;
    let mut running = JoinSet::new();
    let (client, caches) = (world.client.clone(), Caches::new(world.client.clone()));
    let never = std::future::pending::<()>;
    let lease = |name: &str| LeaseTerms::new("berth-system", name);
    let app = berth_builtin::app::controller(client.clone(), &caches);
    running.spawn(app.led_by(lease(berth_builtin::app::NAME)).run(never()));
    let scheduler = berth_scheduler::controller(client.clone(), &caches.tasks().all, &caches.nodes());
    running.spawn(scheduler.led_by(lease(berth_scheduler::NAME)).run(never()));
    running.spawn(run_tasks(client));
    world.app("web", three_replicas("one")).await;
    settled(&world, "one").await;
    Run { forced: Vec::new(), ..world.run().await }
}

/// A rollout whose Tasks take their time to stop.
pub async fn a_rollout_waits_for_stops() -> Run {
    let world = World::start().await;
    let _running = begin(&world).await;
    world.app("web", three_replicas("one")).await;
    settled(&world, "one").await;
    change(&world, three_replicas("two")).await;
    settled(&world, "two").await;
    world.run().await
}

/// A rollout to what never gets ready stops before it harms.
pub async fn a_rollout_gets_stuck() -> Run {
    let world = World::start().await;
    let _running = begin(&world).await;
    world.app("web", three_replicas("one")).await;
    settled(&world, "one").await;
    change(&world, three_replicas(BROKEN)).await;
    eventually("new Tasks were tried, and the App is left in peace", async || {
        let tasks = tasks(&world).await;
        let tried = tasks.iter().any(|task| argument(task) == BROKEN && task.status.phase == "Running");
        let quiet = !tasks.iter().any(|task| task.metadata.deleting());
        (tried && quiet).then_some(())
    })
    .await;
    tokio::time::sleep(STOPPING).await;
    world.run().await
}

async fn change(world: &World, spec: Value) {
    let patch = Write::patch::<App>("default", "web", json!({ "spec": spec })).by("test");
    world.client.write(&patch).await.unwrap();
}

async fn tasks(world: &World) -> Vec<Task> {
    world.client.list_as::<Task>(&Query::of::<Task>()).await.unwrap().items
}

fn argument(task: &Task) -> &str {
    task.spec.containers[0].args.first().map_or("", String::as_str)
}

pub async fn settled(world: &World, wanted: &str) {
    eventually("the App is as asked", async || {
        let mut tasks = tasks(world).await;
        tasks.retain(|task| !matches!(task.status.phase.as_str(), "Succeeded" | "Failed"));
        let there = tasks.iter().all(|task| argument(task) == wanted && task.status.phase == "Running");
        (there && tasks.len() == 3).then_some(())
    })
    .await;
}

/// Looks until `look` finds something, at most for a minute.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < until, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What is bound runs at once, and is ready unless it is broken; what is told to stop takes its time.
async fn run_tasks(client: Client) {
    let mut watch = client.watch_as::<Task>(&Query::of::<Task>());
    let mut stops = JoinSet::new();
    loop {
        let seen: Vec<Task> = match watch.next().await.unwrap() {
            Update::Initial { objects, .. } | Update::Restarted { objects, .. } => objects,
            Update::Changes { changes, .. } => changes.into_iter().filter_map(present).collect(),
            Update::Bookmark { .. } => continue,
        };
        for task in seen.into_iter().filter(|task| !task.spec.node_name.is_empty()) {
            match (task.metadata.deleting(), task.status.phase.as_str()) {
                (true, "Running" | "Pending") => {
                    tell(&client, &task, json!({ "phase": "Stopping", "conditions": ready(&task, "False") }))
                        .await;
                    let client = client.clone();
                    stops.spawn(async move {
                        tokio::time::sleep(STOPPING).await;
                        tell(&client, &task, json!({ "phase": "Succeeded" })).await;
                    });
                }
                (false, "Pending") => {
                    let is = if argument(&task) == BROKEN { "False" } else { "True" };
                    tell(&client, &task, json!({ "phase": "Running", "conditions": ready(&task, is) })).await;
                }
                (_, _) => {}
            }
        }
    }
}

fn present(change: Change<Task>) -> Option<Task> {
    match change {
        Change::Added(task) | Change::Modified(task) => Some(task),
        Change::Deleted(_) => None,
    }
}

fn ready(task: &Task, is: &str) -> Vec<Value> {
    let others = task.status.conditions.iter().filter(|condition| condition.type_ != "Ready");
    let own = json!({
        "type": "Ready", "status": is, "reason": "Told", "message": "", "lastTransitionTime": SystemClock.now(),
    });
    others.map(|condition| json!(condition)).chain([own]).collect()
}

async fn tell(client: &Client, task: &Task, status: Value) {
    let meta = &task.metadata;
    let patch = json!({ "status": status });
    // A refusal means that the Task changed meanwhile, and the watch shows it again.
    let _ =
        client.write(&Write::patch_status::<Task>(&meta.namespace, &meta.name, patch).by("node-agent")).await;
}
