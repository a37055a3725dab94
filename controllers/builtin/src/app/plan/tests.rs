use expect_test::{Expect, expect};

use berth_types::app::MOST_GENERATION;

use super::super::observed::{Replica, Trouble, Wanted};
use super::*;

mod laws;
mod several;
mod stuck;

const NOW: i64 = 1_000_000_000;

/// The App `web` with default bounds, on the revision `web-new`.
fn web(replicas: u32) -> Wanted {
    let mut app = berth_types::app::App::default();
    app.metadata.name = "web".into();
    app.metadata.namespace = "default".into();
    app.metadata.generation = 1;
    app.spec.replicas = Some(replicas);
    let mut wanted = Wanted::read(&app).unwrap();
    wanted.revision = "web-new".into();
    wanted.status.tasks_created = 10;
    wanted.min_ready = Duration::ZERO;
    wanted
}

fn bounds(mut app: Wanted, keep: u32, most: u32) -> Wanted {
    app.rollout = Rollout::Rolling { keep, most };
    app
}

fn task(revision: &str, number: u64, life: Life) -> Replica {
    Replica {
        name: format!("web-{number}"),
        number,
        uid: format!("uid-{number}"),
        resource_version: format!("{}", number * 1024),
        revision: revision.into(),
        ordinal: u32::try_from(number).unwrap(),
        created: at(-3600),
        failed_before: 0,
        restarts_before: 0,
        restarts: 0,
        took_down: None,
        restarted: false,
        life,
        trouble: Trouble::None,
        task: Default::default(),
    }
}

fn old(number: u64, life: Life) -> Replica {
    task("web-old", number, life)
}

fn new(number: u64, life: Life) -> Replica {
    task("web-new", number, life)
}

/// The time `seconds` from now.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(NOW + seconds * 1000)
}

fn ready() -> Life {
    Life::Ready(at(-60))
}

fn revision(name: &str, number: i64) -> berth_types::revision::Revision {
    let mut revision = berth_types::revision::Revision::default();
    revision.metadata.name = name.into();
    revision.spec.number = number;
    revision
}

fn plan_of(app: &Wanted, tasks: &[Replica]) -> Plan {
    let revisions = [revision("web-older", 1), revision("web-old", 2), revision("web-new", 3)];
    plan(&Observed { app, tasks, revisions: &revisions, held: &|_| false, now: at(0) })
}

fn text(plan: &Plan) -> String {
    let mut lines: Vec<String> = plan.wave.iter().map(line).collect();
    if lines.is_empty() {
        let progressing = plan.status.conditions.iter().find(|c| c.type_ == "Progressing");
        let why = progressing.map_or("nothing to say", |condition| condition.message.as_str());
        lines.push(format!("wait: {why}"));
    }
    lines.join("\n")
}

fn line(action: &Action) -> String {
    match action {
        Action::SaveRevision { name, number } => format!("save revision {name} as {number}"),
        Action::RaiseRevision { name, number } => format!("raise revision {name} to {number}"),
        Action::DropRevision { name } => format!("drop revision {name}"),
        Action::Create { counter, tasks } => {
            let of = |task: &NewTask| match task.revision.as_str() {
                "web-new" => String::new(),
                revision => format!(" of {revision}"),
            };
            let born = |task: &NewTask| format!("{}{} for place {}", task.name, of(task), task.ordinal);
            let tasks: Vec<String> = tasks.iter().map(born).collect();
            format!("create {}, counter {counter}", tasks.join(", "))
        }
        Action::Stop { task, counting_on, why } => {
            let others: Vec<&str> = counting_on.iter().map(|task| task.name.as_str()).collect();
            format!("stop {} {why:?} [{}]", task.name, others.join(" "))
        }
    }
}

fn plans(app: Wanted, tasks: &[Replica], expected: Expect) {
    expected.assert_eq(&text(&plan_of(&app, tasks)));
}

