use std::time::Duration;

use berth_types::task::{Container, HttpGet, IntOrString, Port, Probe, Task};
use expect_test::{Expect, expect};

use super::*;
use crate::assignment::Assignment;
use crate::plan::{Exit, Fate, Finding, Live, Trouble};

fn run() -> TaskRun {
    let mut task = Task::default();
    task.metadata.uid = "0".repeat(32);
    task.spec.containers = vec![Container {
        name: "web".into(),
        command: vec!["x".into()],
        ports: vec![Port { name: "http".into(), host_port: Some(80) }],
        readiness_probe: Some(Probe {
            http_get: Some(HttpGet { path: "/".into(), port: IntOrString::String("http".into()) }),
            ..Probe::default()
        }),
        ..Container::default()
    }];
    TaskRun::new(Assignment::try_from(&task).unwrap())
}

fn live(run: &mut TaskRun, since: i64) -> &mut Live {
    let container = &mut run.containers[0];
    container.state = RunState::Running(Live::new(Timestamp::from_millis(since), &container.program));
    match &mut container.state {
        RunState::Running(live) => live,
        other => panic!("{other:?}"),
    }
}

fn ready(run: &mut TaskRun, since: i64) {
    let plan = run.containers[0].program.readiness.clone().unwrap();
    live(run, since).readiness.as_mut().unwrap().count(&plan, Finding::Good);
}

fn told(run: &TaskRun, before: &TaskStatus) -> TaskStatus {
    report(run, before, "10.0.0.1", Timestamp::from_millis(9_000)).unwrap()
}

fn is(run: &TaskRun, expected: Expect) {
    let status = told(run, &TaskStatus::default());
    let ready = Condition::find(&status.conditions, "Ready").unwrap();
    let state = serde_json::to_string(&status.container_statuses[0]).unwrap();
    expected.assert_eq(&format!(
        "{} {} / Ready {:?} {} {}\n{state}\n",
        status.phase, status.reason, ready.status, ready.reason, ready.message
    ));
}

fn ended(code: i32, cause: ExitCause, message: &str) -> EndedAttempt {
    let exit = Exit { code, cause, at: Timestamp::from_millis(2_000), message: message.into() };
    EndedAttempt { number: 0, started: Some(Timestamp::from_millis(1_000)), exit }
}

