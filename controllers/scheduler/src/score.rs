//! Which of the nodes that fit is best: the fullest, so that large Tasks find room elsewhere.

use std::sync::Arc;

use berth_types::Room;

/// How good a node is for a Task; the least is best.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score {
    /// What would be left of it: the sum over its resources, each in ten-thousandths of what it has.
    leftover: u64,
    /// Tasks that it has already, where the rest is equal: fewer is better.
    tasks: usize,
    /// Settles what is equal otherwise.
    name: Arc<str>,
}

impl Score {
    /// The score of a node that has `all`, of which `free` would be left, and `tasks` Tasks.
    pub fn new(all: Room, free: Room, tasks: usize, name: Arc<str>) -> Self {
        let leftover = share(free.cpu.0, all.cpu.0)
            + share(free.memory.0, all.memory.0)
            + share(free.disk.0, all.disk.0);
        Self { leftover, tasks, name }
    }
}

fn share(free: i64, all: i64) -> u64 {
    if all <= 0 {
        return 0;
    }
    u64::try_from(free.max(0).saturating_mul(10_000) / all).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_types::quantity::{Bytes, Millicores};

    #[test]
    fn the_fullest_node_is_best_then_the_one_with_fewest_tasks_then_the_first_by_name() {
        let room =
            |cpu: i64, memory: i64| Room { cpu: Millicores(cpu), memory: Bytes(memory), disk: Bytes(0) };
        let score =
            |free: Room, tasks: usize, name: &str| Score::new(room(4000, 4096), free, tasks, name.into());
        let mut nodes = [
            score(room(4000, 4096), 0, "empty"),
            score(room(1000, 1024), 7, "b"),
            score(room(1000, 1024), 7, "a"),
            score(room(1000, 1024), 3, "c"),
            score(room(1000, 0), 9, "full"),
        ];
        nodes.sort();
        assert_eq!(nodes.map(|score| score.name.to_string()), ["full", "c", "a", "b", "empty"]);
    }
}
