//! What Tasks take of a node and what a node has, in integers.

use std::fmt;

use berth_failpoint::seeded_bug;
use berth_types::{Phase, Quantity};
use serde_json::Value;

use crate::tree;

/// The resources that a node has room of.
const NAMES: [&str; 3] = ["cpu", "memory", "disk"];

/// Amounts of cpu (thousandths of a core), memory and disk (bytes).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Amounts([i64; 3]);

impl Amounts {
    /// Reads a list of resources; names that no node has room of are left out, and what cannot be read counts as all there could be.
    pub fn read(list: Option<&Value>) -> Self {
        let mut amounts = [0; 3];
        for (amount, name) in amounts.iter_mut().zip(NAMES) {
            *amount = list.and_then(|list| list.get(name)).map_or(0, |value| read_one(name, value));
        }
        Self(amounts)
    }

    /// The sum, at most `i64::MAX` each.
    pub fn plus(self, other: Self) -> Self {
        self.zip(other, i64::saturating_add)
    }

    /// The difference, which may be negative.
    pub fn minus(self, other: Self) -> Self {
        self.zip(other, i64::saturating_sub)
    }

    /// The larger of each.
    pub fn max(self, other: Self) -> Self {
        self.zip(other, i64::max)
    }

    /// Whether none of them is more than in `room`; nothing asked fits even where nothing is left.
    pub fn fits_in(self, room: Self) -> bool {
        self.0.iter().zip(room.0).all(|(asked, free)| *asked == 0 || *asked <= free)
    }

    fn zip(self, other: Self, with: impl Fn(i64, i64) -> i64) -> Self {
        let mut amounts = self.0;
        for (mine, theirs) in amounts.iter_mut().zip(other.0) {
            *mine = with(*mine, theirs);
        }
        Self(amounts)
    }
}

fn read_one(name: &str, value: &Value) -> i64 {
    let Ok(quantity) = serde_json::from_value::<Quantity>(value.clone()) else { return i64::MAX };
    let read = match name {
        "cpu" => quantity.millicores().map(|cpu| cpu.0),
        _ => quantity.bytes().map(|bytes| bytes.0),
    };
    read.unwrap_or(i64::MAX)
}

impl fmt::Display for Amounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use berth_types::quantity::{Bytes, Millicores};
        let [cpu, memory, disk] = self.0;
        let of_bytes = |bytes| Quantity::of_bytes(Bytes(bytes));
        write!(
            f,
            "cpu {}, memory {}, disk {}",
            Quantity::of_millicores(Millicores(cpu)),
            of_bytes(memory),
            of_bytes(disk)
        )
    }
}

/// What one bound Task takes of its node until its agent acknowledged its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Charge {
    /// uid of the node.
    pub node_uid: Box<str>,
    /// The larger of what it requests and what is allocated to it.
    pub amounts: Amounts,
    /// Host ports, fixed and assigned.
    pub ports: Box<[u16]>,
}

impl Charge {
    /// The charge of a bound Task; none of one that is not bound or is at its end.
    pub fn of_task(task: &Value) -> Option<Self> {
        let node_uid = tree::text(task, "spec.nodeUid");
        if node_uid.is_empty() || is_final(tree::text(task, "status.phase")) {
            return None;
        }
        if seeded_bug("room-free-at-deletion") && tree::is_deleting(task) {
            return None;
        }
        let ports = fixed_ports(task).chain(assigned_ports(task)).collect();
        Some(Self { node_uid: node_uid.into(), amounts: claims(task), ports })
    }
}

/// Whether a Task of this phase is at its end.
pub fn is_final(phase: &str) -> bool {
    if seeded_bug("room-free-while-stopping") && phase == "Stopping" {
        return true;
    }
    Phase::try_from(phase).is_ok_and(Phase::is_final)
}

/// The larger of what a Task requests and what is allocated to it.
pub fn claims(task: &Value) -> Amounts {
    requests(task).max(Amounts::read(tree::at(task, "status.allocated")))
}

/// What the containers of a Task request together.
pub fn requests(task: &Value) -> Amounts {
    containers(task).fold(Amounts::default(), |sum, container| {
        sum.plus(Amounts::read(tree::at(container, "resources.requests")))
    })
}

/// The host ports that a Task's manifest fixes.
pub fn fixed_ports(task: &Value) -> impl Iterator<Item = u16> {
    ports(task).filter_map(|port| port_number(port.get("hostPort")))
}

/// Names of the ports that a Task's manifest leaves open.
pub fn open_ports(task: &Value) -> impl Iterator<Item = &str> {
    ports(task)
        .filter(|port| port_number(port.get("hostPort")).is_none())
        .map(|port| tree::text(port, "name"))
}

fn assigned_ports(task: &Value) -> impl Iterator<Item = u16> {
    let assigned = tree::at(task, "spec.assignedPorts").and_then(Value::as_array);
    assigned.into_iter().flatten().filter_map(|port| port_number(port.get("port")))
}

fn ports(task: &Value) -> impl Iterator<Item = &Value> {
    containers(task).flat_map(|c| c.get("ports").and_then(Value::as_array).into_iter().flatten())
}

fn containers(task: &Value) -> impl Iterator<Item = &Value> {
    tree::at(task, "spec.containers").and_then(Value::as_array).into_iter().flatten()
}

fn port_number(value: Option<&Value>) -> Option<u16> {
    value.and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_bound_task_takes_the_larger_of_requests_and_allocated_until_its_end() {
        let task = |node: &str, phase: &str, allocated: &str| {
            json!({
                "spec": {
                    "nodeUid": node,
                    "containers": [
                        {"resources": {"requests": {"cpu": "500m", "memory": "1Ki"}}, "ports": [{"name": "a", "hostPort": 80}, {"name": "b"}]},
                        {"resources": {"requests": {"cpu": 1}}},
                    ],
                    "assignedPorts": [{"name": "b", "port": 31000}],
                },
                "status": {"phase": phase, "allocated": {"cpu": allocated}},
            })
        };
        let charge = Charge::of_task(&task("n", "Running", "1")).unwrap();
        assert_eq!(charge.amounts.to_string(), "cpu 1500m, memory 1Ki, disk 0");
        assert_eq!(&charge.ports[..], [80, 31000]);
        assert_eq!(
            Charge::of_task(&task("n", "Stopping", "3")).unwrap().amounts.to_string(),
            "cpu 3, memory 1Ki, disk 0"
        );
        assert_eq!(Charge::of_task(&task("n", "Failed", "3")), None);
        assert_eq!(Charge::of_task(&task("", "Pending", "3")), None);
    }
}
