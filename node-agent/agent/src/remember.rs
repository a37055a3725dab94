//! Between the plan's words and the journal's: what is remembered of ends, and how a Task comes back after a restart.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_types::Timestamp;
use berth_types::parcel;

use crate::assignment::{Assignment, RestartPolicy, TaskUid};
use crate::journal::{
    Record, RememberedCause, RememberedContainer, RememberedEnding, RememberedExit, RememberedStop,
    RememberedTask,
};
use crate::plan::{
    ContainerRun, Course, EndedAttempt, Ending, Exit, ExitCause, Home, Live, Restarts, RunState, TaskRun,
};

/// The last ends of a Task's containers, by name: what differs after a step is new.
pub fn last_ends(run: Option<&TaskRun>) -> BTreeMap<String, EndedAttempt> {
    let containers = run.map(|run| run.containers.as_slice()).unwrap_or_default();
    let ended = containers.iter().filter_map(|c| Some((c.program.name.clone(), c.last.clone()?)));
    ended.collect()
}

/// Records of the ends that `after` has and `before` lacks.
pub fn new_ends(
    task: &TaskUid,
    before: &BTreeMap<String, EndedAttempt>,
    after: &BTreeMap<String, EndedAttempt>,
) -> Vec<Record> {
    let new = after.iter().filter(|(name, end)| before.get(*name) != Some(end));
    new.map(|(name, end)| Record::Exit {
        task: task.to_string(),
        container: name.clone(),
        exit: exit_record(end),
    })
    .collect()
}

/// The record of a stop that just began, or whose deadline moved: it is never taken back, a restarted agent must not
/// start anything again, and it gives no more time than was left.
pub fn new_stop(
    task: &TaskUid,
    before: Option<&Course>,
    after: Option<&Course>,
    now: Timestamp,
) -> Option<Record> {
    let (before, after) = (before?, after?);
    let (kill_at, ending, grace) = match after {
        Course::Draining { until, grace, ending } => (until.plus(*grace), ending, *grace),
        Course::Terminating { kill_at, ending } => (*kill_at, ending, kill_at.since(now)),
        Course::Running | Course::Cleaning { .. } | Course::Done { .. } => return None,
    };
    let is_new = match before {
        Course::Running => true,
        Course::Draining { .. } | Course::Terminating { .. } => before.deadline() > Some(kill_at),
        Course::Cleaning { .. } | Course::Done { .. } => false,
    };
    let grace_millis = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
    let stop = RememberedStop { grace_millis, kill_at: Some(kill_at), ending: ending_record(ending) };
    is_new.then(|| Record::Stopping { task: task.to_string(), stop })
}

/// A stop goes on where it was: what is left of the drain, then what is left of the grace. A deadline further away than
/// both together is of a clock that was set back since.
fn recalled_stop(stop: &RememberedStop, drain: Duration, now: Timestamp) -> Course {
    let grace = Duration::from_millis(stop.grace_millis);
    let kill_at = stop.kill_at.unwrap_or(now.plus(grace)).min(now.plus(drain + grace));
    let until = now.plus(kill_at.since(now).saturating_sub(grace));
    Course::Draining { until, grace: kill_at.since(until), ending: ending(&stop.ending) }
}

fn exit_record(end: &EndedAttempt) -> RememberedExit {
    let cause = match end.exit.cause {
        ExitCause::Completed => RememberedCause::Completed,
        ExitCause::Error => RememberedCause::Error,
        ExitCause::OutOfMemory => RememberedCause::OutOfMemory,
        ExitCause::Unhealthy => RememberedCause::Unhealthy,
        ExitCause::NotStarted => RememberedCause::NotStarted,
        ExitCause::Unknown => RememberedCause::Unknown,
    };
    RememberedExit {
        number: end.number,
        code: end.exit.code,
        cause,
        started: end.started,
        at: end.exit.at,
        message: end.exit.message.clone(),
    }
}

fn ended_attempt(exit: &RememberedExit) -> EndedAttempt {
    let cause = match exit.cause {
        RememberedCause::Completed => ExitCause::Completed,
        RememberedCause::Error => ExitCause::Error,
        RememberedCause::OutOfMemory => ExitCause::OutOfMemory,
        RememberedCause::Unhealthy => ExitCause::Unhealthy,
        RememberedCause::NotStarted => ExitCause::NotStarted,
        RememberedCause::Unknown => ExitCause::Unknown,
    };
    let message = parcel::text(&exit.message).into_owned();
    EndedAttempt {
        number: exit.number,
        started: exit.started,
        exit: Exit { code: exit.code, cause, at: exit.at, message },
    }
}

/// How a Task ended, for the journal.
pub fn ending_record(ending: &Ending) -> RememberedEnding {
    match ending {
        Ending::Stopped => RememberedEnding::Stopped,
        Ending::Failed { reason, message } => {
            RememberedEnding::Failed { reason: reason.clone(), message: message.clone() }
        }
        Ending::Unwanted => RememberedEnding::Unwanted,
    }
}

