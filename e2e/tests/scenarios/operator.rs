//! Who changes Nodes, as an operator and as their agents do, and looks at Tasks, without a `ctl` for each.

use berth_client::{Client, Query, Write};
use berth_e2e::World;
use berth_types::node::Node;
use berth_types::task::Task;
use serde_json::{Value, json};

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

    fn write(&self, write: &Write) {
        self.runtime.block_on(self.client.write(write)).expect("a Node can be changed");
    }
}
