//! Rules over lists where it is the second of several that counts.

use super::*;

fn settling() -> Wanted {
    Wanted { min_ready: Duration::from_secs(10), ..web(3) }
}

#[test]
fn the_next_look_is_due_when_the_first_of_several_becomes_available() {
    let wake = |tasks: &[Replica]| plan_of(&settling(), tasks).wake.map(|at| (at.millis() - NOW) / 1000);
    let since = |number, seconds| new(number, Life::Ready(at(seconds)));
    assert_eq!(wake(&[since(0, -1), since(1, -7), since(2, -4)]), Some(3));
    assert_eq!(wake(&[since(0, -30), since(1, -2), since(2, -30)]), Some(8));
    // One of the old Revision counts too.
    assert_eq!(wake(&[old(0, Life::Ready(at(-6))), since(1, -2), since(2, -3)]), Some(4));
}

#[test]
fn of_several_that_failed_the_first_is_tried_first_and_the_worst_is_told() {
    let failed = |number: u64, row: u32, ended: i64| Replica {
        created: at(-100),
        failed_before: row,
        ..new(number, Life::Failed(at(ended)))
    };
    // 8 s, 4 s and 2 s after their ends.
    let plan = plan_of(&web(3), &[failed(0, 4, 0), failed(1, 3, -1), failed(2, 2, 0)]);
    assert_eq!(plan.wake, Some(at(2)));
    assert_eq!(text(&plan), "wait: 3 of 3 replicas failed 5 times, next try 1970-01-12T13:46:42Z");
    // Those whose pause is over are made, whichever they are.
    plans(
        web(3),
        &[failed(0, 4, 0), failed(1, 3, -4), failed(2, 2, -2)],
        expect!["create web-10 for place 1, web-11 for place 2, counter 12"],
    );
    // Of one place the newest counts, in whatever order they are seen.
    let of_place = |number, row, ended| Replica { ordinal: 0, ..failed(number, row, ended) };
    for tasks in [[of_place(1, 1, -9), of_place(5, 2, 0)], [of_place(5, 2, 0), of_place(1, 1, -9)]] {
        assert_eq!(plan_of(&web(1), &tasks).wake, Some(at(2)));
    }
}

#[test]
fn of_several_that_are_stuck_the_most_telling_is_named() {
    let stuck = |number, trouble| Replica { trouble, ..new(number, Life::Starting) };
    let says = |tasks: &[Replica]| text(&plan_of(&web(3), tasks));
    let way = || stuck(0, Trouble::OnItsWay("starts".into()));
    let away = || stuck(1, Trouble::NodeAway("is on node n1, which is away".into()));
    let container = |number| stuck(number, Trouble::Container("BackOff".into()));
    assert_eq!(
        says(&[way(), away(), new(2, ready())]),
        "wait: 2 of 3 replicas not ready: web-1 is on node n1, which is away"
    );
    assert_eq!(says(&[way(), away(), container(2)]), "wait: 3 of 3 replicas not ready: web-2 BackOff");
    // Of two with the same trouble the older.
    assert_eq!(
        says(&[new(0, ready()), container(2), container(1)]),
        "wait: 2 of 3 replicas not ready: web-1 BackOff"
    );
}

#[test]
fn every_task_that_was_given_up_is_stopped_and_replaced() {
    plans(
        bounds(web(3), 0, 4),
        &[new(0, Life::GivenUp), new(1, ready()), new(2, Life::GivenUp)],
        expect![[r#"
            create web-10 for place 0, web-11 for place 2, counter 12
            stop web-0 GivenUp []
            stop web-2 GivenUp []"#]],
    );
}

#[test]
fn every_revision_beyond_the_limit_is_dropped_but_those_in_use() {
    let dropped = |history: usize, revisions: &[(&str, i64)]| {
        let app = Wanted { history, ..web(1) };
        let revisions: Vec<_> = revisions.iter().map(|(name, number)| revision(name, *number)).collect();
        let tasks = [new(0, ready()), old(1, Life::Stopping)];
        let seen = Observed { app: &app, tasks: &tasks, revisions: &revisions, held: &|_| false, now: at(0) };
        text(&plan(&seen))
    };
    let all = [("web-new", 9), ("web-d", 8), ("web-old", 4), ("web-c", 5), ("web-b", 3)];
    expect!["drop revision web-b"].assert_eq(&dropped(2, &all));
    expect![[r#"
        drop revision web-b
        drop revision web-c"#]]
    .assert_eq(&dropped(1, &all));
    expect![[r#"
        drop revision web-b
        drop revision web-c
        drop revision web-d"#]]
    .assert_eq(&dropped(0, &all));
}

#[test]
fn conditions_of_others_stay_where_they_are() {
    let condition = |type_: &str| berth_types::Condition {
        type_: type_.into(),
        status: berth_types::ConditionStatus::True,
        observed_generation: 1,
        last_transition_time: at(-9),
        reason: "Told".into(),
        message: "by another".into(),
    };
    let mut app = web(1);
    app.status.conditions = ["First", "Progressing", "Between", "Available", "Last"].map(condition).into();
    let after = plan_of(&app, &[new(0, ready())]).status.conditions;
    let told: Vec<(&str, &str)> = after.iter().map(|one| (one.type_.as_str(), one.reason.as_str())).collect();
    assert_eq!(
        told,
        [
            ("First", "Told"),
            ("Progressing", "Complete"),
            ("Between", "Told"),
            ("Available", "EnoughAvailable"),
            ("Last", "Told")
        ]
    );
}
