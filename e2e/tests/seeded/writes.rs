//! Histories about single writes: who leads, what a generation counts, what makes a revision.

use berth_client::{Fence, Write};
use berth_e2e::history::Run;
use berth_types::app::App;
use berth_types::lease::Lease;
use serde_json::{Value, json};

use crate::world::{World, bind_fenced};

fn one_replica() -> Value {
    json!({ "replicas": 1, "template": { "spec": { "containers": [{ "name": "main", "command": ["/bin/true"] }] } } })
}

async fn lease_is_held_by(world: &World, holder: &str) -> Fence {
    held_by(world, "test", holder).await
}

async fn held_by(world: &World, name: &str, holder: &str) -> Fence {
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "namespace": "berth-system", "name": name }, "spec": { "holderIdentity": holder },
    });
    let lease: Lease = world.client.write_as(&Write::apply(&lease, "test")).await.unwrap();
    let version: i64 = lease.metadata.resource_version.parse().unwrap();
    Fence { namespace: "berth-system".into(), lease: name.into(), epoch: version / 1024 }
}

/// A Lease changes hands, and each leader writes; the old one once more after that.
pub async fn a_leader_comes_back() -> Run {
    let world = World::start().await;
    world.app("web", one_replica()).await;
    let labelled = |by: &str, fence: &Fence| {
        let patch = json!({ "metadata": { "labels": { "by": by } } });
        Write::patch::<App>("default", "web", patch).fenced(fence)
    };
    let old = lease_is_held_by(&world, "a").await;
    world.client.write(&labelled("a", &old)).await.unwrap();
    let new = lease_is_held_by(&world, "b").await;
    let _ = world.client.write(&labelled("b", &new)).await;
    let _ = world.client.write(&labelled("a-again", &old)).await;
    world.run().await
}

/// Somebody who leads under another Lease places a Task.
pub async fn a_leader_of_something_else_binds() -> Run {
    let world = World::start().await;
    let node = world.node("n1", 4).await;
    let task = world.task("web-0", 1).await;
    held_by(&world, "scheduler", "a").await;
    let other = held_by(&world, "test", "a").await;
    let _ = bind_fenced(&world.client, &task, &node, Some(&other)).await;
    world.run().await
}

/// An App is asked for, asked for once more, scaled, and its status told.
pub async fn an_app_is_written() -> Run {
    let world = World::start().await;
    world.app("web", one_replica()).await;
    let scale =
        |replicas: u32| Write::patch::<App>("default", "web", json!({ "spec": { "replicas": replicas } }));
    world.client.write(&scale(1).by("test")).await.unwrap();
    world.client.write(&scale(2).by("test")).await.unwrap();
    let status = json!({ "status": { "observedGeneration": 1, "replicas": 1 } });
    world.client.write(&Write::patch_status::<App>("default", "web", status)).await.unwrap();
    world.run().await
}