fn ending(record: &RememberedEnding) -> Ending {
    match record {
        RememberedEnding::Stopped => Ending::Stopped,
        RememberedEnding::Failed { reason, message } => {
            Ending::Failed { reason: reason.clone(), message: parcel::text(message).into_owned() }
        }
        RememberedEnding::Unwanted => Ending::Unwanted,
    }
}

/// What is seen of an attempt after a restart of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alive {
    /// Which attempt.
    pub number: u32,
    /// Since when it ran, whether it still does is told by its end; `None` while it is being created.
    pub since: Option<Timestamp>,
}

/// A Task as an earlier agent left it. `alive` are the attempts that run, or ended unseen; a Task whose shim is there
/// has its `home`.
pub fn recall(
    uid: &TaskUid,
    known: &RememberedTask,
    alive: &BTreeMap<String, Alive>,
    home: Home,
    now: Timestamp,
) -> TaskRun {
    let assignment = Assignment::try_from(&known.task).ok();
    let mut containers = Vec::new();
    if let Some(assignment) = &assignment {
        for program in &assignment.containers {
            let run = ContainerRun::new(program.clone());
            let remembered = known.containers.get(&program.name);
            let alive = alive.get(&program.name).copied();
            containers.push(recall_container(run, remembered, alive, &assignment.restart, now));
        }
    }
    match (&known.ending, assignment) {
        (Some(ended), assignment) => TaskRun::ended(uid.clone(), assignment, containers, ending(ended)),
        (None, Some(assignment)) => {
            let drain = assignment.drain;
            let mut run = TaskRun::new(assignment);
            run.containers = containers;
            run.home = home;
            if let Some(stop) = &known.stop {
                run.course = recalled_stop(stop, drain, now);
            }
            run
        }
        (None, None) => {
            let why = "its journalled spec cannot be read by this version of the agent";
            let ending = Ending::Failed { reason: "Invalid".into(), message: why.into() };
            TaskRun::ended(uid.clone(), None, containers, ending)
        }
    }
}

