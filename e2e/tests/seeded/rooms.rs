//! Histories about room: who binds, on what view, and what still takes room.

use berth_client::{ObjectKey, Write};
use berth_e2e::history::Run;
use berth_types::node::Node;
use berth_types::task::Task;
use serde_json::json;

use crate::world::{World, bind};

/// A Node is cordoned after the decision to bind to it.
pub async fn a_node_is_cordoned_before_a_bind() -> Run {
    let world = World::start().await;
    let node = world.node("n1", 4).await;
    let task = world.task("web-0", 3).await;
    let cordon = json!({ "spec": { "unschedulable": true } });
    world.client.write(&Write::patch::<Node>("", "n1", cordon)).await.unwrap();
    let _ = bind(&world.client, &task, &node).await;
    world.run().await
}

/// A Node shrinks between the decision to bind to it and the bind.
pub async fn a_node_shrinks_under_a_bind() -> Run {
    let mut world = World::start().await;
    let node = world.node("n1", 4).await;
    let task = world.task("web-0", 4).await;
    let other = world.another_server().await;
    let mut waiting = world.gate.hold_write("/berth/-/ledger/");
    let client = world.client.clone();
    let binding = tokio::spawn(async move { bind(&client, &task, &node).await });
    waiting.arrives().await;
    world.resize(&other.client, "n1", 1).await;
    waiting.go_on();
    let _ = binding.await.unwrap();
    world.run().await
}

/// Two servers bind to one Node, and the second has not seen what the first did.
pub async fn two_servers_bind_to_one_node() -> Run {
    let mut world = World::start().await;
    let node = world.node("n1", 4).await;
    let (one, two) = (world.task("web-0", 3).await, world.task("web-1", 3).await);
    let other = world.another_server().await;
    other.gate.hide();
    bind(&world.client, &one, &node).await.unwrap();
    let its_gate = other.gate.clone();
    let mut waiting = its_gate.hold_write("/berth/-/ledger/");
    let binding = tokio::spawn(async move { bind(&other.client, &two, &node).await });
    waiting.arrives().await;
    waiting.go_on();
    its_gate.show();
    let _ = binding.await.unwrap();
    world.run().await
}

/// A server binds twice to one Node before it sees its first bind.
pub async fn a_server_binds_before_it_sees_its_own() -> Run {
    let world = World::start().await;
    let node = world.node("n1", 4).await;
    let (one, two) = (world.task("web-0", 3).await, world.task("web-1", 3).await);
    world.gate.hide();
    bind(&world.client, &one, &node).await.unwrap();
    let _ = bind(&world.client, &two, &node).await;
    world.gate.show();
    world.run().await
}

/// The room of a Task is asked for at every step of its end, and once more when its agent acknowledged it.
pub async fn a_stopping_task_keeps_its_room() -> Run {
    let world = World::start().await;
    let node = world.node("n1", 4).await;
    let (old, new) = (world.task("web-0", 3).await, world.task("web-1", 3).await);
    let old = bind(&world.client, &old, &node).await.unwrap();
    world.tell(&old, "Running").await.unwrap();
    world.tell(&old, "Stopping").await.unwrap();
    let _ = bind(&world.client, &new, &node).await;
    world.delete(&old).await;
    let _ = bind(&world.client, &new, &node).await;
    let _ = world.tell(&old, "Succeeded").await;
    bind(&world.client, &new, &node).await.unwrap();
    world.run().await
}

/// Somebody who is not its agent takes the finalizer off a Task that runs, and has it stopped.
pub async fn a_finalizer_is_taken_off() -> Run {
    let world = World::start().await;
    let node = world.node("n1", 4).await;
    let (old, new) = (world.task("web-0", 3).await, world.task("web-1", 3).await);
    let old = bind(&world.client, &old, &node).await.unwrap();
    world.tell(&old, "Running").await.unwrap();
    let patch = json!({ "metadata": { "finalizers": [] } });
    let _ = world.client.write(&Write::patch_json(&ObjectKey::to(&old), &patch)).await;
    world.delete(&old).await;
    let _ = bind(&world.client, &new, &node).await;
    world.run().await
}

/// A Task that runs is bound to another Node.
pub async fn a_task_is_bound_twice() -> Run {
    let world = World::start().await;
    let (one, two) = (world.node("n1", 4).await, world.node("n2", 4).await);
    let task = world.task("web-0", 3).await;
    let task: Task = bind(&world.client, &task, &one).await.unwrap();
    world.tell(&task, "Running").await.unwrap();
    let _ = bind(&world.client, &task, &two).await;
    world.run().await
}

/// An agent that forgot everything says of a Task at its end that it runs.
pub async fn an_end_is_taken_back() -> Run {
    let world = World::start().await;
    let node = world.node("n1", 4).await;
    let task = world.task("web-0", 3).await;
    let task = bind(&world.client, &task, &node).await.unwrap();
    world.tell(&task, "Running").await.unwrap();
    world.tell(&task, "Failed").await.unwrap();
    let _ = world.tell(&task, "Running").await;
    world.run().await
}
