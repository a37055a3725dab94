//! What the Node controller sees: a Node, whether its agent is present, and the Tasks bound to it.

use std::time::Duration;

use berth_types::availability::{REACHABLE, READY};
use berth_types::node::Node;
use berth_types::task::Task;
use berth_types::{Condition, ConditionStatus, Phase, Timestamp};

/// What a server that may be judged by says of a node's agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// It has a session.
    Present,
    /// It has had none since then.
    Away(Timestamp),
    /// Nobody who may be believed says anything.
    Unseen,
}

/// A Node as far as its readiness goes.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Name of the Node.
    pub name: String,
    /// Its condition `Ready`, if it has one yet.
    pub ready: Option<Condition>,
    /// What is known of its agent.
    pub sight: Sight,
}

/// A Task on the node, not at its end.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Namespace of the Task.
    pub namespace: String,
    /// Name of the Task.
    pub name: String,
    /// How long after its node became NotReady it is replaced.
    pub replace_after: Duration,
    /// Its condition `Reachable`, if it has one.
    pub reachable: Option<Condition>,
}

/// One node of the cluster, as seen from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbour {
    /// It is Ready since then; since ever, if nobody said so yet.
    There(Timestamp),
    /// It is away since then.
    Away(Timestamp),
}

/// When so many nodes vanish at once that rather we than they are at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MassVanish {
    /// More than this many.
    pub nodes: usize,
    /// And more than this part of those that were there, in percent.
    pub percent: usize,
    /// Within this time of each other.
    pub within: Duration,
}

impl Default for MassVanish {
    fn default() -> Self {
        Self { nodes: 3, percent: 50, within: Duration::from_secs(60) }
    }
}

/// One Node, its Tasks, its neighbours, and the time.
pub struct Observed<'a> {
    /// The Node.
    pub node: &'a Machine,
    /// The Tasks bound to it that are not at their end.
    pub tasks: &'a [Guest],
    /// Every node of the cluster, this one too.
    pub neighbours: &'a [Neighbour],
    /// When nothing is replaced.
    pub mass_vanish: MassVanish,
    /// The present time.
    pub now: Timestamp,
}

impl Machine {
    /// Reads a Node, with what is known of its agent.
    pub fn read(node: &Node, sight: Sight) -> Self {
        let ready = Condition::find(&node.status.conditions, READY).cloned();
        Self { name: node.metadata.name.clone(), ready, sight }
    }

    /// Since when the Node is said not to be Ready.
    pub fn not_ready_since(&self) -> Option<Timestamp> {
        let ready = self.ready.as_ref()?;
        (ready.status == ConditionStatus::False).then_some(ready.last_transition_time)
    }

    /// The Node as the others see it.
    pub fn as_neighbour(&self) -> Neighbour {
        match (self.sight, self.not_ready_since()) {
            (Sight::Present | Sight::Unseen, None) => {
                let ready = self.ready.as_ref().map(|ready| ready.last_transition_time);
                Neighbour::There(ready.unwrap_or(Timestamp::from_millis(0)))
            }
            // One that just came back is there when its condition says so.
            (_, Some(since)) | (Sight::Away(since), None) => Neighbour::Away(since),
        }
    }
}

impl Guest {
    /// Reads a Task; none when it is at its end.
    pub fn read(task: &Task) -> Option<Self> {
        if Phase::of(task).is_ok_and(Phase::is_final) {
            return None;
        }
        Some(Self {
            namespace: task.metadata.namespace.clone(),
            name: task.metadata.name.clone(),
            replace_after: task.spec.replace_after(),
            reachable: Condition::find(&task.status.conditions, REACHABLE).cloned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const LATER: &str = "1970-01-01T00:01:00Z";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn condition(type_: &str, status: &str) -> Value {
        json!({"type": type_, "status": status, "reason": type_, "lastTransitionTime": LATER})
    }

    /// What is read of an object with these conditions, in either order.
    fn read<T>(conditions: [Value; 3], read: impl Fn(Value) -> T) -> [T; 2] {
        let mut reversed = conditions.clone();
        reversed.reverse();
        [conditions, reversed].map(|conditions| read(json!(conditions)))
    }

    #[test]
    fn of_several_conditions_a_node_has_its_own_and_a_task_its_own() {
        let conditions =
            [condition("DiskPressure", "True"), condition("Ready", "False"), condition("Reachable", "True")];
        let ready = read(conditions.clone(), |conditions| {
            let node = json!({"metadata": {"name": "n1"}, "status": {"conditions": conditions}});
            Machine::read(&serde_json::from_value(node).unwrap(), Sight::Present)
        });
        for machine in ready {
            assert_eq!((machine.name.as_str(), machine.not_ready_since()), ("n1", Some(at(60))));
        }
        let reachable =
            read(conditions, |conditions| guest("Running", conditions).unwrap().reachable.unwrap());
        assert_eq!(reachable.map(|condition| condition.type_), ["Reachable", "Reachable"]);
        assert_eq!(guest("Running", json!([condition("Ready", "True")])).unwrap().reachable, None);
    }

    fn guest(phase: &str, conditions: Value) -> Option<Guest> {
        let task = json!({
            "metadata": {"namespace": "shop", "name": "web-0"},
            "spec": {"unreachable": {"replaceAfterSeconds": 7}},
            "status": {"phase": phase, "conditions": conditions},
        });
        Guest::read(&serde_json::from_value(task).unwrap())
    }

    #[test]
    fn a_task_concerns_its_node_until_its_end() {
        for (phase, is_guest) in [
            ("Pending", true),
            ("Starting", true),
            ("Running", true),
            ("Stopping", true),
            ("OfANewerServer", true),
            ("Succeeded", false),
            ("Failed", false),
        ] {
            let read =
                guest(phase, json!([])).map(|guest| (guest.namespace, guest.name, guest.replace_after));
            let expected = ("shop".into(), "web-0".into(), Duration::from_secs(7));
            assert_eq!(read, is_guest.then_some(expected), "{phase}");
        }
    }

    #[test]
    fn a_neighbour_is_there_or_away_as_its_condition_says_and_since_then() {
        use Neighbour::{Away, There};
        let (present, unseen, away) = (Sight::Present, Sight::Unseen, Sight::Away(at(9)));
        for (ready, sight, expected) in [
            (None, present, There(at(0))),
            (None, unseen, There(at(0))),
            (None, away, Away(at(9))),
            (Some("True"), present, There(at(60))),
            (Some("True"), unseen, There(at(60))),
            (Some("True"), away, Away(at(9))),
            (Some("False"), present, Away(at(60))),
            (Some("False"), unseen, Away(at(60))),
            (Some("False"), away, Away(at(60))),
        ] {
            let conditions: Vec<Value> = ready.iter().map(|status| condition("Ready", status)).collect();
            let node = serde_json::from_value(json!({"status": {"conditions": conditions}})).unwrap();
            assert_eq!(Machine::read(&node, sight).as_neighbour(), expected, "{ready:?} {sight:?}");
        }
    }
}
