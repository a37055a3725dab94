//! Node: says which machines are Ready, and gives up the Tasks of those that stay away.
//! Reads Node, the Tasks bound to it, and the presence that an apiserver reports. Writes Node and Task conditions.
//! Promises: gives nothing up on the word of a server that may not be believed, nor when most nodes vanish at once.
//! Leaves alone: what replaces a Task given up (app), and when a Node is deleted (the operator).

mod execute;
mod observed;
mod plan;
#[cfg(test)]
mod tests;
mod watchtower;

use std::sync::Arc;

use berth_client::Client;
use berth_runtime::{Cache, Controller, Delta, Key, Reconciler, Work};
use berth_types::node::Node;
use berth_types::task::Task;
use berth_types::{Reach, SteadyClock, Timestamp};

use crate::caches::{Caches, Tasks};
use observed::{Guest, Machine, Observed, Sight};
use watchtower::Watchtower;

pub use observed::MassVanish;

/// The Node controller's name, in logs, as manager of fields and as its Lease.
pub const NAME: &str = "node-controller";

/// Looks at one Node at a time.
pub struct NodeController {
    nodes: Cache<Node>,
    tasks: Tasks,
    watchtower: Arc<Watchtower>,
    mass_vanish: MassVanish,
}

/// The Node controller over these caches.
pub fn controller(client: Client, caches: &Caches, mass_vanish: MassVanish) -> Controller<NodeController> {
    let (nodes, tasks) = (caches.nodes(), caches.tasks());
    let watchtower = Arc::new(Watchtower::default());
    let reconciler = NodeController {
        nodes: nodes.clone(),
        tasks: tasks.clone(),
        watchtower: watchtower.clone(),
        mass_vanish,
    };
    let presence = client.clone();
    Controller::new(NAME, client, reconciler)
        .wakes(&nodes, |change| vec![Key::of(&**change.object())])
        .wakes(&tasks.all, wakes_its_node)
        .wakes_on(move || watchtower.clone().follow(presence.presence(), Arc::new(SteadyClock)))
}

/// A Task concerns its Node when it comes there, or when what is said of its reach changes.
fn wakes_its_node(change: &Delta<Task>) -> Vec<Key> {
    let (old, new) = match change {
        Delta::Added(new) => (None, new),
        Delta::Modified { old, new } => (Some(old), new),
        Delta::Deleted(_) => return Vec::new(),
    };
    let told = |task: &Task| (task.spec.node_uid.clone(), Reach::of(task));
    if new.spec.node_name.is_empty() || old.is_some_and(|old| told(old) == told(new)) {
        return Vec::new();
    }
    vec![Key::new("", &new.spec.node_name)]
}

impl NodeController {
    fn machine(&self, node: &Node) -> Machine {
        Machine::read(node, self.watchtower.sight(&node.metadata.name, &node.metadata.uid))
    }
}

impl Reconciler for NodeController {
    fn reconcile(&self, key: &Key, now: Timestamp) -> Work {
        let Some(node) = self.nodes.get(key) else { return Work::none() };
        let machine = self.machine(&node);
        let tasks = self.tasks.all.by(&self.tasks.by_node, &node.metadata.uid);
        let guests: Vec<Guest> = tasks.iter().filter_map(|task| Guest::read(task)).collect();
        let neighbours = match machine.sight {
            Sight::Present | Sight::Unseen => Vec::new(),
            Sight::Away(_) => self.nodes.all().iter().map(|node| self.machine(node).as_neighbour()).collect(),
        };
        let mass_vanish = self.mass_vanish;
        let seen = Observed { node: &machine, tasks: &guests, neighbours: &neighbours, mass_vanish, now };
        execute::work(&node, &tasks, plan::plan(&seen), now)
    }
}
