use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

/// A node that is Ready, with `status.allocatable` and whatever else is told of it.
fn node(name: &str, allocatable: Value, spec: Value) -> Machine {
    let tree = json!({
        "metadata": { "name": name, "uid": format!("uid of {name}"), "resourceVersion": "7" },
        "spec": spec,
        "status": {
            "allocatable": allocatable,
            "portRange": { "first": 31000, "last": 31002 },
            "conditions": [
                { "type": "Ready", "status": "True", "lastTransitionTime": "2026-11-21T08:00:00Z" }
            ],
        },
    });
    Machine::read(&serde_json::from_value(tree).unwrap())
}

fn room(cpu: i64) -> Value {
    json!({ "cpu": cpu, "memory": "1Gi" })
}

fn task(name: &str, created: i64, container: Value) -> Arc<Task> {
    let tree = json!({
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid of {name}"), "creationTimestamp": at(created),
        },
        "spec": { "containers": [container] },
    });
    Arc::new(serde_json::from_value(tree).unwrap())
}

fn needs(cpu: i64) -> Value {
    json!({ "resources": { "requests": { "cpu": cpu } } })
}

fn bound(task: &Task, node: &str, ports: &[u16]) -> Arc<Task> {
    let mut task = task.clone();
    task.spec.node_name = node.into();
    task.spec.node_uid = format!("uid of {node}");
    let assigned = |port: &u16| berth_types::task::AssignedPort { name: "http".into(), port: *port };
    task.spec.assigned_ports = ports.iter().map(assigned).collect();
    Arc::new(task)
}

fn failed(task: &Task) -> Arc<Task> {
    let mut task = task.clone();
    task.status.phase = "Failed".into();
    Arc::new(task)
}

fn port_held(task: &Task) -> Arc<Task> {
    let mut task = failed(task);
    Arc::make_mut(&mut task).status.reason = PORT_HELD.into();
    task
}

struct World(Scheduler);

impl World {
    fn new(nodes: impl IntoIterator<Item = Machine>, tasks: impl IntoIterator<Item = Arc<Task>>) -> Self {
        let mut scheduler = Scheduler::default();
        nodes.into_iter().for_each(|node| scheduler.node_changed(node));
        tasks.into_iter().for_each(|task| scheduler.task_changed(task));
        Self(scheduler)
    }

    fn decides(&mut self, seconds: i64, expected: Expect) {
        expected.assert_eq(&text(&self.0.decide(at(seconds))));
    }
}

