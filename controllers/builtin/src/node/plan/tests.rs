use std::time::Duration;

use berth_types::Condition;
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::super::observed::Machine;
use super::*;
use ConditionStatus::{False, True, Unknown};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000_000 + seconds * 1000)
}

fn condition(type_: &str, status: ConditionStatus, reason: &str, since: i64) -> Condition {
    Condition {
        type_: type_.into(),
        status,
        observed_generation: 0,
        last_transition_time: at(since),
        reason: reason.into(),
        message: String::new(),
    }
}

fn machine(ready: Option<(ConditionStatus, i64)>, sight: Sight) -> Machine {
    let ready = ready.map(|(status, since)| condition("Ready", status, "", since));
    Machine { name: "n1".into(), ready, sight }
}

fn guest(name: &str, reachable: Option<(ConditionStatus, &str)>) -> Guest {
    Guest {
        namespace: "shop".into(),
        name: name.into(),
        replace_after: Duration::from_secs(15),
        reachable: reachable.map(|(status, reason)| condition("Reachable", status, reason, 0)),
    }
}

fn text(plan: &Plan) -> String {
    let line = |action: &Action| match action {
        Action::SetReady(Verdict { status, reason, .. }) => format!("ready {status:?} {reason}"),
        Action::SetReachable { task, verdict: Verdict { status, reason, message }, .. } => {
            format!("{task} reachable {status:?} {reason}: {message}")
        }
    };
    let mut lines: Vec<String> = plan.wave.iter().map(line).collect();
    lines.extend(plan.wake.map(|wake| format!("wake at {wake}")));
    lines.join("\n")
}

fn plans(node: Machine, tasks: &[Guest], now: i64, expected: Expect) {
    let neighbours = &[Neighbour::There(at(-99)), Neighbour::There(at(-99))];
    let mass_vanish = MassVanish::default();
    let seen = Observed { node: &node, tasks, neighbours, mass_vanish, now: at(now) };
    expected.assert_eq(&text(&plan(&seen)));
}

#[test]
fn a_node_is_ready_while_its_agent_is_present() {
    plans(machine(None, Sight::Present), &[], 0, expect!["ready True AgentPresent"]);
    plans(machine(Some((False, 0)), Sight::Present), &[], 5, expect!["ready True AgentPresent"]);
    plans(machine(Some((True, 0)), Sight::Present), &[], 5, expect![""]);
    plans(machine(None, Sight::Away(at(0))), &[], 5, expect!["ready False AgentAway"]);
    plans(machine(Some((True, 0)), Sight::Away(at(4))), &[], 5, expect!["ready False AgentAway"]);
    plans(machine(Some((False, 5)), Sight::Away(at(4))), &[], 7, expect![""]);
    plans(machine(Some((Unknown, 0)), Sight::Present), &[], 5, expect!["ready True AgentPresent"]);
    plans(machine(Some((Unknown, 0)), Sight::Away(at(4))), &[], 5, expect!["ready False AgentAway"]);
}

#[test]
fn a_clock_that_was_set_by_an_hour_gives_nothing_up_early_nor_late() {
    for said in [-3600, 3600] {
        let node = machine(Some((False, said)), Sight::Away(at(-1)));
        let (tasks, neighbours) =
            ([guest("web-1", None)], [Neighbour::There(at(-99)), Neighbour::There(at(-99))]);
        let mass_vanish = MassVanish::default();
        let seen = |now| Observed { node: &node, tasks: &tasks, neighbours: &neighbours, mass_vanish, now };
        assert_eq!(plan(&seen(at(0))).wake, Some(at(14)), "NotReady since {said}");
        assert!(text(&plan(&seen(at(14)))).contains("GivenUp"), "NotReady since {said}");
    }
}

#[test]
fn those_that_come_back_last_after_most_vanished_are_not_given_up_for_it() {
    let node = machine(Some((False, 0)), Sight::Away(at(0)));
    let tasks = [guest("web-1", None)];
    let mut neighbours = vec![Neighbour::There(at(-99)), Neighbour::Away(at(0)), Neighbour::Away(at(1))];
    neighbours.extend([60, 61, 62].map(|back| Neighbour::There(at(back))));
    let mass_vanish = MassVanish::default();
    let seen = |now| Observed { node: &node, tasks: &tasks, neighbours: &neighbours, mass_vanish, now };
    assert_eq!(plan(&seen(at(63))).wake, Some(at(77)));
    assert!(!text(&plan(&seen(at(76)))).contains("GivenUp"));
    assert!(text(&plan(&seen(at(77)))).contains("GivenUp"));
}