#[test]
fn of_two_tasks_in_one_place_the_younger_is_replaced_within_the_bounds() {
    let double = |number, life| Replica { ordinal: 0, ..new(number, life) };
    let both = [double(3, ready()), new(0, ready())];
    plans(
        bounds(web(2), 1, 3),
        &both,
        expect![[r#"
        create web-10 for place 1, counter 11
        stop web-3 Doubled [web-0]"#]],
    );
    plans(bounds(web(2), 2, 3), &both, expect!["create web-10 for place 1, counter 11"]);
    plans(
        bounds(web(2), 2, 3),
        &[both.as_slice(), &[new(1, ready())]].concat(),
        expect!["stop web-3 Doubled [web-0 web-1]"],
    );
    plans(
        bounds(web(1), 1, 2),
        &[double(3, ready()), new(0, Life::Starting)],
        expect!["wait: 1 of 1 replicas not ready: web-0 is not running"],
    );
    plans(bounds(web(1), 1, 2), &both, expect!["stop web-3 Doubled [web-0]"]);
}

#[test]
fn missing_tasks_are_created_with_fresh_names_in_free_places() {
    plans(web(2), &[], expect!["create web-10 for place 0, web-11 for place 1, counter 12"]);
    plans(web(2), &[new(0, ready())], expect!["create web-10 for place 1, counter 11"]);
    plans(web(0), &[], expect!["wait: all replicas are on revision web-new"]);
    plans(web(2), &[new(0, ready()), new(1, ready())], expect!["wait: all replicas are on revision web-new"]);
}

#[test]
fn names_held_by_tasks_of_an_earlier_app_are_skipped() {
    let (app, revisions) = (web(2), [revision("web-new", 1)]);
    let held = |name: &str| name == "web-10" || name == "web-12";
    let plan = plan(&Observed { app: &app, tasks: &[], revisions: &revisions, held: &held, now: at(0) });
    expect!["create web-11 for place 0, web-13 for place 1, counter 14"].assert_eq(&text(&plan));
}

#[test]
fn behind_the_largest_number_of_a_revision_the_history_goes_on() {
    for (number, expected) in [
        (MOST_GENERATION - 1, MOST_GENERATION),
        (MOST_GENERATION, MOST_GENERATION),
        (i64::MAX, MOST_GENERATION),
    ] {
        let app = web(0);
        let others = [vec![], vec![revision("web-new", 1)]];
        for revisions in others.map(|own| [own, vec![revision("web-old", number)]].concat()) {
            let plan = plan(&Observed {
                app: &app,
                tasks: &[],
                revisions: &revisions,
                held: &|_| false,
                now: at(0),
            });
            let told = plan.wave.iter().find_map(|action| match action {
                Action::SaveRevision { number, .. } | Action::RaiseRevision { number, .. } => Some(*number),
                _ => None,
            });
            assert_eq!(told, Some(expected), "{revisions:?}");
        }
    }
}

#[test]
fn a_wave_creates_at_most_a_hundred_tasks() {
    let Some(Action::Create { counter, tasks }) = plan_of(&web(1000), &[]).wave.into_iter().next() else {
        panic!("tasks are created")
    };
    assert_eq!((counter, tasks.len()), (110, 100));
}

#[test]
fn a_rollout_starts_the_new_before_it_stops_the_old() {
    let olds = [old(0, ready()), old(1, ready())];
    let with = |third: Life| [olds.as_slice(), &[new(2, third)]].concat();
    plans(web(2), &olds, expect!["create web-10 for place 0, counter 11"]);
    plans(web(2), &with(Life::Unbound), expect!["wait: 1 of 2 replicas not ready: web-2 is not running"]);
    plans(web(2), &with(Life::Starting), expect!["wait: 1 of 2 replicas not ready: web-2 is not running"]);
    plans(web(2), &with(ready()), expect!["stop web-1 Outdated [web-2 web-0]"]);
}

#[test]
fn a_task_that_stops_holds_its_room_until_its_end() {
    let stopping = [old(0, ready()), old(1, Life::Stopping), new(2, ready())];
    let ended = [old(0, ready()), old(1, Life::Succeeded), new(2, ready())];
    let second = [old(0, ready()), new(2, ready()), new(3, ready())];
    let last = [old(0, Life::Stopping), new(2, ready()), new(3, ready())];
    plans(
        web(2),
        &stopping,
        expect!["wait: 1 of 2 replicas not created yet: web-1 must come to its end first"],
    );
    plans(web(2), &ended, expect!["create web-10 for place 1, counter 11"]);
    plans(web(2), &second, expect!["stop web-0 Outdated [web-2 web-3]"]);
    plans(web(2), &last, expect!["wait: 1 replica stopping: web-0"]);
}

#[test]
fn without_surge_the_old_goes_first() {
    let app = || bounds(web(2), 1, 2);
    let olds = [old(0, ready()), old(1, ready())];
    plans(app(), &olds, expect!["stop web-1 Outdated [web-0]"]);
    plans(
        app(),
        &[old(0, ready()), old(1, Life::Stopping)],
        expect!["wait: 2 of 2 replicas not created yet: web-1 must come to its end first"],
    );
    plans(app(), &[old(0, ready())], expect!["create web-10 for place 1, counter 11"]);
}

#[test]
fn a_new_revision_that_never_gets_ready_leaves_the_old_ones_alone() {
    let app = || bounds(web(3), 2, 4);
    let broken = [old(0, ready()), old(1, ready()), new(3, Life::Starting), new(4, Life::Starting)];
    plans(app(), &broken, expect!["wait: 2 of 3 replicas not ready: web-3 is not running"]);
    // Nor do they go when they are all down for a while, for they may be back.
    let down =
        [old(0, Life::Starting), old(1, Life::Starting), new(3, Life::Starting), new(4, Life::Starting)];
    plans(app(), &down, expect!["wait: 2 of 3 replicas not ready: web-3 is not running"]);
    // A third revision replaces the broken one first.
    let third = [
        old(0, ready()),
        old(1, ready()),
        task("web-broken", 3, Life::Starting),
        task("web-broken", 4, Life::Starting),
    ];
    plans(app(), &third, expect!["stop web-3 Outdated []\nstop web-4 Outdated []"]);
}

#[test]
fn recreate_ends_every_old_task_before_it_makes_a_new_one() {
    let app = || Wanted { rollout: Rollout::Recreate, ..web(2) };
    plans(
        app(),
        &[old(0, ready()), old(1, Life::Starting)],
        expect![[r#"
            stop web-0 Outdated []
            stop web-1 Outdated []"#]],
    );
    plans(
        app(),
        &[old(0, Life::Stopping), old(1, Life::Succeeded)],
        expect!["wait: 2 of 2 replicas not created yet: web-0 must come to its end first"],
    );
    plans(app(), &[], expect!["create web-10 for place 0, web-11 for place 1, counter 12"]);
}

#[test]
fn the_least_valuable_stop_first() {
    let tasks = [
        new(0, ready()),
        new(1, Life::Ready(at(-1))),
        new(2, Life::Starting),
        new(3, Life::Unbound),
        new(4, ready()),
    ];
    let app = |replicas| Wanted { min_ready: Duration::from_secs(10), ..web(replicas) };
    plans(app(4), &tasks, expect!["stop web-3 Surplus []"]);
    plans(
        app(2),
        &tasks,
        expect![[r#"
            stop web-1 Surplus [web-0 web-4]
            stop web-2 Surplus []
            stop web-3 Surplus []"#]],
    );
    plans(
        app(1),
        &[new(0, ready()), new(1, ready()), new(2, ready())],
        expect![[r#"
            stop web-1 Surplus [web-0]
            stop web-2 Surplus [web-0]"#]],
    );
}

#[test]
fn what_failed_is_replaced_at_once_and_then_with_growing_delay() {
    let failed = |row: u32, ended: i64| Replica {
        created: at(-100),
        failed_before: row,
        ..new(0, Life::Failed(at(ended)))
    };
    plans(web(1), &[failed(0, 0)], expect!["create web-10 for place 0, counter 11"]);
    plans(
        web(1),
        &[failed(2, 0)],
        expect!["wait: 1 of 1 replicas failed 3 times, next try 1970-01-12T13:46:42Z"],
    );
    plans(web(1), &[failed(2, -2)], expect!["create web-10 for place 0, counter 11"]);
    assert_eq!(plan_of(&web(1), &[failed(2, 0)]).wake, Some(at(2)));
    assert_eq!(plan_of(&web(1), &[failed(40, 0)]).wake, Some(at(60)));
}

#[test]
fn a_replacement_continues_the_waits_in_place_of_all_that_failed_before_it() {
    let failed = |number, failed_before, restarts_before, restarts| Replica {
        created: at(-100),
        failed_before,
        restarts_before,
        restarts,
        ..Replica { ordinal: 0, ..new(number, Life::Failed(at(-70))) }
    };
    let born = |tasks: &[Replica]| match plan_of(&web(1), tasks).wave.as_slice() {
        [Action::Create { tasks, .. }] => (tasks[0].failed_before, tasks[0].restarts_before),
        other => panic!("{other:?}"),
    };
    assert_eq!(born(&[]), (0, 0));
    assert_eq!(born(&[failed(0, 0, 0, 5)]), (1, 5));
    assert_eq!(born(&[failed(0, 0, 0, 5), failed(1, 1, 5, 5)]), (2, 10));
    assert_eq!(born(&[failed(0, 0, 0, 5), failed(1, 1, 5, 0)]), (2, 5));
    assert_eq!(born(&[failed(1, 1, u32::MAX, 5)]), (2, u32::MAX));
    let lived_well = Replica { created: at(-670), ..failed(1, 3, 15, 5) };
    assert_eq!(born(&[lived_well]), (1, 5));
}

#[test]
fn a_task_given_up_with_its_node_is_replaced_and_stopped_and_is_no_surge() {
    let app = || bounds(web(2), 1, 2);
    plans(
        app(),
        &[new(0, ready()), new(1, Life::GivenUp)],
        expect![[r#"
            create web-10 for place 1, counter 11
            stop web-1 GivenUp []"#]],
    );
    plans(
        app(),
        &[new(0, ready()), new(1, Life::WrittenOff)],
        expect!["create web-10 for place 1, counter 11"],
    );
    plans(
        app(),
        &[new(0, ready()), new(1, Life::Unreachable)],
        expect!["wait: 1 of 2 replicas not ready: web-1 is not running"],
    );
}

#[test]
fn a_task_counts_as_available_exactly_when_it_was_ready_for_long_enough() {
    let app = || Wanted { min_ready: Duration::from_secs(10), ..web(2) };
    let tasks = |since| [old(0, ready()), old(1, ready()), new(2, Life::Ready(at(since)))];
    assert_eq!(plan_of(&app(), &tasks(-9)).wake, Some(at(1)));
    plans(
        app(),
        &tasks(-9),
        expect![
            "wait: 1 of 2 replicas not available: web-2 is ready, and counts as available from 1970-01-12T13:46:41Z"
        ],
    );
    plans(app(), &tasks(-10), expect!["stop web-1 Outdated [web-2 web-0]"]);
}

#[test]
fn an_app_that_goes_stops_its_tasks_and_makes_none() {
    let app = Wanted { deleting: true, ..web(3) };
    plans(app, &[new(0, ready()), old(1, Life::Stopping)], expect!["stop web-0 AppDeleted []"]);
}

#[test]
fn history_keeps_the_newest_revisions_and_raises_one_that_is_asked_for_again() {
    let histories = |revisions: &[(&str, i64)], app: &Wanted| {
        let revisions: Vec<_> = revisions.iter().map(|(name, number)| revision(name, *number)).collect();
        let tasks = [new(0, ready()), old(1, Life::Stopping)];
        text(&plan(&Observed { app, tasks: &tasks, revisions: &revisions, held: &|_| false, now: at(0) }))
    };
    let app = Wanted { history: 1, ..web(1) };
    expect!["save revision web-new as 1"].assert_eq(&histories(&[], &app));
    expect!["save revision web-new as 4"].assert_eq(&histories(&[("web-a", 3)], &app));
    expect!["raise revision web-new to 6"].assert_eq(&histories(&[("web-new", 1), ("web-a", 5)], &app));
    expect!["drop revision web-a"].assert_eq(&histories(&[("web-new", 9), ("web-b", 4), ("web-a", 3)], &app));
    let still_used = &[("web-new", 9), ("web-b", 4), ("web-old", 3)];
    expect!["wait: 1 replica stopping: web-1"].assert_eq(&histories(still_used, &app));
    let mut stable = app.clone();
    stable.status.stable_revision = "web-a".into();
    expect!["wait: 1 replica stopping: web-1"]
        .assert_eq(&histories(&[("web-new", 9), ("web-b", 4), ("web-a", 3)], &stable));
    // The same in other words: its number stays.
    let mut reworded = app.clone();
    reworded.template.spec.drain_delay_seconds = Some(0);
    expect!["raise revision web-new to 9"].assert_eq(&histories(&[("web-new", 9)], &reworded));
}

#[test]
fn a_rollout_without_progress_says_so_at_its_deadline_and_takes_it_back_when_it_moves() {
    let mut app = Wanted { deadline: Duration::from_secs(30), ..web(1) };
    let mut says = |tasks: &[Replica], seconds: i64| {
        let revisions = [revision("web-new", 1)];
        let seen = Observed { app: &app, tasks, revisions: &revisions, held: &|_| false, now: at(seconds) };
        let plan = plan(&seen);
        app.status = plan.status.clone();
        let progressing = plan.status.conditions.into_iter().find(|c| c.type_ == "Progressing").unwrap();
        let wake = plan.wake.map(|wake| (wake.millis() - NOW) / 1000);
        format!("{:?} {} wake {wake:?}", progressing.status, progressing.reason)
    };
    let (starting, ready) = ([new(0, Life::Starting)], [new(0, Life::Ready(at(50)))]);
    expect!["True RollingOut wake Some(30)"].assert_eq(&says(&starting, 0));
    expect!["True RollingOut wake Some(30)"].assert_eq(&says(&starting, 29));
    expect!["False ProgressDeadlineExceeded wake None"].assert_eq(&says(&starting, 30));
    expect!["False ProgressDeadlineExceeded wake None"].assert_eq(&says(&starting, 40));
    expect!["False Complete wake None"].assert_eq(&says(&ready, 50));
    expect!["True RollingOut wake Some(90)"].assert_eq(&says(&starting, 60));
}

#[test]
fn an_app_says_how_many_are_missing_and_why_the_worst_of_them_is() {
    let sick = |number, trouble| Replica { trouble, ..new(number, Life::Starting) };
    let tasks = [
        new(0, ready()),
        sick(1, Trouble::OnItsWay("starts on node n1".into())),
        sick(2, Trouble::Container("BackOff exit 1, next try 08:10:11Z".into())),
    ];
    let plan = plan_of(&web(3), &tasks);
    let available = plan.status.conditions.iter().find(|c| c.type_ == "Available").unwrap();
    expect!["2 of 3 replicas not ready: web-2 BackOff exit 1, next try 08:10:11Z"]
        .assert_eq(&available.message);
    assert_eq!((plan.status.replicas, plan.status.updated_replicas), (3, 3));
    assert_eq!((plan.status.ready_replicas, plan.status.available_replicas), (1, 1));
}

#[test]
fn bounds_round_in_favour_of_a_rollout_that_can_move() {
    let rollout = |replicas: u32, surge: Option<&str>, missing: Option<&str>| {
        let text = |bound: Option<&str>| bound.map(|b| berth_types::task::IntOrString::String(b.into()));
        let mut app = berth_types::app::App::default();
        app.spec.replicas = Some(replicas);
        app.spec.strategy = Some(berth_types::app::Strategy {
            type_: String::new(),
            rolling_update: Some(berth_types::app::RollingUpdate {
                max_surge: text(surge),
                max_unavailable: text(missing),
            }),
        });
        match Wanted::read(&app).unwrap().rollout {
            Rollout::Rolling { keep, most } => (keep, most),
            Rollout::Recreate => panic!("it rolls"),
        }
    };
    assert_eq!(rollout(3, None, None), (3, 4));
    assert_eq!(rollout(4, None, None), (3, 5));
    assert_eq!(rollout(10, None, None), (8, 13));
    assert_eq!(rollout(1, Some("100%"), Some("0%")), (1, 2));
    assert_eq!(rollout(3, Some("0%"), Some("25%")), (2, 3));
    assert_eq!(rollout(0, None, None), (0, 0));
}

#[test]
fn a_revision_that_took_down_the_agents_of_two_nodes_goes_to_no_further_node() {
    let culprit = |number, node: &str| Replica {
        took_down: Some(node.into()),
        ordinal: 0,
        ..new(number, Life::Failed(at(-3600)))
    };
    let create = || expect!["create web-10 for place 0, counter 11"];
    plans(web(1), &[culprit(1, "a")], create());
    // The same node twice, and another Revision.
    plans(web(1), &[culprit(1, "a"), culprit(2, "a")], create());
    let other = |number, node| Replica { revision: "web-old".into(), ..culprit(number, node) };
    plans(web(1), &[other(1, "a"), other(2, "b"), culprit(3, "c")], create());

    let both = [culprit(1, "a"), culprit(2, "b")];
    plans(
        web(1),
        &both,
        expect![
            "wait: 1 of 1 replicas not created: revision web-new took down the agents of a, b and is sent to no further node: apply another template, or `ctl rollout restart app/web` to try it again"
        ],
    );
    assert_eq!(plan_of(&web(1), &both).status.halted_revision, "web-new");
    let elsewhere = Wanted { namespace: "shop".into(), ..web(1) };
    let text_there = text(&plan_of(&elsewhere, &both));
    assert!(text_there.contains("`ctl rollout restart app/web -n shop` to try"), "{text_there}");

    // What has a node stays where it is; what has none stops.
    let third = [culprit(1, "a"), culprit(2, "b"), new(5, Life::Unbound), new(6, ready())];
    plans(web(3), &third, expect!["stop web-5 Halted []"]);

    // The Tasks that showed it were collected; then a user asks for it again, or for another template.
    let mut app = web(1);
    app.status.halted_revision = "web-new".into();
    plans(
        app.clone(),
        &[],
        expect![
            "wait: 1 of 1 replicas not created: revision web-new took down the agents of several nodes and is sent to no further node: apply another template, or `ctl rollout restart app/web` to try it again"
        ],
    );
    app.revision = "web-old".into();
    assert!(text(&plan_of(&app, &[])).contains("create web-10 of web-old for place 0, counter 11"));
}

#[test]
fn the_replacement_of_a_task_that_took_down_an_agent_waits_like_any_other() {
    let culprit = |number, failed_before, ended| Replica {
        took_down: Some("a".into()),
        ordinal: 0,
        created: at(-100),
        failed_before,
        ..new(number, Life::Failed(at(ended)))
    };
    let first = [culprit(0, 0, 0)];
    plans(web(1), &first, expect!["create web-10 for place 0, counter 11"]);
    let second = [culprit(0, 0, -1), culprit(1, 1, 0)];
    plans(web(1), &second, expect!["wait: 1 of 1 replicas failed 2 times, next try 1970-01-12T13:46:41Z"]);
    assert_eq!(plan_of(&web(1), &second).wake, Some(at(1)));
    plans(web(1), &[culprit(1, 1, -1)], expect!["create web-10 for place 0, counter 11"]);
    // The pauses grow on, and end with the longest.
    for (failed_before, seconds) in [(2, 2), (3, 4), (6, 32), (40, 60)] {
        let failed = |ended| [culprit(7, failed_before, ended)];
        assert_eq!(plan_of(&web(1), &failed(0)).wake, Some(at(seconds)), "{failed_before}");
        let Action::Create { tasks, .. } = &plan_of(&web(1), &failed(-seconds)).wave[0] else {
            panic!("one is made")
        };
        assert_eq!(tasks[0].failed_before, failed_before + 1);
    }
}
