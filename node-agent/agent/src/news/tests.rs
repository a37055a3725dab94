use berth_types::Timestamp;
use berth_types::task::{Container, HttpGet, IntOrString, Port, Probe, Task};
use expect_test::{Expect, expect};

use super::*;
use crate::assignment::{Assignment, TaskUid};
use crate::plan::{Attempt, Event, Exit, Finding, ProbeKind, State, Trouble, Wish, step};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn uid() -> TaskUid {
    TaskUid::parse(&"0".repeat(32)).unwrap()
}

fn attempt(number: u32) -> Attempt {
    Attempt { task: uid(), container: "web".into(), number }
}

/// A Task as its agent sees it, and what was told of it.
struct Life {
    state: State,
    now: i64,
    told: String,
}

impl Life {
    fn new() -> Self {
        let mut task = Task::default();
        task.metadata.uid = "0".repeat(32);
        let http = HttpGet { path: "/".into(), port: IntOrString::String("http".into()) };
        let failures = Some(2);
        task.spec.containers = vec![Container {
            name: "web".into(),
            command: vec!["x".into()],
            ports: vec![Port { name: "http".into(), host_port: Some(80) }],
            readiness_probe: Some(Probe {
                http_get: Some(http),
                failure_threshold: failures,
                ..Probe::default()
            }),
            ..Container::default()
        }];
        let assignment = Assignment::try_from(&task).unwrap();
        let life = Self { state: State::default(), now: 0, told: String::new() };
        life.then(Event::Seen { assignment, wish: Wish::Run })
    }

    /// A while later.
    fn then(mut self, event: Event) -> Self {
        self.now += 20_000;
        let before = self.state.task(&uid()).cloned();
        step(&mut self.state, event, at(self.now));
        let after = self.state.task(&uid());
        for told in after.map(|after| news(before.as_ref(), after)).unwrap_or_default() {
            self.told += &format!("{}: {}\n", told.reason, told.message);
        }
        self
    }

    fn prepared(self) -> Self {
        self.then(Event::Prepared { task: uid(), outcome: Ok(vec![]) })
    }

    fn started(self, number: u32) -> Self {
        let since = at(self.now);
        self.then(Event::Started { attempt: attempt(number), outcome: Ok(since) })
    }

    fn exited(self, number: u32, code: i32, cause: ExitCause) -> Self {
        let exit = Exit { code, cause, at: at(self.now), message: "no reason known".into() };
        self.then(Event::Exited { attempt: attempt(number), exit }).then(Event::Tick)
    }

    fn checked(self, finding: Finding) -> Self {
        self.then(Event::Checked { attempt: attempt(0), probe: ProbeKind::Readiness, finding })
    }

    fn is(self, expected: Expect) {
        expected.assert_eq(&self.told);
    }
}

#[test]
fn a_life_as_asked_is_no_news() {
    let life = Life::new().prepared().started(0).checked(Finding::Good).checked(Finding::Good);
    life.is(expect![""]);
}

#[test]
fn an_end_that_was_not_asked_for_is_told_by_its_cause_and_a_repeat_reads_the_same() {
    let up = || Life::new().prepared().started(0);
    up().exited(0, 137, ExitCause::OutOfMemory).is(expect![[r#"
        OOMKilled: container web went over its memory limit (exit code 137); it is started again, each time after a longer wait
    "#]]);
    up().exited(0, 1, ExitCause::Error).started(1).exited(1, 1, ExitCause::Error).is(expect![[r#"
        BackOff: container web ended with exit code 1; it is started again, each time after a longer wait
        BackOff: container web ended with exit code 1; it is started again, each time after a longer wait
    "#]]);
}

#[test]
fn the_failure_past_the_last_restart_is_told_and_with_it_that_the_task_failed() {
    let mut life = Life::new().prepared().started(0);
    for number in 0..6 {
        life.told.clear();
        life = life.exited(number, 1, ExitCause::Error).started(number + 1);
    }
    life.is(expect![[r#"
        BackOff: container web ended with exit code 1
        Failed: TooManyRestarts: container web ended more than 5 times within 600 s
    "#]]);
}

#[test]
fn a_readiness_probe_is_news_when_it_turns_bad_and_not_at_every_check() {
    let bad = || Finding::Bad("connection refused".into());
    let life = Life::new().prepared().started(0).checked(Finding::Good);
    life.checked(bad()).checked(bad()).checked(bad()).checked(bad()).is(expect![[r#"
        Unhealthy: container web is not ready: readiness probe failed: connection refused
    "#]]);
}

#[test]
fn what_could_not_be_made_is_told() {
    let trouble = Trouble { reason: "ImageError", message: "no such folder".into() };
    Life::new().then(Event::Prepared { task: uid(), outcome: Err(trouble) }).is(expect![[r#"
        ImageError: no such folder
    "#]]);
    let unfit = Event::Unfit { task: uid(), why: "no port named `web`".into() };
    let mut state = State::default();
    step(&mut state, unfit, at(0));
    let told = news(None, state.task(&uid()).unwrap());
    assert_eq!(told, [Told { reason: "Failed".into(), message: "Invalid: no port named `web`".into() }]);
}
