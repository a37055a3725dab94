use std::time::Duration;

use expect_test::{Expect, expect};

use super::*;
use crate::assignment::{ProbePlan, Program, RestartPolicy, Root, TaskPort};

mod relief;
mod stops;
mod world;

fn uid(n: u8) -> TaskUid {
    TaskUid::parse(&format!("{n:032x}")).unwrap()
}

fn probe(failures: u32) -> ProbePlan {
    ProbePlan {
        check: Check::Tcp { port: 31000 },
        initial_delay: Duration::ZERO,
        period: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        successes: 1,
        failures,
    }
}

fn program(name: &str) -> Program {
    Program {
        name: name.into(),
        root: Root::Host,
        command: vec!["true".into()],
        args: vec![],
        working_dir: String::new(),
        env: vec![],
        user: None,
        group: None,
        cpu_request: None,
        cpu_limit: None,
        memory_limit: None,
        pids_limit: None,
        readiness: None,
        liveness: None,
    }
}

fn task(n: u8, containers: &[&str]) -> Assignment {
    Assignment {
        uid: uid(n),
        namespace: "default".into(),
        name: format!("web-{n}"),
        containers: containers.iter().map(|name| program(name)).collect(),
        ports: vec![],
        restart: RestartPolicy {
            in_place: 2,
            within: Duration::from_secs(600),
            initial: Duration::from_secs(1),
            most: Duration::from_secs(60),
            earlier: 0,
            earlier_until: at(0),
        },
        drain: Duration::from_secs(2),
        grace: Duration::from_secs(30),
        requests: Default::default(),
    }
}

/// A state whose events are told with their time in milliseconds, and whose actions are text.
#[derive(Default)]
struct Story {
    state: State,
    told: String,
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn attempt(n: u8, container: &str, number: u32) -> Attempt {
    Attempt { task: uid(n), container: container.into(), number }
}

fn exit(code: i32, millis: i64) -> Exit {
    let cause = if code == 0 { ExitCause::Completed } else { ExitCause::Error };
    Exit { code, cause, at: at(millis), message: String::new() }
}

fn said(action: &Action) -> String {
    let of = |a: &Attempt| format!("{}#{}", a.container, a.number);
    match action {
        Action::Prepare(_) => "prepare".into(),
        Action::Start(a) => format!("start {}", of(a)),
        Action::Terminate(a) => format!("TERM {}", of(a)),
        Action::Kill(a) => format!("KILL {}", of(a)),
        Action::Check { attempt, probe, .. } => format!("check {probe:?} of {}", of(attempt)),
        Action::CleanUp { ending, .. } => format!("clean up {ending:?}"),
        Action::Forget(_) => "forget".into(),
        Action::TellUnknown { at, .. } => format!("tell unknown, stops at {}", at.millis()),
    }
}

impl Story {
    fn then(mut self, millis: i64, event: Event) -> Self {
        let actions = step(&mut self.state, event, at(millis));
        let said: Vec<String> = actions.iter().map(said).collect();
        self.told += &format!("{millis}: {}\n", said.join(", "));
        self
    }

    fn up(assignment: &Assignment) -> Self {
        let mut story = Self::default()
            .then(0, Event::Seen { assignment: assignment.clone(), wish: Wish::Run })
            .then(10, Event::Prepared { task: assignment.uid.clone(), outcome: Ok(vec![]) });
        for container in &assignment.containers {
            let attempt =
                Attempt { task: assignment.uid.clone(), container: container.name.clone(), number: 0 };
            story = story.then(20, Event::Started { attempt, outcome: Ok(at(20)) });
        }
        story.told.clear();
        story
    }