fn recall_container(
    mut run: ContainerRun,
    known: Option<&RememberedContainer>,
    alive: Option<Alive>,
    policy: &RestartPolicy,
    now: Timestamp,
) -> ContainerRun {
    let no_exits = Vec::new();
    let exits = known.map_or(&no_exits, |known| &known.exits);
    run.attempt = known.map_or(0, |known| known.attempt);
    run.last = exits.last().map(ended_attempt);
    run.restarts = Restarts::remembered(exits.iter().map(|exit| exit.at), now);
    let present_ended = exits.last().is_some_and(|exit| exit.number >= run.attempt);
    run.state = match alive {
        Some(alive) if !exits.iter().any(|exit| exit.number >= alive.number) => {
            run.attempt = alive.number;
            match alive.since {
                Some(since) => RunState::Running(Live::new(since, &run.program)),
                None => RunState::Starting,
            }
        }
        Some(_) | None if present_ended => {
            run.attempt += 1;
            RunState::BackOff { until: run.restarts.next(policy) }
        }
        Some(_) | None => RunState::Waiting,
    };
    run
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_types::task::{Container, Task};

    const UID: &str = "0123456789abcdef0123456789abcdef";

    fn known() -> RememberedTask {
        let mut task = Task::default();
        task.metadata.uid = UID.into();
        task.spec.containers =
            vec![Container { name: "web".into(), command: vec!["x".into()], ..Container::default() }];
        RememberedTask { task, shim: None, containers: BTreeMap::new(), stop: None, ending: None }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn exit(number: u32, millis: i64) -> RememberedExit {
        let cause = RememberedCause::Error;
        RememberedExit { number, code: 1, cause, started: None, at: at(millis), message: String::new() }
    }

    fn recalled(known: &RememberedTask, alive: Option<Alive>) -> TaskRun {
        let alive = alive.map(|alive| ("web".to_owned(), alive)).into_iter().collect();
        recall(&TaskUid::parse(UID).unwrap(), known, &alive, Home::Preparing, at(100_000))
    }

    #[test]
    fn what_runs_goes_on_and_what_had_ended_waits_for_what_is_left_of_its_pause() {
        let mut task = known();
        assert_eq!(recalled(&task, None).containers[0].state, RunState::Waiting);

        task.containers.insert(
            "web".into(),
            RememberedContainer { attempt: 2, begun: None, exits: vec![exit(0, 0), exit(1, 50_000)] },
        );
        let run = recalled(&task, Some(Alive { number: 2, since: Some(at(60_000)) }));
        assert_eq!((run.containers[0].attempt, run.containers[0].is_ready()), (2, true));
        assert_eq!(run.containers[0].last.as_ref().map(|last| last.number), Some(1));

        // Its shim is still creating it.
        let run = recalled(&task, Some(Alive { number: 2, since: None }));
        assert_eq!((run.containers[0].attempt, &run.containers[0].state), (2, &RunState::Starting));

        // Attempt 2 was about to start and never did.
        assert_eq!(recalled(&task, None).containers[0].state, RunState::Waiting);

        if let Some(container) = task.containers.get_mut("web") {
            container.exits.push(exit(2, 99_000));
        }
        let run = recalled(&task, Some(Alive { number: 2, since: Some(at(60_000)) }));
        assert_eq!(run.containers[0].attempt, 3);
        assert_eq!(run.containers[0].state, RunState::BackOff { until: at(103_000) });
    }

    #[test]
    fn a_pause_ends_though_the_clock_was_set_back_since_it_began() {
        let mut task = known();
        let exits = vec![exit(0, 3_700_000)];
        task.containers.insert("web".into(), RememberedContainer { attempt: 0, begun: None, exits });
        let state = &recalled(&task, None).containers[0].state;
        assert_eq!(*state, RunState::BackOff { until: at(101_000) });
    }

    #[test]
    fn a_task_that_was_stopping_or_had_ended_starts_nothing() {
        let mut task = known();
        let ending = RememberedEnding::Stopped;
        task.stop = Some(RememberedStop { grace_millis: 7, kill_at: None, ending });
        let grace = Duration::from_millis(7);
        let stopping = Course::Draining { until: at(100_000), grace, ending: Ending::Stopped };
        assert_eq!(recalled(&task, None).course, stopping);
        task.ending = Some(RememberedEnding::Stopped);
        assert!(matches!(recalled(&task, None).course, Course::Cleaning { ending: Ending::Stopped, .. }));
    }

    #[test]
    fn only_new_ends_are_journalled() {
        let uid = TaskUid::parse(UID).unwrap();
        let end = |number| BTreeMap::from([("web".to_owned(), ended_attempt(&exit(number, 1)))]);
        assert_eq!(new_ends(&uid, &end(0), &end(0)), vec![]);
        assert_eq!(new_ends(&uid, &end(0), &end(1)).len(), 1);
    }

    #[test]
    fn a_stop_is_journalled_when_it_begins_and_whenever_its_deadline_comes_nearer() {
        let uid = TaskUid::parse(UID).unwrap();
        let draining = |until, grace| {
            let grace = Duration::from_millis(grace);
            Course::Draining { until: at(until), grace, ending: Ending::Stopped }
        };
        let terminating = |kill_at| Course::Terminating { kill_at: at(kill_at), ending: Ending::Stopped };
        let cleaning = Course::Cleaning { ending: Ending::Stopped, next: None };
        for (before, after, expected) in [
            (Course::Running, draining(3_000, 4_000), Some((4_000, 7_000))),
            (Course::Running, terminating(5_000), Some((4_000, 5_000))),
            // The second of several: while it drains, as it ends to drain, while it terminates.
            (draining(3_000, 4_000), draining(1_000, 500), Some((500, 1_500))),
            (draining(3_000, 4_000), terminating(1_500), Some((500, 1_500))),
            (terminating(5_000), terminating(2_000), Some((1_000, 2_000))),
            (draining(3_000, 4_000), draining(3_000, 4_000), None),
            (draining(1_000, 4_000), terminating(5_000), None),
            (terminating(5_000), terminating(5_000), None),
            (terminating(5_000), cleaning, None),
        ] {
            let record = new_stop(&uid, Some(&before), Some(&after), at(1_000));
            let told = record.map(|record| match record {
                Record::Stopping { stop, .. } => (stop.grace_millis, stop.kill_at.unwrap().millis()),
                other => panic!("{other:?}"),
            });
            assert_eq!(told, expected, "{before:?} to {after:?}");
        }
    }

    #[test]
    fn a_stop_goes_on_with_what_is_left_of_it() {
        let mut task = known();
        task.task.spec.drain_delay_seconds = Some(10);
        for (what, grace, kill_at, until, left) in [
            ("it drains", 30_000, 136_000, 106_000, 30_000),
            ("TERM was sent", 30_000, 115_000, 100_000, 15_000),
            ("its deadline passed meanwhile", 30_000, 90_000, 100_000, 0),
            ("the clock was set back by an hour", 30_000, 3_700_000, 110_000, 30_000),
            ("its grace was shortened", 2_000, 101_000, 100_000, 1_000),
        ] {
            let ending = RememberedEnding::Stopped;
            task.stop = Some(RememberedStop { grace_millis: grace, kill_at: Some(at(kill_at)), ending });
            let grace = Duration::from_millis(left);
            let expected = Course::Draining { until: at(until), grace, ending: Ending::Stopped };
            assert_eq!(recalled(&task, None).course, expected, "{what}");
        }
    }
}
