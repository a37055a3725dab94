//! A disk that is too full.

use super::*;

fn going(course: Course) -> Option<(TaskUid, u64)> {
    let mut state = State::default();
    for n in 1..=3 {
        state.tasks.insert(uid(n), TaskRun::new(task(n, &["a"])));
    }
    state.tasks.get_mut(&uid(3)).unwrap().course = course;
    let uses = BTreeMap::from([(uid(1), 10), (uid(2), 20), (uid(3), 30), (uid(4), 40)]);
    state.to_relieve(&uses, 1000, at(20_000))
}

#[test]
fn the_task_that_uses_most_goes_and_one_at_a_time() {
    let ending = || Ending::Stopped;
    let (next, later) = (Some((uid(2), 20)), at(20_001));
    let grace = Duration::from_secs(60);
    for (course, expected) in [
        (Course::Running, Some((uid(3), 30))),
        (Course::Draining { until: later, grace, ending: ending() }, Some((uid(3), 30))),
        (Course::Terminating { kill_at: later, ending: ending() }, Some((uid(3), 30))),
        (Course::Terminating { kill_at: at(20_000), ending: ending() }, None),
        (Course::Terminating { kill_at: at(10_001), ending: ending() }, None),
        // Nothing kills it: it keeps the disk, and no other Task from being stopped.
        (Course::Terminating { kill_at: at(10_000), ending: ending() }, next.clone()),
        (Course::Cleaning { ending: ending(), next: None }, None),
        (Course::Cleaning { ending: ending(), next: Some(later) }, next.clone()),
        (Course::Done { ending: ending() }, next),
    ] {
        assert_eq!(going(course.clone()), expected, "{course:?}");
    }
}

#[test]
fn no_task_goes_that_uses_next_to_nothing() {
    let mut state = State::default();
    state.tasks.insert(uid(1), TaskRun::new(task(1, &["a"])));
    for (bytes, expected) in [(0, None), (10, None), (11, Some((uid(1), 11)))] {
        assert_eq!(state.to_relieve(&BTreeMap::from([(uid(1), bytes)]), 1000, at(0)), expected, "{bytes}");
    }
    assert_eq!(state.to_relieve(&BTreeMap::new(), 1000, at(0)), None);
}

#[test]
fn a_task_that_fills_the_disk_is_killed_without_drain_and_grace_and_has_failed() {
    let web = task(1, &["a"]);
    Story::up(&web)
        .then(100, Event::FillsDisk { task: uid(1), message: "60Mi".into() })
        .then(110, Event::Exited { attempt: attempt(1, "a", 0), exit: exit(137, 110) })
        .is(expect![[r#"
            100: KILL a#0
            110: clean up Failed { reason: "DiskPressure", message: "60Mi" }
        "#]]);
    let web = task(1, &["a"]);
    Story::up(&web)
        .then(100, stop(&web))
        .then(2_100, tick())
        .then(2_200, Event::FillsDisk { task: uid(1), message: "60Mi".into() })
        .then(2_300, Event::Exited { attempt: attempt(1, "a", 0), exit: exit(137, 2_300) })
        .is(expect![[r#"
            100: 
            2100: TERM a#0
            2200: KILL a#0
            2300: clean up Stopped
        "#]]);
}

#[test]
fn no_other_task_goes_just_after_one_made_room() {
    let mut state = State::default();
    for n in 1..=2 {
        state.tasks.insert(uid(n), TaskRun::new(task(n, &["a"])));
    }
    let uses = BTreeMap::from([(uid(1), 10_000), (uid(2), 20_000)]);
    let chosen = |state: &State, millis| state.to_relieve(&uses, 1000, at(millis)).map(|(uid, _)| uid);
    assert_eq!(chosen(&state, 0), Some(uid(2)));
    step(&mut state, Event::FillsDisk { task: uid(2), message: "60Mi".into() }, at(0));
    step(&mut state, Event::Cleaned { task: uid(2), outcome: Ok(()) }, at(1_000));
    for (millis, expected) in [(1_000, None), (5_999, None), (6_000, Some(uid(1)))] {
        assert_eq!(chosen(&state, millis), expected, "{millis} ms");
    }
}
