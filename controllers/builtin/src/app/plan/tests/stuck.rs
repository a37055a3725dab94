//! Rollouts that do not get on: what is lost meanwhile, what counts as progress, and what they wait for.

use std::sync::Arc;

use super::*;

/// `web` of which the old Revision was available last.
fn updated(replicas: u32, keep: u32, most: u32) -> Wanted {
    let mut app = bounds(web(replicas), keep, most);
    app.status.stable_revision = "web-old".into();
    app
}

#[test]
fn what_is_lost_while_a_rollout_is_stuck_comes_back_from_the_revision_that_was_available() {
    let broken = |number, ordinal| Replica { ordinal, ..new(number, Life::Starting) };
    let stuck = |olds: &[Replica]| [olds, &[broken(3, 0)]].concat();
    // One is lost, then all are.
    plans(
        updated(3, 3, 4),
        &stuck(&[old(1, ready()), old(2, ready())]),
        expect!["create web-10 of web-old for place 0, counter 11"],
    );
    plans(
        updated(3, 3, 4),
        &stuck(&[old(1, Life::Failed(at(-9))), old(0, ready()), old(2, ready())]),
        expect!["create web-10 of web-old for place 1, counter 11"],
    );
    plans(
        updated(3, 3, 4),
        &stuck(&[]),
        expect![
            "create web-10 of web-old for place 1, web-11 of web-old for place 2, web-12 of web-old for place 0, counter 13"
        ],
    );
    // One that may come back is not lost; one that was given up with its node is.
    plans(
        updated(3, 3, 4),
        &stuck(&[old(0, Life::Unreachable), old(1, ready()), old(2, ready())]),
        expect!["wait: 1 of 3 replicas not ready: web-3 is not running"],
    );
    plans(
        updated(3, 3, 4),
        &stuck(&[old(0, Life::WrittenOff), old(1, ready()), old(2, ready())]),
        expect!["create web-10 of web-old for place 0, counter 11"],
    );
    // New ones that are available make up for old ones, and those that wait for their next try keep their room.
    plans(
        updated(3, 2, 4),
        &[old(1, ready()), new(3, ready()), broken(4, 1)],
        expect!["create web-10 for place 0, counter 11"],
    );
    let failing = Replica { failed_before: 8, created: at(-100), ..old(0, Life::Failed(at(0))) };
    plans(
        updated(3, 3, 4),
        &stuck(&[failing, old(1, ready()), old(2, ready())]),
        expect!["wait: 1 of 3 replicas not ready: web-3 is not running"],
    );
    // What the bounds let go is not missed, nor does a Recreate bring anything back.
    plans(
        updated(3, 2, 4),
        &[old(1, ready()), old(2, ready()), broken(3, 0), broken(4, 1)],
        expect!["wait: 2 of 3 replicas not ready: web-3 is not running"],
    );
    let recreate = || Wanted { rollout: Rollout::Recreate, ..updated(2, 2, 2) };
    plans(
        recreate(),
        &[old(1, Life::Failed(at(-9))), broken(3, 0)],
        expect!["create web-10 for place 1, counter 11"],
    );
}

#[test]
fn a_rollout_that_is_stuck_grows_on_both_revisions() {
    let stuck = |olds: u64, news: u64| -> Vec<Replica> {
        let olds = (0..olds).map(|number| old(number, ready()));
        let ordinal = |number| u32::try_from(number).unwrap();
        let news = (0..news).map(|n| Replica { ordinal: ordinal(n), ..new(20 + n, Life::Starting) });
        olds.chain(news).collect()
    };
    let grown = |app: Wanted, tasks: &[Replica]| {
        let plan = plan_of(&app, tasks);
        let [Action::Create { tasks, .. }] = plan.wave.as_slice() else { panic!("{}", text(&plan)) };
        let old = tasks.iter().filter(|task| task.revision == "web-old").count();
        let places: std::collections::BTreeSet<(&str, u32)> =
            tasks.iter().map(|task| (task.revision.as_str(), task.ordinal)).collect();
        assert_eq!(places.len(), tasks.len());
        (old, tasks.len() - old)
    };
    // 25% and 25% of 4 and 8, of 10 and 20; one more and none less of 3 and 6.
    assert_eq!(grown(updated(8, 6, 10), &stuck(3, 2)), (3, 2));
    assert_eq!(grown(updated(20, 15, 25), &stuck(8, 5)), (7, 5));
    assert_eq!(grown(updated(6, 6, 7), &stuck(3, 1)), (3, 0));
}

