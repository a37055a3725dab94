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
    Condition::new(type_, verdict.status, verdict.reason, verdict.message, now)
        .of_generation(generation)
        .set(&mut conditions);
    conditions
}

#[cfg(test)]
mod tests {
    use berth_types::availability::NODE_NOT_READY;
    use berth_types::node::NodeStatus;

    use super::*;

    fn said(type_: &str) -> Condition {
        Condition::new(type_, ConditionStatus::True, "Said", "", Timestamp::from_millis(0)).of_generation(1)
    }

    /// A Task of which its agent and this controller have said something before.
    fn task(namespace: &str, name: &str) -> Arc<Task> {
        let mut task = Task::default();
        (task.metadata.namespace, task.metadata.name) = (namespace.into(), name.into());
        task.metadata.uid = format!("{namespace}-{name}");
        task.status.conditions = vec![said(READY), said(REACHABLE), said("Other")];
        Arc::new(task)
    }

    fn verdict(reason: &'static str) -> Verdict {
        Verdict { status: ConditionStatus::False, reason, message: format!("because of {reason}") }
    }

    #[test]
    fn each_action_is_written_to_its_own_object_and_leaves_what_others_say() {
        let now = Timestamp::from_millis(60_000);
        let mut node = Node::default();
        node.metadata.name = "n1".into();
        node.status.conditions = vec![said("Other"), said(READY), said("DiskPressure")];
        let tasks = [task("bank", "web-0"), task("shop", "web-1"), task("shop", "web-0")];
        let told = |namespace: &str, task: &str, reason| Action::SetReachable {
            namespace: namespace.into(),
            task: task.into(),
            verdict: verdict(reason),
        };
        let wave = vec![
            Action::SetReady(verdict("AgentAway")),
            told("shop", "web-0", "First"),
            told("shop", "gone", "Nobody"),
            told("bank", "web-0", "Second"),
        ];
        let judged = |type_: &str, reason| {
            let verdict = verdict(reason);
            let (message, reason) = (verdict.message, verdict.reason.to_owned());
            let (status, last_transition_time) = (verdict.status, now);
            json!(Condition {
                status,
                last_transition_time,
                reason,
                message,
                observed_generation: 0,
                ..said(type_)
            })
        };
        let about = |task: &Task, reason| {
            let conditions = json!([said(READY), judged(REACHABLE, reason), said("Other")]);
            let (meta, patch) = (&task.metadata, json!({"status": {"conditions": conditions}}));
            Write::patch_status::<Task>(&meta.namespace, &meta.name, patch).unchanged(task)
        };
        let conditions = json!([said("Other"), judged(READY, "AgentAway"), said("DiskPressure")]);
        let patch = json!({"status": {"conditions": conditions}});
        let expected = [
            Write::patch_status::<Node>("", "n1", patch).unchanged(&node),
            about(&tasks[2], "First"),
            about(&tasks[0], "Second"),
        ];
        let work = work(&node, &tasks, Plan { wave, wake: Some(now) }, now);
        let written: Vec<Write> = work.waves.concat().into_iter().flat_map(|deed| deed.writes).collect();
        assert_eq!((written.as_slice(), work.wake_at), (&expected[..], Some(now)));
    }

    #[test]
    fn people_hear_of_nodes_that_go_or_come_back_and_of_tasks_given_up() {
        let now = Timestamp::from_millis(60_000);
        let known = Node {
            status: NodeStatus {
                conditions: vec![said("DiskPressure"), said(READY)],
                ..NodeStatus::default()
            },
            ..Node::default()
        };
        let heard = |node: &Node, actions: Vec<Action>| {
            let work =
                work(node, &[task("shop", "a"), task("shop", "b")], Plan { wave: actions, wake: None }, now);
            let notes = work.waves.concat().into_iter().flat_map(|deed| deed.notes);
            notes.map(|note| format!("{}: {}", note.reason(), note.message())).collect::<Vec<_>>()
        };
        let back = Verdict { status: ConditionStatus::True, ..verdict("AgentPresent") };
        let (back, away) = (|| Action::SetReady(back.clone()), || Action::SetReady(verdict("AgentAway")));
        assert_eq!(heard(&Node::default(), vec![back()]), Vec::<String>::new());
        assert_eq!(heard(&known, vec![back()]), ["NodeReady: because of AgentPresent"]);
        assert_eq!(heard(&Node::default(), vec![away()]), ["NodeNotReady: because of AgentAway"]);
        assert_eq!(heard(&known, vec![away()]), ["NodeNotReady: because of AgentAway"]);
        let told = |task: &str, reason| Action::SetReachable {
            namespace: "shop".into(),
            task: task.into(),
            verdict: verdict(reason),
        };
        let tasks = vec![told("a", NODE_NOT_READY), told("b", GIVEN_UP)];
        assert_eq!(heard(&known, tasks), ["TaskGivenUp: because of GivenUp"]);
    }
}
