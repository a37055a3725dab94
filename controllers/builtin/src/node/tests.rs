use std::time::Duration;

use berth_client::{NodePresence, Presence, PresenceState, Update};
use berth_runtime::{Indexes, owner_uids};
use serde_json::{Value, json};

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + seconds * 1000)
}

/// A Node whose condition `Ready` is of a minute ago; its uid is its name.
fn node(name: &str, ready: &str) -> Node {
    let ready = json!({"type": "Ready", "status": ready, "lastTransitionTime": at(-60)});
    let node = json!({"metadata": {"name": name, "uid": name}, "status": {"conditions": [ready]}});
    serde_json::from_value(node).unwrap()
}

fn task(name: &str, node: &str, uid: &str, conditions: Value) -> Task {
    let task = json!({
        "metadata": {"namespace": "shop", "name": name},
        "spec": {"nodeName": node, "nodeUid": uid, "unreachable": {"replaceAfterSeconds": 15}},
        "status": {"phase": "Running", "conditions": conditions},
    });
    serde_json::from_value(task).unwrap()
}

/// A controller that sees these, on the word of a server that reports some nodes as absent for as many seconds.
fn over(nodes: Vec<Node>, tasks: Vec<Task>, absent: &[(&str, u64)]) -> NodeController {
    let mut indexes = Indexes::new();
    let by_owner = indexes.add(owner_uids);
    let by_node = indexes.add(|task: &Task| vec![task.spec.node_uid.clone()]);
    let controller = NodeController {
        nodes: Cache::empty(Indexes::new()),
        tasks: Tasks { all: Cache::empty(indexes), by_owner, by_node },
        watchtower: Arc::default(),
        mass_vanish: MassVanish::default(),
    };
    let report = nodes.iter().map(|node| {
        let name = &node.metadata.name;
        let absent = absent.iter().find(|(node, _)| node == name);
        let state = absent.map_or(PresenceState::Present, |(_, seconds)| {
            PresenceState::Absent(Duration::from_secs(*seconds))
        });
        NodePresence { node: name.clone(), node_uid: node.metadata.uid.clone(), state }
    });
    controller.watchtower.receive(Presence::All { believed: true, nodes: report.collect() }, at(0));
    controller.nodes.apply(Update::Initial { objects: nodes, version: "1023".into() });
    controller.tasks.all.apply(Update::Initial { objects: tasks, version: "1023".into() });
    controller
}

/// What is done when a Node is looked at, and after how many seconds it is looked at again.
fn looks(controller: &NodeController, node: &str) -> (Vec<String>, Option<i64>) {
    let work = controller.reconcile(&Key::new("", node), at(0));
    let deeds = work.waves.iter().flatten().map(|deed| format!("{} {}", deed.object, deed.why));
    (deeds.collect(), work.wake_at.map(|wake| (wake.millis() - at(0).millis()) / 1000))
}

#[test]
fn each_node_is_judged_with_its_own_tasks_and_among_all_nodes() {
    let nodes = || -> Vec<Node> {
        let away = ["n1", "n2", "n3", "n4"].map(|name| node(name, "False"));
        away.into_iter().chain(["n5", "n6"].map(|name| node(name, "True"))).collect()
    };
    let tasks = || {
        vec![
            task("of-one", "n1", "n1", json!([])),
            task("of-an-earlier-one", "n1", "n0", json!([])),
            task("of-two", "n2", "n2", json!([])),
            task("of-five", "n5", "n5", json!([])),
        ]
    };
    let absent = [("n1", 10), ("n2", 10), ("n3", 10)];
    // NotReady since a minute and away since 10 s. Three of five are too few to be our fault; with the one whose condition
    // is still NotReady they are four of six.
    let but_one = nodes().into_iter().filter(|node| node.metadata.name != "n4").collect();
    let one = || vec!["shop/of-one False NodeNotReady".to_owned()];
    assert_eq!(looks(&over(but_one, tasks(), &absent), "n1"), (one(), Some(5)));
    let all = over(nodes(), tasks(), &absent);
    assert_eq!(looks(&all, "n1"), (one(), Some(15)));
    assert_eq!(looks(&all, "n2"), (vec!["shop/of-two False NodeNotReady".to_owned()], Some(15)));
    assert_eq!(looks(&all, "n3"), (vec![], None));
    assert_eq!(looks(&all, "n4"), (vec!["n4 True AgentPresent".to_owned()], None));
    assert_eq!(looks(&all, "n5"), (vec![], None));
    assert_eq!(looks(&all, "unknown"), (vec![], None));
}

#[test]
fn a_task_wakes_its_node_when_it_comes_there_or_its_reach_is_told_otherwise() {
    let reach = |status: &str, reason: &str| json!([{"type": "Reachable", "status": status, "reason": reason, "lastTransitionTime": at(0)}]);
    let unbound = || task("web-0", "", "", json!([]));
    let bound = || task("web-0", "n1", "u1", json!([]));
    let said = |status: &str, reason: &str| task("web-0", "n1", "u1", reach(status, reason));
    let more = || {
        let mut task = bound();
        task.status.message = "of its agent".into();
        task
    };
    let changed = |old: Task, new: Task| Delta::Modified { old: Arc::new(old), new: Arc::new(new) };
    for (change, wakes) in [
        (Delta::Added(Arc::new(unbound())), false),
        (Delta::Added(Arc::new(bound())), true),
        (changed(unbound(), unbound()), false),
        (changed(unbound(), bound()), true),
        (changed(task("web-0", "n1", "u0", json!([])), bound()), true),
        (changed(bound(), more()), false),
        (changed(bound(), said("True", "NodeReady")), false),
        (changed(bound(), said("False", "NodeNotReady")), true),
        (changed(said("False", "NodeNotReady"), said("False", "GivenUp")), true),
        (changed(said("False", "GivenUp"), bound()), true),
        (Delta::Deleted(Arc::new(bound())), false),
    ] {
        let expected = if wakes { vec![Key::new("", "n1")] } else { vec![] };
        assert_eq!(wakes_its_node(&change), expected, "{change:?}");
    }
}
