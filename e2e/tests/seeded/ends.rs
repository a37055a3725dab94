//! Histories about what becomes of what was asked for, once nobody asks for more.

use berth_builtin::caches::Caches;
use berth_builtin::garbage;
use berth_client::{Error, ObjectKey, Write};
use berth_e2e::history::Run;
use berth_types::app::App;
use berth_types::task::Task;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::rollouts::{begin, eventually, settled, three_replicas};
use crate::world::World;

/// An App is asked for.
pub async fn an_app_is_asked_for() -> Run {
    let world = World::start().await;
    let _running = begin(&world).await;
    world.app("web", three_replicas("one")).await;
    world.run_to_its_end().await
}

/// An App is asked for, and not wanted any more once it is there.
pub async fn an_app_is_deleted() -> Run {
    let world = World::start().await;
    let mut running = begin(&world).await;
    let (client, caches) = (world.client.clone(), Caches::new(world.client.clone()));
    let garbage = garbage::controller(client, &caches, garbage::Limits::default());
    running.spawn(garbage.run(std::future::pending::<()>()));
    let app = world.app("web", three_replicas("one")).await;
    settled(&world, "one").await;
    world.client.write(&Write::delete(&ObjectKey::to(&app))).await.unwrap();
    world.run_to_its_end().await
}

/// Of the two owners of a Task one is deleted, with what belongs to it alone.
pub async fn one_of_two_owners_is_deleted() -> Run {
    let world = World::start().await;
    let (client, caches) = (world.client.clone(), Caches::new(world.client.clone()));
    let mut running = JoinSet::new();
    let garbage = garbage::controller(client, &caches, garbage::Limits::default());
    running.spawn(garbage.run(std::future::pending::<()>()));
    let mut apps = Vec::new();
    for name in ["one", "two", "three"] {
        apps.push(world.app(name, three_replicas("one")).await);
    }
    owned(&world, "of-both", &apps[..2]).await;
    // What belongs to nobody else goes; by then the collector has looked at what belongs to both, too.
    for (name, owner) in [("of-one", &apps[0]), ("of-three", &apps[2])] {
        owned(&world, name, std::slice::from_ref(owner)).await;
        world.client.write(&Write::delete(&ObjectKey::to(owner))).await.unwrap();
        gone(&world, name).await;
    }
    world.run().await
}

/// A Task that belongs to these Apps.
async fn owned(world: &World, name: &str, owners: &[App]) {
    let owner = |app: &App| json!({ "apiVersion": "berth.dev/v1", "kind": "App", "name": app.metadata.name, "uid": app.metadata.uid });
    let owners: Vec<Value> = owners.iter().map(owner).collect();
    let task = json!({
        "apiVersion": "berth.dev/v1", "kind": "Task",
        "metadata": { "namespace": "default", "name": name, "ownerReferences": owners },
        "spec": { "containers": [{ "name": "main", "command": ["/bin/true"] }] },
    });
    world.client.write(&Write::create_json(&task)).await.unwrap();
}

async fn gone(world: &World, name: &str) {
    eventually("the Task is gone", async || {
        let found = world.client.get_as::<Task>("default", name).await;
        matches!(found, Err(Error::NotFound(_))).then_some(())
    })
    .await;
}