#[test]
fn a_new_revision_replaces_one_that_was_available_and_is_broken_now() {
    let dead = |number| Replica { failed_before: 9, created: at(-100), ..old(number, Life::Failed(at(0))) };
    // The old ones wait for their next try; the new one is made beside them, and once available counts for one of them.
    plans(updated(3, 3, 4), &[dead(0), dead(1), dead(2)], expect!["create web-10 for place 0, counter 11"]);
    plans(
        updated(3, 3, 4),
        &[dead(0), dead(1), dead(2), Replica { ordinal: 0, ..new(3, ready()) }],
        expect!["create web-10 for place 1, counter 11"],
    );
    // A third Revision: what nobody counts on goes first, though it is older than what came back.
    let back = Replica { created: at(-1), ..old(5, Life::Unbound) };
    plans(
        updated(3, 3, 4),
        &[old(0, ready()), old(1, ready()), back, task("web-broken", 3, Life::Starting)],
        expect!["stop web-3 Outdated []"],
    );
}

#[test]
fn the_revision_that_was_available_last_is_the_one_of_the_last_complete_rollout() {
    let stable = |app: &Wanted, tasks: &[Replica]| plan_of(app, tasks).status.stable_revision;
    assert_eq!(stable(&updated(1, 1, 2), &[old(0, ready()), new(1, Life::Starting)]), "web-old");
    assert_eq!(stable(&updated(1, 1, 2), &[old(0, Life::Stopping), new(1, ready())]), "web-old");
    assert_eq!(stable(&updated(1, 1, 2), &[new(1, ready())]), "web-new");
    assert_eq!(stable(&updated(0, 0, 0), &[]), "");
    // Of an App that was never complete it is one that runs; and one whose template is gone is of no use.
    plans(
        bounds(web(3), 3, 4),
        &[old(1, ready()), old(2, ready()), new(3, Life::Starting)],
        expect!["create web-10 of web-old for place 0, counter 11"],
    );
    // Nor is one that took down the agents of nodes.
    let mut halted = updated(1, 1, 2);
    halted.status.halted_revision = "web-old".into();
    plans(halted, &[], expect!["create web-10 for place 0, counter 11"]);
    let mut gone = updated(1, 1, 2);
    gone.status.stable_revision = "web-gone".into();
    plans(gone, &[], expect!["create web-10 for place 0, counter 11"]);
}

/// What `Progressing` says over time of Tasks whose lives are given with the second at which they are seen.
fn progress(app: &mut Wanted, tasks: &[Replica], seconds: i64) -> String {
    let revisions = [revision("web-new", 1)];
    let plan = plan(&Observed { app, tasks, revisions: &revisions, held: &|_| false, now: at(seconds) });
    app.status = plan.status.clone();
    let progressing = plan.status.conditions.into_iter().find(|c| c.type_ == "Progressing").unwrap();
    let wake = plan.wake.map(|wake| (wake.millis() - NOW) / 1000);
    format!("{seconds}: {} wake {wake:?}", progressing.reason)
}

