//! Between the plan's words and the journal's: what is remembered of ends, and how a Task comes back after a restart.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_types::Timestamp;

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

/// The record of a stop that just began: it is never taken back, and a restarted agent must not start anything again.
pub fn begun_stop(
    task: &TaskUid,
    before: Option<&Course>,
    after: Option<&Course>,
    now: Timestamp,
) -> Option<Record> {
    match (before, after) {
        (Some(Course::Running), Some(Course::Draining { grace, ending, .. })) => {
            Some(stop_record(task, *grace, ending))
        }
        // Without a drain it came to the next stage in the same step.
        (Some(Course::Running), Some(Course::Terminating { kill_at, ending })) => {
            Some(stop_record(task, kill_at.since(now), ending))
        }
        (_, _) => None,
    }
}

fn stop_record(task: &TaskUid, grace: Duration, ending: &Ending) -> Record {
    let grace_millis = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
    let stop = RememberedStop { grace_millis, ending: ending_record(ending) };
    Record::Stopping { task: task.to_string(), stop }
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
    let message = exit.message.clone();
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
            Ending::Failed { reason: reason.clone(), message: message.clone() }
        }
        RememberedEnding::Unwanted => Ending::Unwanted,
    }
}

/// What is seen of an attempt after a restart of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alive {
    /// Which attempt.
    pub number: u32,
    /// Since when it ran; whether it still does is told by its end.
    pub since: Timestamp,
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
            let mut run = TaskRun::new(assignment);
            run.containers = containers;
            run.home = home;
            if let Some(stop) = &known.stop {
                let grace = Duration::from_millis(stop.grace_millis);
                run.course = Course::Draining { until: now, grace, ending: ending(&stop.ending) };
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
            RunState::Running(Live::new(alive.since, &run.program))
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
        let run = recalled(&task, Some(Alive { number: 2, since: at(60_000) }));
        assert_eq!((run.containers[0].attempt, run.containers[0].is_ready()), (2, true));
        assert_eq!(run.containers[0].last.as_ref().map(|last| last.number), Some(1));

        // Attempt 2 was about to start and never did.
        assert_eq!(recalled(&task, None).containers[0].state, RunState::Waiting);

        if let Some(container) = task.containers.get_mut("web") {
            container.exits.push(exit(2, 99_000));
        }
        let run = recalled(&task, Some(Alive { number: 2, since: at(60_000) }));
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
        task.stop = Some(RememberedStop { grace_millis: 7, ending: RememberedEnding::Stopped });
        let grace = Duration::from_millis(7);
        let stopping = Course::Draining { until: at(100_000), grace, ending: Ending::Stopped };
        assert_eq!(recalled(&task, None).course, stopping);
        task.ending = Some(RememberedEnding::Stopped);
        assert!(matches!(recalled(&task, None).course, Course::Cleaning { ending: Ending::Stopped, .. }));
    }

    #[test]
    fn only_new_ends_and_the_beginning_of_a_stop_are_journalled() {
        let uid = TaskUid::parse(UID).unwrap();
        let end = |number| BTreeMap::from([("web".to_owned(), ended_attempt(&exit(number, 1)))]);
        assert_eq!(new_ends(&uid, &end(0), &end(0)), vec![]);
        assert_eq!(new_ends(&uid, &end(0), &end(1)).len(), 1);
        let terminating = Course::Terminating { kill_at: at(5_000), ending: Ending::Stopped };
        let record = begun_stop(&uid, Some(&Course::Running), Some(&terminating), at(1_000));
        assert!(matches!(
            record,
            Some(Record::Stopping { stop: RememberedStop { grace_millis: 4_000, .. }, .. })
        ));
        assert_eq!(begun_stop(&uid, Some(&terminating), Some(&terminating), at(1_000)), None);
    }
}
