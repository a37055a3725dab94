//! Who changes Nodes, as an operator and as their agents do, and looks at Tasks, without a `ctl` for each.

use berth_client::{BindItem, Client, Query, Write};
use berth_e2e::World;
use berth_e2e::world::{name, uid};
use berth_types::node::Node;
use berth_types::task::Task;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// An operator of one world.
pub struct Operator {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Operator {
    /// Who talks to the world's first apiserver.
    pub fn new(world: &World) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let client = {
            let _inside = runtime.enter();
            Client::new(&[world.server()]).expect("an address")
        };
        Self { runtime, client }
    }

    /// Sets `unschedulable` of a Node: true, or null to take it back.
    pub fn cordon(&self, node: &str, unschedulable: Value) {
        self.write(&Write::patch::<Node>("", node, json!({"spec": {"unschedulable": unschedulable}})));
    }

    /// Says that a Node has so many cores to give.
    pub fn resize(&self, node: &str, cpus: usize) {
        let patch = json!({"status": {"allocatable": {"cpu": cpus.to_string()}}});
        self.write(&Write::patch_status::<Node>("", node, patch));
    }

    /// All Tasks.
    pub fn tasks(&self) -> Result<Vec<Value>, String> {
        let listed = self.runtime.block_on(self.client.list(&Query::of::<Task>()));
        listed.map(|listed| listed.items).map_err(|why| why.to_string())
    }

    /// Asks for free Tasks on a node, each in a call of its own and all at once, as a scheduler would that knows
    /// nothing of room; how many were refused.
    pub fn crowd(&self, node: &str, most: usize) -> usize {
        let nodes =
            self.runtime.block_on(self.client.list(&Query::of::<Node>())).expect("the API answers").items;
        let node = nodes.iter().find(|one| name(one) == node).expect("it is there");
        let mut free = self.tasks().expect("the API answers");
        free.retain(|task| task["spec"]["nodeUid"].is_null());
        let mut calls = JoinSet::new();
        for task in free.iter().take(most) {
            let (client, item) = (self.client.clone(), placement(task, node));
            calls.spawn_on(async move { client.bind(&[item], None).await }, self.runtime.handle());
        }
        let outcomes = self.runtime.block_on(calls.join_all());
        let answered = outcomes.into_iter().flat_map(|call| call.expect("the API answers"));
        answered.filter(Result::is_err).count()
    }

    fn write(&self, write: &Write) {
        self.runtime.block_on(self.client.write(write)).expect("a Node can be changed");
    }
}

fn placement(task: &Value, node: &Value) -> BindItem {
    BindItem {
        namespace: "default".into(),
        task: name(task).into(),
        task_uid: uid(task).into(),
        node: name(node).into(),
        node_uid: uid(node).into(),
        node_version: node["metadata"]["resourceVersion"].as_str().expect("it has a version").into(),
        ports: Vec::new(),
    }
}