fn text(decisions: &Decisions) -> String {
    let place = |placement: &Placement| {
        let ports: Vec<String> =
            placement.ports.iter().map(|(name, port)| format!(" {name}={port}")).collect();
        format!("{} to {}{}", placement.task, placement.node, ports.concat())
    };
    let explain = |said: &Explanation| format!("{} waits: {}", said.task.metadata.name, said.message);
    let placed = decisions.placements.iter().map(place);
    placed.chain(decisions.explanations.iter().map(explain)).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_task_goes_to_the_fullest_node_that_has_room() {
    let nodes =
        [node("n1", room(4), json!({})), node("n2", room(2), json!({})), node("n3", room(1), json!({}))];
    let tasks =
        [task("a", 1, needs(2)), task("b", 2, needs(2)), task("c", 3, needs(1)), task("d", 4, needs(3))];
    World::new(nodes, tasks).decides(
        0,
        expect![[r#"
            a to n2
            b to n1
            c to n3
            d waits: 0 of 3 nodes fit: 3 not enough cpu (nearest n1 is short of 1)"#]],
    );
}

#[test]
fn nodes_that_are_equal_share_tasks_and_then_go_by_name() {
    let nodes = [node("n2", room(4), json!({})), node("n1", room(4), json!({}))];
    let tasks = [task("a", 1, json!({})), task("b", 1, json!({})), task("c", 1, json!({}))];
    World::new(nodes, tasks).decides(
        0,
        expect![[r#"
        a to n1
        b to n2
        c to n1"#]],
    );
}

#[test]
fn what_is_decided_is_charged_before_anybody_confirms_it() {
    let mut world = World::new([node("n1", room(2), json!({}))], [task("a", 1, needs(1))]);
    world.decides(0, expect!["a to n1"]);
    world.0.task_changed(task("b", 2, needs(1)));
    world.0.task_changed(task("c", 3, needs(1)));
    world.decides(
        0,
        expect![[r#"
        b to n1
        c waits: 0 of 1 nodes fit: 1 not enough cpu (nearest n1 is short of 1)"#]],
    );
    // Seen bound, it is charged once, not twice; at its end its room is free.
    world.0.task_changed(bound(&task("a", 1, needs(1)), "n1", &[]));
    world.decides(0, expect![""]);
    world.0.task_changed(failed(&bound(&task("a", 1, needs(1)), "n1", &[])));
    world.decides(0, expect!["c to n1"]);
}

#[test]
fn a_refused_placement_gives_its_room_back_and_is_tried_again_later_and_later() {
    let mut world = World::new([node("n1", room(1), json!({}))], [task("a", 1, needs(1))]);
    world.decides(0, expect!["a to n1"]);
    world.0.refused("uid of a", at(0));
    assert_eq!(world.0.wake_at(), Some(Timestamp::from_millis(20)));
    world.decides(0, expect![""]);
    world.decides(1, expect!["a to n1"]);
    world.0.refused("uid of a", at(1));
    assert_eq!(world.0.wake_at(), Some(Timestamp::from_millis(1040)));
    // A refusal that comes after the Task was seen bound says nothing.
    world.decides(2, expect!["a to n1"]);
    world.0.task_changed(bound(&task("a", 1, needs(1)), "n1", &[]));
    world.0.refused("uid of a", at(2));
    world.decides(9, expect![""]);
}

#[test]
fn ports_are_free_ones_of_the_range_and_never_given_out_twice() {
    let port = || json!({ "ports": [{ "name": "http" }] });
    let fixed = task("f", 1, json!({ "ports": [{ "name": "web", "hostPort": 31001 }] }));
    let tasks = [fixed, task("a", 2, port()), task("b", 3, port()), task("c", 4, port())];
    let mut world = World::new([node("n1", room(1), json!({}))], tasks);
    world.decides(
        0,
        expect![[r#"
            f to n1
            a to n1 http=31000
            b to n1 http=31002
            c waits: 0 of 1 nodes fit: 1 without enough free ports"#]],
    );
    world.0.task_changed(bound(&task("a", 2, port()), "n1", &[31000]));
    world.0.task_gone("uid of a");
    world.decides(0, expect!["c to n1 http=31000"]);
}

#[test]
fn a_port_that_a_stranger_held_is_assigned_last_while_the_task_that_met_it_is_there() {
    let port = || json!({ "ports": [{ "name": "http" }] });
    let met = |name: &str, node: &str, held: u16| port_held(&bound(&task(name, 1, port()), node, &[held]));
    let new = || ["a", "b", "c"].map(|name| task(name, 2, port()));
    let n1 = || [node("n1", room(1), json!({}))];
    let mut world = World::new(n1(), [met("f", "n1", 31000)].into_iter().chain(new()));
    let last = expect![[r#"
        a to n1 http=31001
        b to n1 http=31002
        c to n1 http=31000"#]];
    world.decides(0, last);
    // Gone, or of another node, or failed for something else.
    let mut gone = World::new(n1(), [met("f", "n1", 31000)]);
    gone.0.task_gone("uid of f");
    new().into_iter().for_each(|task| gone.0.task_changed(task));
    let other = || World::new(n1(), [met("f", "n2", 31000)].into_iter().chain(new()));
    let without = || failed(&bound(&task("f", 1, port()), "n1", &[31000]));
    for mut world in [gone, other(), World::new(n1(), [without()].into_iter().chain(new()))] {
        world.decides(
            0,
            expect![[r#"
            a to n1 http=31000
            b to n1 http=31001
            c to n1 http=31002"#]],
        );
    }
}

#[test]
fn a_task_that_fits_nowhere_says_why_once_and_is_placed_when_a_node_changes() {
    let cordoned = || node("n1", room(4), json!({ "unschedulable": true }));
    let mut world = World::new([cordoned()], [task("a", 1, needs(1))]);
    world.decides(0, expect!["a waits: 0 of 1 nodes fit: 1 cordoned"]);
    world.decides(0, expect![""]);
    world.0.node_changed(node("n2", room(0), json!({})));
    world.decides(1, expect![""]);
    // The reason is looked at again at its time, not at every change.
    assert_eq!(world.0.wake_at(), Some(at(5)));
    world.decides(
        5,
        expect!["a waits: 0 of 2 nodes fit: 1 cordoned, 1 not enough cpu (nearest n2 is short of 1)"],
    );
    assert_eq!(world.0.wake_at(), None);
    world.0.node_changed(node("n1", room(4), json!({})));
    world.decides(6, expect!["a to n1"]);
}

#[test]
fn each_port_of_each_task_is_held_until_the_last_that_holds_it_ends() {
    let asks = |name: &str, ports: &[u16]| {
        let port = |n: &u16| json!({ "name": format!("p{n}"), "hostPort": n });
        task(name, 1, json!({ "ports": ports.iter().map(port).collect::<Vec<_>>() }))
    };
    // A Task that was bound by somebody else may share a port with another.
    let holders = [("a", [80, 81, 82]), ("b", [82, 83, 84])];
    for port in 80..=84 {
        let mut world = World::new([node("n1", room(4), json!({}))], []);
        for (name, ports) in &holders {
            world.0.task_changed(bound(&asks(name, ports), "n1", &[]));
        }
        let mut left: Vec<_> = holders.iter().filter(|(_, ports)| ports.contains(&port)).collect();
        world.0.task_changed(asks("c", &[90, port, 91]));
        let waits = "c waits: 0 of 1 nodes fit: 1 with a host port taken";
        assert_eq!(text(&world.0.decide(at(0))), waits, "port {port} is held");
        while let Some((name, _)) = left.pop() {
            world.0.task_gone(&format!("uid of {name}"));
            let expected = if left.is_empty() { "c to n1" } else { "" };
            assert_eq!(text(&world.0.decide(at(1))), expected, "{name} is gone from port {port}");
        }
    }
}

#[test]
fn of_several_containers_each_open_port_gets_another_and_none_that_is_fixed_or_held() {
    let mut asks =
        (*task("a", 1, json!({ "ports": [{ "name": "x" }, { "name": "y", "hostPort": 31001 }] }))).clone();
    asks.spec.containers.push(serde_json::from_value(json!({ "ports": [{ "name": "z" }] })).unwrap());
    let mut world = World::new([node("n1", room(4), json!({}))], [Arc::new(asks.clone())]);
    // Of the range's three one is fixed: the two open ones get the others.
    let placed = world.0.decide(at(0)).placements;
    let mut ports: Vec<u16> = placed[0].ports.iter().map(|(_, port)| *port).collect();
    let names: Vec<&str> = placed[0].ports.iter().map(|(name, _)| &**name).collect();
    ports.sort_unstable();
    assert_eq!((names, ports), (vec!["x", "z"], vec![31000, 31002]));
    for held in [31000, 31001, 31002] {
        let holder = bound(&task("h", 1, json!({ "ports": [{ "name": "http" }] })), "n1", &[held]);
        let mut world = World::new([node("n1", room(4), json!({}))], [holder, Arc::new(asks.clone())]);
        assert!(world.0.decide(at(0)).placements.is_empty(), "{held} is held");
    }
}

#[test]
fn without_nodes_a_task_says_so() {
    World::new([], [task("a", 1, needs(1))]).decides(0, expect!["a waits: there is no node"]);
}

/// The rule by itself: each Task in turn, of each class in turn, to the best of the nodes that have room.
fn slow_reference(nodes: &[(u8, i64)], tasks: &[(i64, i64)]) -> Vec<String> {
    let mut free: Vec<(i64, usize)> = nodes.iter().map(|(_, cpu)| (*cpu, 0)).collect();
    let mut asks: Vec<i64> = Vec::new();
    let mut order: Vec<(i64, usize)> =
        tasks.iter().enumerate().map(|(n, (created, _))| (*created, n)).collect();
    order.sort_by_key(|(created, n)| (*created, format!("t{n:02}")));
    for (_, n) in &order {
        if !asks.contains(&tasks[*n].1) {
            asks.push(tasks[*n].1);
        }
    }
    let mut placed = Vec::new();
    for ask in asks {
        for (_, n) in order.iter().filter(|(_, n)| tasks[*n].1 == ask) {
            let fits = (0..nodes.len()).filter(|at| free[*at].0 >= ask);
            let leftover = |at: usize| (free[at].0 - ask) * 10_000 / nodes[at].1.max(1);
            let Some(best) = fits.min_by_key(|at| (leftover(*at), free[*at].1, nodes[*at].0)) else {
                continue;
            };
            free[best] = (free[best].0 - ask, free[best].1 + 1);
            placed.push(format!("t{n:02} to n{}", nodes[best].0));
        }
    }
    placed
}

fn clusters() -> impl Strategy<Value = Vec<(u8, i64)>> {
    prop::collection::btree_map(0u8..9, 0i64..12, 0..6).prop_map(|nodes| nodes.into_iter().collect())
}

proptest! {
    #![proptest_config(berth_cases::cases(500))]

    #[test]
    fn it_decides_as_the_rule_does_in_whatever_order_things_are_seen(
        (nodes, shuffled) in clusters().prop_flat_map(|c| (Just(c.clone()), Just(c).prop_shuffle())),
        tasks in prop::collection::vec((0i64..3, 1i64..5), 0..20),
    ) {
        // Classes in a generated order of their own: shuffled by the order of admission.
        let seen = |nodes: &[(u8, i64)], tasks: Vec<Arc<Task>>| {
            let nodes = nodes.iter().map(|(n, cpu)| node(&format!("n{n}"), json!({ "cpu": cpu }), json!({})));
            let decisions = World::new(nodes, tasks).0.decide(at(0));
            decisions.placements.iter().map(|p| format!("{} to {}", p.task, p.node)).collect::<Vec<_>>()
        };
        let all = || tasks.iter().enumerate().map(|(n, (created, cpu))| {
            task(&format!("t{n:02}"), *created, needs(*cpu))
        });
        let expected = slow_reference(&nodes, &tasks);
        prop_assert_eq!(seen(&nodes, all().collect()), expected.clone());
        prop_assert_eq!(seen(&shuffled, all().rev().collect()), expected);
    }

    #[test]
    fn charges_are_those_of_the_tasks_that_hold_room_whatever_happened(
        steps in prop::collection::vec((0u8..8, 0usize..8), 0..60),
    ) {
        let mut world = World::new([node("n0", room(6), json!({})), node("n1", room(6), json!({}))], []);
        let port = || json!({ "ports": [{ "name": "http" }], "resources": { "requests": { "cpu": 1 } } });
        for (now, (step, n)) in steps.into_iter().enumerate() {
            let (now, name) = (at(now as i64 * 10), format!("t{n}"));
            let (uid, task) = (format!("uid of {name}"), task(&name, 1, port()));
            match step {
                0 => world.0.task_changed(task),
                1 => world.0.refused(&uid, now),
                2 => world.0.task_gone(&uid),
                3 => world.0.task_changed(bound(&task, "n0", &[31000])),
                6 => world.0.task_changed(port_held(&bound(&task, "n0", &[31000]))),
                7 => world.0.task_changed(port_held(&bound(&task, "n1", &[31002]))),
                4 => world.0.node_gone("uid of n1"),
                _ => world.0.node_changed(node("n1", room(6), json!({}))),
            }
            world.0.decide(now);
        }
        let mut held: Vec<Charge> = Vec::new();
        for entry in world.0.tasks.values() {
            match entry {
                Entry::Waiting(_) | Entry::PortHeld { .. } => {}
                Entry::Assumed { charge, .. } | Entry::Bound(charge) => held.push(charge.clone()),
            }
        }
        for charge in &held {
            world.0.nodes.discharge(charge);
        }
        world.0.nodes.put(node("n0", room(6), json!({})));
        world.0.nodes.put(node("n1", room(6), json!({})));
        for (at, _) in world.0.nodes.all() {
            let offer = world.0.nodes.offer(at);
            prop_assert_eq!((offer.free.cpu.0, offer.free_ports, offer.held_ports.len()), (6000, 3, 0));
        }
        let waiting = world.0.tasks.values().filter(|entry| matches!(entry, Entry::Waiting(_))).count();
        let members: usize = world.0.classes.values().map(|class| class.members).sum();
        let apart = |entry: &&Entry| matches!(entry, Entry::Bound(_) | Entry::PortHeld { .. });
        let apart = world.0.tasks.values().filter(apart).count();
        prop_assert_eq!(members, world.0.tasks.len() - apart);
        prop_assert!(waiting <= members);
        for n in 0..8 {
            world.0.task_gone(&format!("uid of t{n}"));
        }
        for (at, _) in world.0.nodes.all() {
            prop_assert!(world.0.nodes.offer(at).shunned_ports.is_empty());
        }
    }
}

#[test]
fn a_node_under_disk_pressure_gets_no_task_until_it_has_room() {
    let pressed = |status: &str| {
        let mut tree = json!({
            "metadata": { "name": "n1", "uid": "uid of n1", "resourceVersion": "8" },
            "status": { "allocatable": room(4), "conditions": [] },
        });
        let of = |type_: &str, status: &str| json!({ "type": type_, "status": status, "lastTransitionTime": "2026-11-21T08:00:00Z" });
        tree["status"]["conditions"] = json!([of("Ready", "True"), of("DiskPressure", status)]);
        Machine::read(&serde_json::from_value(tree).unwrap())
    };
    let cordoned = node("n2", room(4), json!({ "unschedulable": true }));
    let mut world = World::new([pressed("True"), cordoned], [task("web-0", 1, needs(1))]);
    world.decides(0, expect!["web-0 waits: 0 of 2 nodes fit: 1 cordoned, 1 under disk pressure"]);
    world.0.node_changed(pressed("False"));
    world.decides(10, expect!["web-0 to n1"]);
}