#[test]
fn nothing_is_said_of_a_node_that_nobody_sees() {
    let tasks = [guest("web-1", None), guest("web-2", Some((False, NODE_NOT_READY)))];
    plans(machine(Some((True, 0)), Sight::Unseen), &tasks, 500, expect![""]);
    plans(machine(Some((False, 0)), Sight::Unseen), &tasks, 500, expect![""]);
    plans(machine(None, Sight::Unseen), &tasks, 500, expect![""]);
}

#[test]
fn tasks_of_a_node_that_is_away_are_out_of_reach_and_given_up_exactly_when_their_time_is_over() {
    let away = || machine(Some((False, 0)), Sight::Away(at(-6)));
    let patient = Guest { replace_after: Duration::from_secs(60), ..guest("db-1", None) };
    plans(
        machine(Some((True, -99)), Sight::Away(at(-6))),
        &[guest("web-1", None)],
        0,
        expect![[r#"
            ready False AgentAway
            web-1 reachable False NodeNotReady: node n1 is away since 1970-01-12T13:46:40Z: given up from 1970-01-12T13:46:55Z
            wake at 1970-01-12T13:46:55Z"#]],
    );
    plans(
        away(),
        &[guest("web-1", None), patient],
        15,
        expect![[r#"
            web-1 reachable False GivenUp: node n1 is away since 1970-01-12T13:46:40Z: given up
            db-1 reachable False NodeNotReady: node n1 is away since 1970-01-12T13:46:40Z: given up from 1970-01-12T13:47:40Z
            wake at 1970-01-12T13:47:40Z"#]],
    );
    plans(away(), &[guest("web-1", Some((False, GIVEN_UP)))], 99, expect![""]);
}

#[test]
fn each_of_several_tasks_is_judged_by_its_own_time_and_the_earliest_wakes() {
    let waiting =
        |name: &str, seconds| Guest { replace_after: Duration::from_secs(seconds), ..guest(name, None) };
    let tasks = [
        guest("old-1", Some((False, GIVEN_UP))),
        waiting("slow-1", 60),
        waiting("quick-1", 10),
        waiting("slow-2", 30),
        waiting("quick-2", 15),
        waiting("slow-3", 45),
    ];
    plans(
        machine(Some((False, 0)), Sight::Away(at(-6))),
        &tasks,
        15,
        expect![[r#"
            slow-1 reachable False NodeNotReady: node n1 is away since 1970-01-12T13:46:40Z: given up from 1970-01-12T13:47:40Z
            quick-1 reachable False GivenUp: node n1 is away since 1970-01-12T13:46:40Z: given up
            slow-2 reachable False NodeNotReady: node n1 is away since 1970-01-12T13:46:40Z: given up from 1970-01-12T13:47:10Z
            quick-2 reachable False GivenUp: node n1 is away since 1970-01-12T13:46:40Z: given up
            slow-3 reachable False NodeNotReady: node n1 is away since 1970-01-12T13:46:40Z: given up from 1970-01-12T13:47:25Z
            wake at 1970-01-12T13:47:10Z"#]],
    );
    let node = machine(Some((False, 0)), Sight::Away(at(-6)));
    let neighbours = [Neighbour::Away(at(0)); 4];
    let (mass_vanish, now) = (MassVanish::default(), at(99));
    let plan = plan(&Observed { node: &node, tasks: &tasks, neighbours: &neighbours, mass_vanish, now });
    assert_eq!((plan.wave.len(), plan.wake), (5, Some(at(109))));
}

#[test]
fn the_last_of_several_that_came_back_counts_wherever_it_stands() {
    let (node, tasks) = (machine(Some((False, 0)), Sight::Away(at(0))), [guest("web-1", None)]);
    for back in [[60, 61, 62], [62, 60, 61], [61, 62, 60]] {
        let mut neighbours = vec![Neighbour::Away(at(0))];
        neighbours.extend(back.map(|at_| Neighbour::There(at(at_))));
        let (mass_vanish, now) = (MassVanish::default(), at(63));
        let seen = Observed { node: &node, tasks: &tasks, neighbours: &neighbours, mass_vanish, now };
        assert_eq!(plan(&seen).wake, Some(at(77)), "{back:?}");
    }
}

/// What was said of these nodes and Tasks differs in its message alone.
#[test]
fn what_is_said_of_a_task_is_said_again_when_its_reason_in_words_is_another() {
    let tasks = [guest("web-1", Some((False, NODE_NOT_READY)))];
    plans(
        machine(Some((False, 0)), Sight::Away(at(-6))),
        &tasks,
        5,
        expect![[r#"
            web-1 reachable False NodeNotReady: node n1 is away since 1970-01-12T13:46:40Z: given up from 1970-01-12T13:46:55Z
            wake at 1970-01-12T13:46:55Z"#]],
    );
}

#[test]
fn nodes_vanish_together_within_a_minute_of_each_other_before_or_after() {
    for (others, together) in [(-61, false), (-60, true), (0, true), (60, true), (61, false)] {
        let (node, tasks) = (machine(Some((False, 0)), Sight::Away(at(0))), [guest("web-1", None)]);
        let mut neighbours =
            vec![Neighbour::There(at(-99)), Neighbour::There(at(-99)), Neighbour::Away(at(0))];
        neighbours.extend([Neighbour::Away(at(others)); 3]);
        let (mass_vanish, now) = (MassVanish::default(), at(900));
        let seen = Observed { node: &node, tasks: &tasks, neighbours: &neighbours, mass_vanish, now };
        assert_eq!(!text(&plan(&seen)).contains(GIVEN_UP), together, "{others}");
    }
}

/// Those that are back were there before: of nine nodes four are too few, and six were enough.
#[test]
fn nodes_that_came_back_count_among_those_that_were_there() {
    let (node, tasks) = (machine(Some((False, 0)), Sight::Away(at(0))), [guest("web-1", None)]);
    let mut neighbours = vec![Neighbour::Away(at(0)); 4];
    neighbours.extend([Neighbour::There(at(60)); 2]);
    neighbours.extend([Neighbour::There(at(-99)); 3]);
    let mass_vanish = MassVanish::default();
    let seen = |now| Observed { node: &node, tasks: &tasks, neighbours: &neighbours, mass_vanish, now };
    assert_eq!(plan(&seen(at(63))).wake, Some(at(75)));
    assert!(text(&plan(&seen(at(75)))).contains(GIVEN_UP));
}

#[test]
fn tasks_of_a_node_that_is_back_are_in_reach_unless_given_up() {
    let tasks = [
        guest("web-1", Some((False, NODE_NOT_READY))),
        guest("web-2", Some((False, GIVEN_UP))),
        guest("web-3", Some((True, "NodeReady"))),
        guest("web-4", None),
        guest("web-5", Some((False, NODE_NOT_READY))),
    ];
    let back = expect![[r#"
        web-1 reachable True NodeReady: node n1 is back
        web-5 reachable True NodeReady: node n1 is back"#]];
    plans(machine(Some((True, 0)), Sight::Present), &tasks, 5, back);
    let mut reversed = tasks;
    reversed.reverse();
    plans(
        machine(Some((True, 0)), Sight::Present),
        &reversed,
        5,
        expect![[r#"
        web-5 reachable True NodeReady: node n1 is back
        web-1 reachable True NodeReady: node n1 is back"#]],
    );
}

#[test]
fn nothing_is_replaced_when_more_than_half_and_more_than_three_nodes_vanish_at_once() {
    let replaced = |vanished: usize, there: usize, long_gone: usize| {
        let mut neighbours = vec![Neighbour::Away(at(0)); vanished];
        neighbours.extend(vec![Neighbour::There(at(-99)); there]);
        neighbours.extend(vec![Neighbour::Away(at(-3600)); long_gone]);
        let (node, tasks) = (machine(Some((False, 0)), Sight::Away(at(0))), [guest("web-1", None)]);
        let mass_vanish = MassVanish::default();
        let seen =
            Observed { node: &node, tasks: &tasks, neighbours: &neighbours, mass_vanish, now: at(900) };
        text(&plan(&seen)).contains(GIVEN_UP)
    };
    assert!(replaced(1, 0, 0));
    assert!(replaced(3, 0, 0));
    assert!(!replaced(4, 3, 0));
    assert!(replaced(4, 4, 0));
    assert!(!replaced(400, 399, 0));
    // Nodes that went long ago belong to neither side.
    assert!(!replaced(4, 3, 50));
    assert!(replaced(1, 3, 50));
}

fn sights() -> impl Strategy<Value = Sight> {
    prop_oneof![
        Just(Sight::Present),
        Just(Sight::Unseen),
        (-40i64..0).prop_map(|since| Sight::Away(at(since)))
    ]
}

fn guests() -> impl Strategy<Value = Vec<Guest>> {
    let reachable = prop_oneof![
        Just(None),
        Just(Some((True, "NodeReady"))),
        Just(Some((False, NODE_NOT_READY))),
        Just(Some((False, GIVEN_UP))),
    ];
    let one = (reachable, 0u64..40);
    prop::collection::vec(one, 0..6).prop_map(|guests| {
        let named = guests.into_iter().enumerate().map(|(n, (reachable, seconds))| Guest {
            replace_after: Duration::from_secs(seconds),
            ..guest(&format!("web-{n}"), reachable)
        });
        named.collect()
    })
}

fn machines() -> impl Strategy<Value = Machine> {
    let ready = prop_oneof![Just(None), (any::<bool>(), -40i64..0).prop_map(Some)];
    (ready, sights()).prop_map(|(ready, sight)| {
        machine(ready.map(|(holds, since)| (if holds { True } else { False }, since)), sight)
    })
}

fn neighbours() -> impl Strategy<Value = Vec<Neighbour>> {
    let one = prop_oneof![
        (-90i64..0).prop_map(|since| Neighbour::There(at(since))),
        (-90i64..0).prop_map(|since| Neighbour::Away(at(since)))
    ];
    prop::collection::vec(one, 1..12)
}

proptest! {
    #![proptest_config(berth_cases::cases(500))]

    #[test]
    fn only_tasks_of_a_node_that_is_away_for_their_time_are_given_up(
        node in machines(), tasks in guests(), neighbours in neighbours(),
    ) {
        let mass_vanish = MassVanish::default();
        let seen = Observed { node: &node, tasks: &tasks, neighbours: &neighbours, mass_vanish, now: at(0) };
        for action in plan(&seen).wave {
            let Action::SetReachable { task, verdict, .. } = action else { continue };
            if verdict.reason != GIVEN_UP { continue }
            let task = tasks.iter().find(|guest| guest.name == task).unwrap();
            prop_assert!(matches!(node.sight, Sight::Away(_)));
            let since = node.not_ready_since().unwrap_or(at(0));
            prop_assert!(at(0).since(since) >= task.replace_after);
        }
    }

    #[test]
    fn what_was_said_once_is_not_said_again(
        node in machines(), tasks in guests(), neighbours in neighbours(),
    ) {
        let mass_vanish = MassVanish::default();
        let seen = Observed { node: &node, tasks: &tasks, neighbours: &neighbours, mass_vanish, now: at(0) };
        let (mut node, mut tasks) = (node.clone(), tasks.clone());
        let set = |type_: &str, old: &Option<Condition>, verdict: Verdict| {
            let mut conditions: Vec<Condition> = old.iter().cloned().collect();
            let mut new = condition(type_, verdict.status, verdict.reason, 0);
            new.message = verdict.message;
            new.set(&mut conditions);
            conditions.pop()
        };
        for action in plan(&seen).wave {
            match action {
                Action::SetReady(verdict) => node.ready = set("Ready", &node.ready, verdict),
                Action::SetReachable { task, verdict, .. } => {
                    let task = tasks.iter_mut().find(|guest| guest.name == task).unwrap();
                    task.reachable = set("Reachable", &task.reachable, verdict);
                }
            }
        }
        let again = Observed { node: &node, tasks: &tasks, neighbours: &neighbours, mass_vanish, now: at(0) };
        prop_assert_eq!(plan(&again).wave, vec![]);
    }

    #[test]
    fn the_order_of_neighbours_changes_nothing(
        node in machines(), tasks in guests(),
        (neighbours, shuffled) in neighbours().prop_flat_map(|n| (Just(n.clone()), Just(n).prop_shuffle())),
    ) {
        let look = |neighbours: &[Neighbour]| {
            plan(&Observed {
                node: &node, tasks: &tasks, neighbours, mass_vanish: MassVanish::default(), now: at(0),
            })
        };
        prop_assert_eq!(look(&neighbours), look(&shuffled));
    }
}