    fn is(self, expected: Expect) {
        expected.assert_eq(&self.told);
    }
}

fn stop(assignment: &Assignment) -> Event {
    Event::Seen { assignment: assignment.clone(), wish: Wish::Stop { grace: assignment.grace } }
}

fn tick() -> Event {
    Event::Tick
}

#[test]
fn a_task_is_prepared_then_its_containers_start() {
    let web = task(1, &["a", "b"]);
    Story::default()
        .then(0, Event::Seen { assignment: web.clone(), wish: Wish::Run })
        .then(5, Event::Seen { assignment: web.clone(), wish: Wish::Run })
        .then(10, Event::Prepared { task: uid(1), outcome: Ok(vec![]) })
        .then(20, Event::Started { attempt: attempt(1, "a", 0), outcome: Ok(at(20)) })
        .is(expect![[r#"
            0: prepare
            5: 
            10: start a#0, start b#0
            20: 
        "#]]);
}

#[test]
fn an_ended_container_restarts_in_place_with_growing_waits_and_then_the_task_fails() {
    let web = task(1, &["a"]);
    Story::up(&web)
        .then(100, Event::Exited { attempt: attempt(1, "a", 0), exit: exit(1, 100) })
        .then(1_099, tick())
        .then(1_100, tick())
        .then(1_110, Event::Started { attempt: attempt(1, "a", 1), outcome: Ok(at(1_110)) })
        .then(1_200, Event::Exited { attempt: attempt(1, "a", 1), exit: exit(1, 1_200) })
        .then(3_199, tick())
        .then(3_200, tick())
        .then(3_300, Event::Exited { attempt: attempt(1, "a", 2), exit: exit(1, 3_300) })
        .then(3_400, Event::Cleaned { task: uid(1), outcome: Ok(()) })
        .then(3_500, Event::Seen { assignment: web, wish: Wish::Ended })
        .is(expect![[r#"
            100: 
            1099: 
            1100: start a#1
            1110: 
            1200: 
            3199: 
            3200: start a#2
            3300: clean up Failed { reason: "TooManyRestarts", message: "container a ended more than 2 times within 600 s" }
            3400: 
            3500: forget
        "#]]);
}

#[test]
fn a_ready_task_drains_before_term_and_is_killed_after_its_grace() {
    let web = task(1, &["a"]);
    Story::up(&web)
        .then(1_000, stop(&web))
        .then(2_999, tick())
        .then(3_000, tick())
        .then(32_999, tick())
        .then(33_000, tick())
        .then(33_000, tick())
        .then(33_010, Event::Exited { attempt: attempt(1, "a", 0), exit: exit(137, 33_010) })
        .then(
            33_020,
            Event::Cleaned { task: uid(1), outcome: Err(Trouble { reason: "x", message: "y".into() }) },
        )
        .then(35_020, tick())
        .then(35_030, Event::Cleaned { task: uid(1), outcome: Ok(()) })
        .then(35_040, Event::Vanished(uid(1)))
        .is(expect![[r#"
            1000: 
            2999: 
            3000: TERM a#0
            32999: 
            33000: KILL a#0
            33000: 
            33010: clean up Stopped
            33020: 
            35020: clean up Stopped
            35030: 
            35040: forget
        "#]]);
}

#[test]
fn a_task_deleted_while_it_is_prepared_starts_nothing() {
    let web = task(1, &["a"]);
    Story::default()
        .then(0, Event::Seen { assignment: web.clone(), wish: Wish::Run })
        .then(5, stop(&web))
        .then(10, Event::Prepared { task: uid(1), outcome: Ok(vec![]) })
        .then(15, Event::Cleaned { task: uid(1), outcome: Ok(()) })
        .is(expect![[r#"
            0: prepare
            5: 
            10: clean up Stopped
            15: 
        "#]]);
}

#[test]
fn a_task_deleted_while_a_container_starts_waits_for_it_and_ends_it() {
    let web = task(1, &["a"]);
    Story::default()
        .then(0, Event::Seen { assignment: web.clone(), wish: Wish::Run })
        .then(10, Event::Prepared { task: uid(1), outcome: Ok(vec![]) })
        .then(11, stop(&web))
        .then(20, Event::Started { attempt: attempt(1, "a", 0), outcome: Ok(at(20)) })
        .then(30, Event::Exited { attempt: attempt(1, "a", 0), exit: exit(143, 30) })
        .is(expect![[r#"
            0: prepare
            10: start a#0
            11: 
            20: TERM a#0
            30: clean up Stopped
        "#]]);
}

#[test]
fn a_bad_liveness_probe_kills_and_the_container_restarts() {
    let mut web = task(1, &["a"]);
    web.containers[0].liveness = Some(probe(1));
    let bad = || Event::Checked {
        attempt: attempt(1, "a", 0),
        probe: ProbeKind::Liveness,
        finding: Finding::Bad("refused".into()),
    };
    let mut story = Story::up(&web);
    for millis in [100, 200, 400, 800, 1_600, 3_000] {
        story = story.then(millis, bad()).then(millis, tick());
    }
    let story = story.then(3_100, Event::Exited { attempt: attempt(1, "a", 0), exit: exit(137, 3_100) });
    let last = story.state.task(&uid(1)).unwrap().containers[0].last.clone().unwrap();
    assert_eq!(last.exit.cause, ExitCause::Unhealthy);
    story.is(expect![[r#"
        100: check Liveness of a#0
        100: 
        200: check Liveness of a#0
        200: 
        400: check Liveness of a#0
        400: 
        800: check Liveness of a#0
        800: 
        1600: check Liveness of a#0
        1600: 
        3000: KILL a#0
        3000: 
        3100: 
    "#]]);
}

fn lost(ends: &[(Attempt, Exit)]) -> Event {
    Event::ShimLost { task: uid(1), ends: ends.to_vec(), begun: BTreeSet::new() }
}

#[test]
fn an_end_that_a_lost_shim_recorded_is_told_with_its_code_and_is_one_end() {
    let mut web = task(1, &["a", "b"]);
    web.restart.initial = Duration::ZERO;
    let recorded = (attempt(1, "a", 0), exit(3, 100));
    let story = Story::up(&web).then(100, lost(&[recorded]));
    let ends = |story: &Story| {
        let containers = &story.state.task(&uid(1)).unwrap().containers;
        containers.iter().map(|c| (c.attempt, c.last.as_ref().unwrap().exit.code)).collect::<Vec<_>>()
    };
    assert_eq!(ends(&story), [(1, 3), (1, 137)]);
}

#[test]
fn an_attempt_that_was_due_between_the_death_of_its_shim_and_the_news_of_it_never_ended() {
    let mut web = task(1, &["a"]);
    web.restart.initial = Duration::ZERO;
    let ended = Event::Exited { attempt: attempt(1, "a", 0), exit: exit(3, 100) };
    let began = |begun: &[Attempt]| Event::ShimLost {
        task: uid(1),
        ends: vec![(attempt(1, "a", 0), exit(3, 100))],
        begun: begun.iter().cloned().collect(),
    };
    let last = |story: &Story| {
        let container = &story.state.task(&uid(1)).unwrap().containers[0];
        let last = container.last.as_ref().unwrap();
        (container.attempt, last.number, last.exit.code)
    };
    let story = Story::up(&web).then(100, ended.clone()).then(110, began(&[attempt(1, "a", 0)]));
    assert_eq!(last(&story), (1, 0, 3));
    story.then(120, Event::Prepared { task: uid(1), outcome: Ok(vec![]) }).is(expect![[r#"
        100: start a#1
        110: prepare
        120: start a#1
    "#]]);
    // Nobody knows how one ended that did begin.
    let story = Story::up(&web).then(100, ended).then(110, began(&[attempt(1, "a", 1)]));
    assert_eq!(last(&story), (2, 1, 137));
}

#[test]
fn an_adopted_task_without_shim_gets_a_new_one_once_and_it_is_no_setback() {
    let mut run = TaskRun::new(task(1, &["a"]));
    run.home = Home::Lost;
    let story = Story::default().then(0, Event::Adopted(Box::new(run))).then(1, lost(&[])).then(2, tick());
    story.then(1_010, tick()).is(expect![[r#"
        0: 
        1: prepare
        2: 
        1010: 
    "#]]);
}

#[test]
fn a_shim_that_is_lost_before_it_was_of_use_ends_no_attempt_and_is_made_again_later() {
    let web = task(1, &["a"]);
    let seen = Event::Seen { assignment: web, wish: Wish::Run };
    let story = Story::default().then(0, seen).then(10, lost(&[])).then(20, tick());
    assert_eq!(story.state.task(&uid(1)).unwrap().containers[0].last, None);
    story.then(1_010, tick()).is(expect![[r#"
        0: prepare
        10: 
        20: 
        1010: prepare
    "#]]);
}

#[test]
fn a_lost_shim_ends_what_ran_with_an_unknown_code_and_is_made_again_for_the_next_attempt() {
    let web = task(1, &["a"]);
    let story = Story::up(&web).then(100, lost(&[]));
    let last = story.state.task(&uid(1)).unwrap().containers[0].last.clone().unwrap();
    assert_eq!((last.exit.code, last.exit.cause), (137, ExitCause::Unknown));
    story.then(1_100, tick()).then(1_200, Event::Prepared { task: uid(1), outcome: Ok(vec![]) }).is(expect![
        [r#"
        100: 
        1100: prepare
        1200: start a#1
    "#]
    ]);
}

#[test]
fn a_task_unknown_to_the_store_is_stopped_after_a_minute_unless_it_appears() {
    let web = task(1, &["a"]);
    let seen = Event::Seen { assignment: web.clone(), wish: Wish::Run };
    Story::up(&web)
        .then(1_000, Event::Synced { known: vec![] })
        .then(30_000, Event::Synced { known: vec![] })
        .then(40_000, seen)
        .then(61_000, tick())
        .then(70_000, Event::Vanished(uid(1)))
        .then(129_999, tick())
        .then(130_000, tick())
        .then(130_100, Event::Exited { attempt: attempt(1, "a", 0), exit: exit(0, 130_100) })
        .then(130_200, Event::Cleaned { task: uid(1), outcome: Ok(()) })
        .is(expect![[r#"
            1000: tell unknown, stops at 61000
            30000: 
            40000: 
            61000: 
            70000: tell unknown, stops at 130000
            129999: 
            130000: TERM a#0
            130100: clean up Unwanted
            130200: forget
        "#]]);
}

#[test]
fn a_task_whose_end_is_not_acknowledged_yet_starts_nothing_again() {
    let web = task(1, &["a"]);
    Story::up(&web)
        .then(1_000, stop(&web))
        .then(3_000, tick())
        .then(3_100, Event::Exited { attempt: attempt(1, "a", 0), exit: exit(0, 3_100) })
        .then(3_200, Event::Cleaned { task: uid(1), outcome: Ok(()) })
        .then(3_300, Event::Seen { assignment: web.clone(), wish: Wish::Run })
        .then(3_400, stop(&web))
        .is(expect![[r#"
            1000: 
            3000: TERM a#0
            3100: clean up Stopped
            3200: 
            3300: 
            3400: 
        "#]]);
}

#[test]
fn an_adopted_task_that_was_stopping_gets_its_term_once_its_shim_is_talked_to() {
    let web = task(1, &["a"]);
    let mut run = TaskRun::new(web);
    run.home = Home::Preparing;
    run.course = Course::Draining { until: at(0), grace: Duration::from_secs(1), ending: Ending::Stopped };
    run.containers[0].state = RunState::Running(Live::new(at(0), &run.containers[0].program));
    Story::default()
        .then(0, Event::Adopted(Box::new(run)))
        .then(5_000, tick())
        .then(5_001, Event::Prepared { task: uid(1), outcome: Ok(vec![]) })
        .is(expect![[r#"
            0: 
            5000: 
            5001: KILL a#0
        "#]]);
}

#[test]
fn a_task_whose_preparation_ended_the_agent_fails_at_once() {
    let trouble = || Trouble { reason: TOOK_AGENT_DOWN, message: "it died".into() };
    let web = task(1, &["a"]);
    Story::default()
        .then(0, Event::Seen { assignment: web.clone(), wish: Wish::Run })
        .then(10, Event::Prepared { task: uid(1), outcome: Err(trouble()) })
        .is(expect![[r#"
            0: prepare
            10: clean up Failed { reason: "TookAgentDown", message: "it died" }
        "#]]);

    // The second of two containers: the first one gets its grace.
    let web = task(1, &["a", "b"]);
    Story::default()
        .then(0, Event::Seen { assignment: web.clone(), wish: Wish::Run })
        .then(10, Event::Prepared { task: uid(1), outcome: Ok(vec![]) })
        .then(20, Event::Started { attempt: attempt(1, "a", 0), outcome: Ok(at(20)) })
        .then(30, Event::Started { attempt: attempt(1, "b", 0), outcome: Err(trouble()) })
        .then(40, Event::Exited { attempt: attempt(1, "a", 0), exit: exit(0, 40) })
        .is(expect![[r#"
            0: prepare
            10: start a#0, start b#0
            20: 
            30: TERM a#0
            40: clean up Failed { reason: "TookAgentDown", message: "it died" }
        "#]]);
}

fn with_port(assigned: bool) -> Assignment {
    let mut web = task(1, &["a"]);
    web.ports = vec![TaskPort { number: 31000, assigned }];
    (web.containers[0].readiness, web.containers[0].liveness) = (Some(probe(1)), Some(probe(1)));
    web
}

#[test]
fn a_start_on_an_assigned_port_that_is_held_fails_the_task_and_one_on_a_fixed_port_is_tried_again() {
    let story = |reason| {
        let trouble = Trouble { reason, message: "port 31000 is held by x (pid 7)".into() };
        Story::default()
            .then(0, Event::Seen { assignment: task(1, &["a"]), wish: Wish::Run })
            .then(10, Event::Prepared { task: uid(1), outcome: Ok(vec![]) })
            .then(20, Event::Started { attempt: attempt(1, "a", 0), outcome: Err(trouble) })
            .then(1_020, tick())
    };
    story(PORT_HELD).is(expect![[r#"
        0: prepare
        10: start a#0
        20: clean up Failed { reason: "PortHeld", message: "port 31000 is held by x (pid 7)" }
        1020: 
    "#]]);
    story("CreateError").is(expect![[r#"
        0: prepare
        10: start a#0
        20: 
        1020: start a#1
    "#]]);
}

#[test]
fn a_strangers_answer_is_no_success_and_on_an_assigned_port_ends_the_task() {
    for probe in [ProbeKind::Readiness, ProbeKind::Liveness] {
        let checked = |attempt, port| {
            let finding = Finding::PortHeld { port, message: "port 31000 is held by x (pid 7)".into() };
            Event::Checked { attempt, probe, finding }
        };
        let web = with_port(true);
        Story::up(&web).then(100, checked(attempt(1, "a", 0), 31000)).is(expect![[r#"
            100: TERM a#0
        "#]]);
        // Not when it is of another attempt, or on a port that is not the Task's.
        let story = Story::up(&web);
        let story =
            story.then(100, checked(attempt(1, "a", 7), 31000)).then(101, checked(attempt(1, "a", 0), 31001));
        assert_eq!(story.state.task(&uid(1)).unwrap().course, Course::Running);
        let story = Story::up(&with_port(false)).then(100, checked(attempt(1, "a", 0), 31000));
        let run = story.state.task(&uid(1)).unwrap();
        let RunState::Running(live) = &run.containers[0].state else { panic!("{run:?}") };
        let probing = match probe {
            ProbeKind::Readiness => live.readiness.as_ref().unwrap(),
            ProbeKind::Liveness => live.liveness.as_ref().unwrap(),
        };
        assert_eq!((probing.good(), probing.last_failure()), (None, "port 31000 is held by x (pid 7)"));
        assert!(run.course == Course::Running && !run.is_ready());
    }
}
