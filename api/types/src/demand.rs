//! What a Task takes of a node, and what a node has: CPU, memory, disk and host ports.

use crate::quantity::{BadQuantity, Bytes, Millicores, Quantity, ResourceList};
use crate::task::TaskSpec;

/// Room on a node, in integers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Room {
    /// CPU.
    pub cpu: Millicores,
    /// Memory.
    pub memory: Bytes,
    /// Disk.
    pub disk: Bytes,
}

/// A host port that a Task asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortAsk<'a> {
    /// This one.
    Fixed(u16),
    /// Any of the node's range, for the port of this name.
    Any(&'a str),
}

impl Room {
    /// What a list of amounts says; what it leaves out is zero, and other resources do not count.
    pub fn of_list(list: &ResourceList) -> Result<Room, BadQuantity> {
        let amount = |name: &str| list.get(name).map_or(Ok(0), Quantity::millis);
        let bytes = |name: &str| list.get(name).map_or(Ok(Bytes(0)), Quantity::bytes);
        Ok(Room { cpu: Millicores(amount("cpu")?), memory: bytes("memory")?, disk: bytes("disk")? })
    }

    /// What the containers of a Task request together.
    pub fn requested(spec: &TaskSpec) -> Result<Room, BadQuantity> {
        let mut sum = Room::default();
        for container in &spec.containers {
            sum = sum.plus(Room::of_list(&container.resources.requests)?);
        }
        Ok(sum)
    }

    /// Both together, at most the largest number.
    pub fn plus(self, other: Room) -> Room {
        self.each(other, i64::saturating_add)
    }

    /// This without `other`; negative where there is less.
    pub fn minus(self, other: Room) -> Room {
        self.each(other, i64::saturating_sub)
    }

    /// The larger of both, each resource by itself.
    pub fn max(self, other: Room) -> Room {
        self.each(other, i64::max)
    }

    /// Whether it is within `free` in every resource that it asks for.
    pub fn fits_in(self, free: Room) -> bool {
        let within = |asked: i64, free: i64| asked <= 0 || asked <= free;
        within(self.cpu.0, free.cpu.0)
            && within(self.memory.0, free.memory.0)
            && within(self.disk.0, free.disk.0)
    }

    fn each(self, other: Room, combine: fn(i64, i64) -> i64) -> Room {
        Room {
            cpu: Millicores(combine(self.cpu.0, other.cpu.0)),
            memory: Bytes(combine(self.memory.0, other.memory.0)),
            disk: Bytes(combine(self.disk.0, other.disk.0)),
        }
    }
}

/// The host ports that a Task asks for, in the order of its manifest.
pub fn ports_asked(spec: &TaskSpec) -> Vec<PortAsk<'_>> {
    let ports = spec.containers.iter().flat_map(|container| &container.ports);
    ports.map(|port| port.host_port.map_or(PortAsk::Any(&port.name), PortAsk::Fixed)).collect()
}

/// The host ports that a bound Task holds: those of its manifest, and those assigned.
pub fn ports_held(spec: &TaskSpec) -> Vec<u16> {
    let fixed =
        spec.containers.iter().flat_map(|container| &container.ports).filter_map(|port| port.host_port);
    fixed.chain(spec.assigned_ports.iter().map(|assigned| assigned.port)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(tree: serde_json::Value) -> TaskSpec {
        serde_json::from_value(tree).unwrap()
    }

    #[test]
    fn a_task_takes_what_its_containers_request_together() {
        let task = spec(json!({"containers": [
            {"resources": {"requests": {"cpu": "500m", "memory": "64Mi"}}},
            {"resources": {"requests": {"cpu": 1, "disk": "1Gi"}, "limits": {"memory": "1Gi"}}},
            {},
        ]}));
        let room = Room::requested(&task).unwrap();
        let expected = Room { cpu: Millicores(1500), memory: Bytes(64 << 20), disk: Bytes(1 << 30) };
        assert_eq!(room, expected);
    }

    #[test]
    fn what_is_not_asked_for_fits_even_where_nothing_is_left() {
        let cpu = |n| Room { cpu: Millicores(n), ..Room::default() };
        let free = Room { cpu: Millicores(100), memory: Bytes(-5), disk: Bytes(0) };
        assert!(cpu(100).fits_in(free));
        assert!(!cpu(101).fits_in(free));
        assert!(!Room { memory: Bytes(1), ..cpu(0) }.fits_in(free));
    }

    #[test]
    fn a_port_without_number_is_asked_of_the_nodes_range() {
        let task = spec(json!({
            "containers": [{"ports": [{"name": "http"}, {"name": "dns", "hostPort": 53}]}],
            "assignedPorts": [{"name": "http", "port": 31000}],
        }));
        assert_eq!(ports_asked(&task), [PortAsk::Any("http"), PortAsk::Fixed(53)]);
        assert_eq!(ports_held(&task), [53, 31000]);
    }
}
