//! The conditions that tell whether a Task can be counted on, and whether its node can be heard.

use crate::clock::Timestamp;
use crate::meta::{Condition, ConditionStatus};
use crate::task::Task;

/// Condition of a Task, by its agent: it may get requests. Of a Node, by the node controller: it is present.
pub const READY: &str = "Ready";
/// Condition of a Node, by its agent: its data folder's disk is too full for new Tasks. Absent means no.
pub const DISK_PRESSURE: &str = "DiskPressure";
/// Condition of a Task, by scheduler and Bind: it has a node.
pub const SCHEDULED: &str = "Scheduled";
/// Condition of a Task, by the node controller: its node is heard. Absent means yes.
pub const REACHABLE: &str = "Reachable";
/// Reason of `Reachable=False` until the Task is given up.
pub const NODE_NOT_READY: &str = "NodeNotReady";
/// Reason of `Reachable=False` from then on: the Task is replaced, and counts as no surge.
pub const GIVEN_UP: &str = "GivenUp";
/// Reason of a Task that failed because its preparation ended its node's agent.
pub const TOOK_AGENT_DOWN: &str = "TookAgentDown";
/// Condition of a Node, by its agent: the agent ends again and again without being asked to. Absent means no.
pub const AGENT_RESTARTING: &str = "AgentRestarting";

/// Whether the node of a Task can be heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It is, as far as anybody says.
    Here,
    /// Not since then; the Task may come back.
    Away(Timestamp),
    /// Not for so long that the Task is replaced.
    GivenUp,
}

impl Reach {
    /// What the node controller says of the node of `task`.
    pub fn of(task: &Task) -> Reach {
        match Condition::find(&task.status.conditions, REACHABLE) {
            Some(said) if said.status == ConditionStatus::False && said.reason == GIVEN_UP => Reach::GivenUp,
            Some(said) if said.status == ConditionStatus::False => Reach::Away(said.last_transition_time),
            Some(_) | None => Reach::Here,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1000)
    }

    fn task(phase: &str, conditions: &[(&str, &str, &str, i64)]) -> Task {
        let conditions: Vec<_> = conditions
            .iter()
            .map(|(type_, status, reason, since)| {
                json!({"type": type_, "status": status, "reason": reason, "lastTransitionTime": at(*since)})
            })
            .collect();
        serde_json::from_value(json!({"status": {"phase": phase, "conditions": conditions}})).unwrap()
    }

    #[test]
    fn a_task_is_given_up_only_when_the_node_controller_says_so() {
        assert_eq!(Reach::of(&task("Running", &[])), Reach::Here);
        assert_eq!(Reach::of(&task("Running", &[("Reachable", "True", "", 1)])), Reach::Here);
        assert_eq!(
            Reach::of(&task("Running", &[("Reachable", "False", NODE_NOT_READY, 7)])),
            Reach::Away(at(7))
        );
        assert_eq!(Reach::of(&task("Running", &[("Reachable", "False", GIVEN_UP, 7)])), Reach::GivenUp);
    }
}
