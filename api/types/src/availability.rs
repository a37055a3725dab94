//! Whether a Task counts as available, and whether its node can be heard.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::meta::{Condition, ConditionStatus};
use crate::phase::Phase;
use crate::task::Task;

/// Condition of a Task, by its agent: it may get requests. Of a Node, by the node controller: it is present.
pub const READY: &str = "Ready";
/// Condition of a Task, by scheduler and Bind: it has a node.
pub const SCHEDULED: &str = "Scheduled";
/// Condition of a Task, by the node controller: its node is heard. Absent means yes.
pub const REACHABLE: &str = "Reachable";
/// Reason of `Reachable=False` until the Task is given up.
pub const NODE_NOT_READY: &str = "NodeNotReady";
/// Reason of `Reachable=False` from then on: the Task is replaced, and counts as no surge.
pub const GIVEN_UP: &str = "GivenUp";

/// Whether a Task counts as available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// It does.
    Available,
    /// It will then, if it stays Ready until then.
    From(Timestamp),
    /// It does not.
    Not(Lacks),
}

/// What a Task lacks to be available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lacks {
    /// Its deletion was asked for.
    Stopping,
    /// It does not run: not yet, or no longer.
    Running,
    /// Its node is away.
    Node,
    /// It is not Ready.
    Ready,
}

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

impl Availability {
    /// Whether `task` is available at `now`: Ready for `min_ready`, Running, not being deleted, its node heard.
    pub fn of(task: &Task, now: Timestamp, min_ready: Duration) -> Availability {
        if task.metadata.deleting() {
            return Availability::Not(Lacks::Stopping);
        }
        if Phase::of(task) != Ok(Phase::Running) {
            return Availability::Not(Lacks::Running);
        }
        if Reach::of(task) != Reach::Here {
            return Availability::Not(Lacks::Node);
        }
        match Condition::find(&task.status.conditions, READY) {
            Some(ready) if ready.status == ConditionStatus::True => {
                let from = ready.last_transition_time.plus(min_ready);
                if from <= now { Availability::Available } else { Availability::From(from) }
            }
            Some(_) | None => Availability::Not(Lacks::Ready),
        }
    }

    /// Whether it does.
    pub fn is_available(self) -> bool {
        self == Availability::Available
    }
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
    fn a_task_is_available_once_it_was_ready_for_long_enough() {
        let ready = ("Ready", "True", "", 100);
        let gone = ("Reachable", "False", NODE_NOT_READY, 150);
        for (task, expected) in [
            (task("Running", &[ready]), Availability::From(at(110))),
            (task("Running", &[("Ready", "True", "", 90)]), Availability::Available),
            (task("Running", &[("Ready", "False", "", 90)]), Availability::Not(Lacks::Ready)),
            (task("Running", &[]), Availability::Not(Lacks::Ready)),
            (task("Starting", &[ready]), Availability::Not(Lacks::Running)),
            (task("Failed", &[ready]), Availability::Not(Lacks::Running)),
            (task("Running", &[ready, gone]), Availability::Not(Lacks::Node)),
        ] {
            assert_eq!(Availability::of(&task, at(105), Duration::from_secs(10)), expected);
        }
        let mut stopping = task("Running", &[ready]);
        stopping.metadata.deletion_timestamp = Some(at(104));
        let lacks = Availability::of(&stopping, at(200), Duration::ZERO);
        assert_eq!(lacks, Availability::Not(Lacks::Stopping));
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