#[test]
fn tasks_of_a_revision_that_failed_are_no_progress_before_one_has_lived() {
    let deadline = || Wanted { deadline: Duration::from_secs(20), ..web(2) };
    let failed = |number, ended| Replica { created: at(ended - 1), ..new(number, Life::Failed(at(ended))) };
    let again =
        |number, since| Replica { ordinal: 0, failed_before: 1, ..new(number, Life::Ready(at(since))) };
    let other = |life| Replica { ordinal: 1, ..new(1, life) };

    // Each attempt is ready for a moment.
    let mut app = deadline();
    expect!["0: RollingOut wake Some(20)"].assert_eq(&progress(&mut app, &[other(Life::Starting)], 0));
    let tasks = [failed(0, 1), again(2, 1), other(Life::Ready(at(1)))];
    expect!["1: RollingOut wake Some(6)"].assert_eq(&progress(&mut app, &tasks, 1));
    let tasks = [failed(0, 1), failed(2, 2), again(3, 18), other(Life::Starting)];
    expect!["18: RollingOut wake Some(20)"].assert_eq(&progress(&mut app, &tasks, 18));
    expect!["20: ProgressDeadlineExceeded wake Some(23)"].assert_eq(&progress(&mut app, &tasks, 20));
    let tasks = [failed(0, 1), failed(2, 2), failed(3, 21), again(4, 21), other(Life::Ready(at(21)))];
    expect!["21: ProgressDeadlineExceeded wake Some(26)"].assert_eq(&progress(&mut app, &tasks, 21));
    // One lives: it was progress, and with all of them the rollout is over.
    expect!["26: Complete wake None"].assert_eq(&progress(&mut app, &tasks, 26));

    // In place, on one of two; it lives when the other has lived.
    let restarted = |since| Replica { restarted: true, ..new(0, Life::Ready(at(since))) };
    let mut app = deadline();
    expect!["3: RollingOut wake Some(8)"].assert_eq(&progress(
        &mut app,
        &[restarted(3), other(Life::Ready(at(3)))],
        3,
    ));
    expect!["9: Complete wake None"].assert_eq(&progress(
        &mut app,
        &[restarted(9), other(Life::Ready(at(3)))],
        9,
    ));
    // What failed of another Revision says nothing of this one.
    let mut app = deadline();
    let tasks = [old(7, Life::Failed(at(-9))), new(0, Life::Ready(at(0))), other(Life::Ready(at(0)))];
    expect!["0: Complete wake None"].assert_eq(&progress(&mut app, &tasks, 0));
}

#[test]
fn a_task_that_failed_is_no_progress_before_it_has_lived_though_another_has() {
    let app = |replicas, min_ready| Wanted {
        deadline: Duration::from_secs(20),
        min_ready: Duration::from_secs(min_ready),
        ..web(replicas)
    };
    let fine = || Replica { ordinal: 1, ..new(1, Life::Ready(at(0))) };
    let restarted = |life| Replica { restarted: true, ..new(0, life) };
    let again = |since| Replica { ordinal: 0, failed_before: 1, ..new(2, Life::Ready(at(since))) };

    // One of two is ready for a moment of each attempt, restarted in place or replaced.
    let mut two = app(2, 10);
    let mut says = |tasks: &[Replica], seconds| progress(&mut two, tasks, seconds);
    expect!["0: RollingOut wake Some(10)"].assert_eq(&says(&[fine(), new(0, Life::Starting)], 0));
    expect!["12: RollingOut wake Some(20)"].assert_eq(&says(&[fine(), restarted(Life::Ready(at(12)))], 12));
    expect!["20: ProgressDeadlineExceeded wake None"]
        .assert_eq(&says(&[fine(), restarted(Life::Starting)], 20));
    expect!["25: ProgressDeadlineExceeded wake Some(35)"]
        .assert_eq(&says(&[fine(), restarted(Life::Ready(at(25)))], 25));
    expect!["26: ProgressDeadlineExceeded wake Some(36)"].assert_eq(&says(&[fine(), again(26)], 26));
    expect!["36: Complete wake None"].assert_eq(&says(&[fine(), again(26)], 36));

    // Once it has lived it is progress, though the third is still to come.
    let mut three = app(3, 0);
    let mut says = |second: Replica, seconds| {
        let third = Replica { ordinal: 2, ..new(5, Life::Starting) };
        progress(&mut three, &[fine(), second, third], seconds)
    };
    expect!["0: RollingOut wake Some(20)"].assert_eq(&says(new(0, Life::Starting), 0));
    expect!["20: ProgressDeadlineExceeded wake None"].assert_eq(&says(restarted(Life::Starting), 20));
    expect!["25: ProgressDeadlineExceeded wake Some(30)"]
        .assert_eq(&says(restarted(Life::Ready(at(25))), 25));
    expect!["30: RollingOut wake Some(50)"].assert_eq(&says(restarted(Life::Ready(at(25))), 30));
}

