//! A machine without containers: it registers, holds a session, and reports its Tasks as an agent would.

use std::time::Duration;

use berth_client::{Change, Client, Hello, Query, Session, Update, Write};
use berth_types::node::Node;
use berth_types::task::Task;
use berth_types::{Clock, SystemClock};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Argument of a container that never gets ready.
pub const BROKEN: &str = "broken";

/// Argument of a container that ends badly at once, and for good.
pub const CRASHING: &str = "crashing";

/// A machine. Dropped, it is dead: its session ends, and nobody acknowledges anything.
pub struct Machine {
    /// The Node as it was registered.
    pub node: Node,
    _alive: JoinSet<()>,
}

impl Machine {
    /// Registers the machine and starts its agent.
    pub async fn start(client: &Client, name: &str, allocatable: Value) -> Self {
        let node = json!({ "apiVersion": "berth.dev/v1", "kind": "Node", "metadata": { "name": name } });
        let mut node: Node = client.write_as(&Write::create_json(&node)).await.unwrap();
        let status = json!({ "status": {
            "capacity": allocatable, "allocatable": allocatable,
            "portRange": { "first": 31000, "last": 32000 }, "address": "127.0.0.1",
        } });
        node = client.write_as(&Write::patch_status::<Node>("", &node.metadata.name, status)).await.unwrap();
        let mut machine = Self { node, _alive: JoinSet::new() };
        machine.live(client, 1);
        machine
    }

    /// The same machine again, after its agent was dead.
    pub fn again(client: &Client, node: Node) -> Self {
        let mut machine = Self { node, _alive: JoinSet::new() };
        machine.live(client, 2);
        machine
    }

    fn live(&mut self, client: &Client, number: u64) {
        let hello = Hello {
            node: self.node.metadata.name.clone(),
            node_uid: self.node.metadata.uid.clone(),
            boot_id: "boot".into(),
            number,
        };
        self._alive.spawn(be_present(client.clone(), hello));
        self._alive.spawn(run_tasks(client.clone(), self.node.metadata.name.clone()));
    }
}

async fn be_present(client: Client, mut hello: Hello) {
    loop {
        if let Ok(session) = client.session(&hello).await {
            beat(session).await;
        }
        hello.number += 10;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn beat(mut session: Session) {
    for sequence in 1.. {
        if session.heartbeat(sequence).await.is_err() || session.next().await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What is bound here runs at once, and is ready unless it is broken; what is told to stop has stopped.
async fn run_tasks(client: Client, node: String) {
    let mut watch = client.watch_as::<Task>(&Query::of::<Task>().fields(format!("spec.nodeName={node}")));
    loop {
        let tasks: Vec<Task> = match watch.next().await {
            Ok(Update::Initial { objects, .. } | Update::Restarted { objects, .. }) => objects,
            Ok(Update::Changes { changes, .. }) => changes.into_iter().filter_map(present).collect(),
            Ok(Update::Bookmark { .. }) => continue,
            Err(_) => return,
        };
        for task in tasks {
            let Some(status) = next_status(&task) else { continue };
            let meta = &task.metadata;
            let patch = json!({ "status": status });
            // A refusal means that the Task changed meanwhile, and the watch shows it again.
            let write = Write::patch_status::<Task>(&meta.namespace, &meta.name, patch).unchanged(&task);
            let _ = client.write(&write).await;
        }
    }
}

fn present(change: Change<Task>) -> Option<Task> {
    match change {
        Change::Added(task) | Change::Modified(task) => Some(task),
        Change::Deleted(_) => None,
    }
}

fn next_status(task: &Task) -> Option<Value> {
    let others = task.status.conditions.iter().filter(|condition| condition.type_ != "Ready");
    let mut conditions: Vec<Value> = others.map(|condition| json!(condition)).collect();
    let ready = if task.spec.containers[0].args == [BROKEN] { "False" } else { "True" };
    let now = SystemClock.now();
    conditions.push(json!({ "type": "Ready", "status": ready, "lastTransitionTime": now, "reason": "Told" }));
    let ended = json!({ "exitCode": 1, "reason": "Error", "finishedAt": now });
    match (task.status.phase.as_str(), task.metadata.deleting()) {
        ("Succeeded" | "Failed", _) => None,
        (_, false) if task.spec.containers[0].args == [CRASHING] => {
            let container = json!({ "name": "main", "state": { "terminated": ended } });
            Some(json!({ "phase": "Failed", "reason": "TooManyRestarts", "containerStatuses": [container] }))
        }
        (_, true) => Some(json!({ "phase": "Succeeded" })),
        ("Running", false) => None,
        (_, false) => Some(json!({ "phase": "Running", "conditions": conditions })),
    }
}
