//! What a plan for a Node means in writes.

use std::sync::Arc;

use berth_client::Write;
use berth_runtime::{Deed, Key, Note, Weight, Work};
use berth_types::availability::{GIVEN_UP, REACHABLE, READY};
use berth_types::node::Node;
use berth_types::task::Task;
use berth_types::{Condition, ConditionStatus, Timestamp};
use serde_json::json;

use super::plan::{Action, Plan, Verdict};

/// The writes of a plan. Each is about the version that was seen: the other conditions go along unchanged.
pub fn work(node: &Node, tasks: &[Arc<Task>], plan: Plan, now: Timestamp) -> Work {
    let deeds = plan.wave.into_iter().filter_map(|action| match action {
        Action::SetReady(verdict) => Some(set_ready(node, verdict, now)),
        Action::SetReachable { namespace, task, verdict } => {
            let named =
                |seen: &&Arc<Task>| seen.metadata.name == task && seen.metadata.namespace == namespace;
            tasks.iter().find(named).map(|task| set_reachable(task, verdict, now))
        }
    });
    Work::waves([deeds.collect()]).wake_at(plan.wake)
}

fn set_ready(node: &Node, verdict: Verdict, now: Timestamp) -> Deed {
    let why = format!("{:?} {}", verdict.status, verdict.reason);
    let generation = node.metadata.generation;
    let note = readiness(node, &verdict);
    let conditions = with(&node.status.conditions, READY, verdict, generation, now);
    let patch = json!({ "status": { "conditions": conditions } });
    let write = Write::patch_status::<Node>("", &node.metadata.name, patch).unchanged(node);
    Deed::one("set Ready", node.metadata.name.as_str(), why, write).noting(note)
}

/// A node that is new is no news; one that goes or comes back is.
fn readiness(node: &Node, verdict: &Verdict) -> Option<Note> {
    match verdict.status {
        ConditionStatus::True => {
            Condition::find(&node.status.conditions, READY)?;
            Some(Note::new(node, Weight::Normal, "NodeReady", &*verdict.message))
        }
        ConditionStatus::False | ConditionStatus::Unknown => {
            Some(Note::new(node, Weight::Warning, "NodeNotReady", &*verdict.message))
        }
    }
}

fn set_reachable(task: &Task, verdict: Verdict, now: Timestamp) -> Deed {
    let why = format!("{:?} {}", verdict.status, verdict.reason);
    let meta = &task.metadata;
    let given_up = verdict.reason == GIVEN_UP;
    let note = given_up.then(|| Note::new(task, Weight::Warning, "TaskGivenUp", &*verdict.message));
    let conditions = with(&task.status.conditions, REACHABLE, verdict, meta.generation, now);
    let patch = json!({ "status": { "conditions": conditions } });
    let write = Write::patch_status::<Task>(&meta.namespace, &meta.name, patch).unchanged(task);
    Deed::one("set Reachable", Key::of(task).to_string(), why, write).noting(note)
}

fn with(
    conditions: &[Condition],
    type_: &str,
    verdict: Verdict,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let mut conditions = conditions.to_vec();
    let condition = Condition {
        type_: type_.into(),
        status: verdict.status,
        observed_generation: generation,
        last_transition_time: now,
        reason: verdict.reason.into(),
        message: verdict.message,
    };
    condition.set(&mut conditions);
    conditions
}