#[test]
fn a_status_says_what_its_containers_do_and_why_the_task_is_not_ready() {
    let mut task = run();
    is(
        &task,
        expect![[r#"
        Starting  / Ready False NotReady container web is being started
        {"name":"web","ready":false,"restartCount":0,"state":{"waiting":{"reason":"Creating"}}}
    "#]],
    );
    task.home = Home::Failed {
        trouble: Trouble { reason: "ImageError", message: "no such image".into() },
        until: Timestamp::from_millis(5_000),
    };
    is(
        &task,
        expect![[r#"
        Starting  / Ready False NotReady no such image
        {"name":"web","ready":false,"restartCount":0,"state":{"waiting":{"reason":"ImageError","message":"no such image; next try at 1970-01-01T00:00:05Z"}}}
    "#]],
    );
    task.home = Home::Ready;
    ready(&mut task, 1_000);
    is(
        &task,
        expect![[r#"
        Running  / Ready True Ready 
        {"name":"web","ready":true,"restartCount":0,"state":{"running":{"startedAt":"1970-01-01T00:00:01Z"}}}
    "#]],
    );
    let container = &mut task.containers[0];
    container.attempt = 1;
    container.last = Some(ended(137, ExitCause::OutOfMemory, "ended by signal 9"));
    container.state = RunState::BackOff { until: Timestamp::from_millis(3_000) };
    is(
        &task,
        expect![[r#"
        Running  / Ready False NotReady container web ended and waits for its restart
        {"name":"web","ready":false,"restartCount":0,"state":{"waiting":{"reason":"BackOff","message":"restarts at 1970-01-01T00:00:03Z"}},"lastState":{"terminated":{"exitCode":137,"reason":"OOMKilled","message":"ended by signal 9","startedAt":"1970-01-01T00:00:01Z","finishedAt":"1970-01-01T00:00:02Z"}}}
    "#]],
    );
    task.containers[0].last = Some(ended(128, ExitCause::NotStarted, "port 80 is held by x (pid 7)"));
    is(
        &task,
        expect![[r#"
        Running  / Ready False NotReady container web could not be started: port 80 is held by x (pid 7)
        {"name":"web","ready":false,"restartCount":0,"state":{"waiting":{"reason":"CreateError","message":"port 80 is held by x (pid 7); next try at 1970-01-01T00:00:03Z"}},"lastState":{"terminated":{"exitCode":128,"reason":"CreateError","message":"port 80 is held by x (pid 7)","startedAt":"1970-01-01T00:00:01Z","finishedAt":"1970-01-01T00:00:02Z"}}}
    "#]],
    );
    task.containers[0].last = Some(ended(137, ExitCause::OutOfMemory, "ended by signal 9"));
    task.course = Course::Draining {
        until: Timestamp::from_millis(0),
        grace: Duration::ZERO,
        ending: Ending::Failed { reason: "TooManyRestarts".into(), message: "m".into() },
    };
    task.containers[0].state = RunState::Ended;
    is(
        &task,
        expect![[r#"
        Stopping TooManyRestarts / Ready False Stopping 
        {"name":"web","ready":false,"restartCount":1,"state":{"terminated":{"exitCode":137,"reason":"OOMKilled","message":"ended by signal 9","startedAt":"1970-01-01T00:00:01Z","finishedAt":"1970-01-01T00:00:02Z"}}}
    "#]],
    );
    task.course = Course::Done { ending: Ending::Stopped };
    is(
        &task,
        expect![[r#"
        Succeeded Stopped / Ready False Ended 
        {"name":"web","ready":false,"restartCount":1,"state":{"terminated":{"exitCode":137,"reason":"OOMKilled","message":"ended by signal 9","startedAt":"1970-01-01T00:00:01Z","finishedAt":"1970-01-01T00:00:02Z"}}}
    "#]],
    );
}

#[test]
fn an_attempt_that_was_ready_stays_so_until_an_adopting_agent_has_checked_it() {
    let mut task = run();
    ready(&mut task, 1_000);
    let before = told(&task, &TaskStatus::default());
    assert!(Condition::holds(&before.conditions, "Ready"));
    live(&mut task, 1_000);
    assert_eq!(told(&task, &before), before);
    live(&mut task, 1_500);
    assert!(!Condition::holds(&told(&task, &before).conditions, "Ready"));
    live(&mut task, 1_000).fate = Fate::Killed;
    assert!(!Condition::holds(&told(&task, &before).conditions, "Ready"));
}

#[test]
fn conditions_of_others_stay_and_nobody_is_told_of_what_the_store_does_not_know() {
    let mut task = run();
    let scheduled = Condition {
        type_: "Scheduled".into(),
        status: ConditionStatus::True,
        observed_generation: 0,
        last_transition_time: Timestamp::from_millis(0),
        reason: String::new(),
        message: String::new(),
    };
    let before = TaskStatus { conditions: vec![scheduled.clone()], ..TaskStatus::default() };
    assert_eq!(Condition::find(&told(&task, &before).conditions, "Scheduled"), Some(&scheduled));
    task.course = Course::Done { ending: Ending::Unwanted };
    assert_eq!(report(&task, &before, "10.0.0.1", Timestamp::from_millis(0)), None);
}

#[test]
fn a_phase_that_was_told_is_not_taken_back() {
    for (before, expected) in [
        ("", "Starting"),
        ("Starting", "Starting"),
        ("Running", "Running"),
        ("Stopping", "Stopping"),
        ("Failed", "Failed"),
    ] {
        let before = TaskStatus { phase: before.into(), ..TaskStatus::default() };
        assert_eq!(told(&run(), &before).phase, expected);
    }
}