#[test]
fn a_rollout_that_waits_for_room_that_its_own_old_task_holds_says_so() {
    let ask = |spec: serde_json::Value| {
        Arc::new(
            serde_json::from_value::<berth_types::task::Task>(serde_json::json!({ "spec": spec })).unwrap(),
        )
    };
    let requests = |node: &str, requests: serde_json::Value| {
        ask(
            serde_json::json!({ "nodeName": node, "containers": [{}, { "resources": { "requests": requests } }] }),
        )
    };
    let port = |node: &str, port: u16| {
        let other = if node.is_empty() { 78 } else { 79 };
        let ports =
            serde_json::json!([{ "name": "a", "hostPort": other }, { "name": "b", "hostPort": port }]);
        ask(serde_json::json!({ "nodeName": node, "containers": [{ "ports": ports }] }))
    };
    let says = |app: &Wanted, old_task: &Arc<berth_types::task::Task>, new_task, why: &str| {
        let trouble = Trouble::Unplaced(format!("found no node: 0 of 2 nodes fit: {why}"));
        let tasks = [
            Replica { task: old_task.clone(), ..old(0, ready()) },
            Replica { task: new_task, trouble, ..new(1, Life::Unbound) },
        ];
        let plan = plan_of(app, &tasks);
        let progressing = plan.status.conditions.into_iter().find(|c| c.type_ == "Progressing").unwrap();
        progressing.message.split_once(';').map_or(String::new(), |(_, held)| held.trim().to_owned())
    };
    let remedy = " and stops only after web-1 is available; set spec.strategy.rollingUpdate.maxUnavailable to 1 to \
                  stop it first";
    let taken = "1 cordoned, 1 with a host port taken";
    let short =
        "1 not enough memory (nearest n2 is short of 8Mi), 1 not enough cpu (nearest n1 is short of 200m)";
    let (one, may_miss_one) = (bounds(web(1), 1, 2), bounds(web(1), 0, 2));
    let cpu = |amount: &str| serde_json::json!({ "cpu": amount });
    let memory = serde_json::json!({ "memory": "8Mi" });
    for (old_task, new_task, why, expected) in [
        (port("n1", 80), port("", 80), taken, "its own web-0 holds port 80 on n1"),
        (
            requests("n1", cpu("200m")),
            requests("", cpu("1")),
            short,
            "its own web-0 holds the cpu that is missing on n1",
        ),
        (
            requests("n2", memory),
            requests("", cpu("1")),
            short,
            "its own web-0 holds the memory that is missing on n2",
        ),
        (requests("n1", cpu("199m")), requests("", cpu("1")), short, ""),
        (requests("n2", cpu("2")), requests("", cpu("1")), short, ""),
        (requests("", cpu("2")), requests("", cpu("1")), short, ""),
        (port("n1", 80), port("", 80), short, ""),
        (requests("n1", cpu("1")), port("", 80), taken, ""),
    ] {
        let expected = if expected.is_empty() { String::new() } else { format!("{expected}{remedy}") };
        assert_eq!(says(&one, &old_task, new_task, why), expected, "{why}");
    }
    assert_eq!(
        says(&may_miss_one, &port("n1", 80), port("", 80), taken),
        "its own web-0 holds port 80 on n1"
    );
}
