//! What a Task's status says about what is seen here: pure.

use berth_failpoint::seeded_bug;
use berth_types::meta::{Condition, ConditionStatus};
use berth_types::task::{
    CREATE_ERROR, ContainerState, ContainerStatus, Running, TaskStatus, Terminated, Waiting,
};
use berth_types::{Phase, Timestamp};

use crate::plan::{ContainerRun, Course, EndedAttempt, Ending, ExitCause, Fate, Home, RunState, TaskRun};

/// The status of `run` over what the store has; conditions of others stay as they are. None when nobody shall be told.
pub fn report(run: &TaskRun, before: &TaskStatus, address: &str, now: Timestamp) -> Option<TaskStatus> {
    let (phase, reason, message) = phase(run, before)?;
    let mut status = before.clone();
    status.phase = told_next(&before.phase, phase).into();
    status.reason = reason;
    status.message = message;
    status.host_ip = address.into();
    status.start_time = before.start_time.or(Some(now));
    if let Some(assignment) = &run.assignment {
        status.allocated.clone_from(&assignment.requests);
    }
    if !run.containers.is_empty() {
        status.container_statuses = run.containers.iter().map(|c| container_status(run, c, before)).collect();
    }
    ready_condition(run, before, now).set(&mut status.conditions);
    Some(status)
}

fn phase(run: &TaskRun, before: &TaskStatus) -> Option<(&'static str, String, String)> {
    let nothing = (String::new(), String::new());
    let why = |ending: &Ending| match ending {
        Ending::Stopped => Some(nothing.clone()),
        Ending::Failed { reason, message } => Some((reason.clone(), message.clone())),
        Ending::Unwanted => None,
    };
    let (phase, (reason, message)) = match &run.course {
        Course::Running => {
            let up = before.phase == "Running" || run.containers.iter().all(has_run);
            (if up { "Running" } else { "Starting" }, nothing)
        }
        Course::Terminating { ending: Ending::Stopped, .. } if seeded_bug("end-told-before-it-came") => {
            ("Succeeded", nothing)
        }
        Course::Draining { ending, .. }
        | Course::Terminating { ending, .. }
        | Course::Cleaning { ending, .. } => ("Stopping", why(ending)?),
        Course::Done { ending: Ending::Stopped } => {
            ("Succeeded", ("Stopped".into(), "stopped as its deletion asked".into()))
        }
        Course::Done { ending } => ("Failed", why(ending)?),
    };
    Some((phase, reason, message))
}

/// The phase to tell: what was told once is not taken back, for the server refuses that, even if this node forgot it.
fn told_next<'a>(before: &'a str, now: &'a str) -> &'a str {
    match (Phase::try_from(before), Phase::try_from(now)) {
        (Ok(was), Ok(is)) if was.step(is).is_err() => before,
        (Ok(_) | Err(_), Ok(_) | Err(_)) => now,
    }
}

fn has_run(container: &ContainerRun) -> bool {
    matches!(container.state, RunState::Running(_))
        || container.last.as_ref().is_some_and(|last| last.started.is_some())
}

fn is_ready(run: &TaskRun, before: &TaskStatus) -> bool {
    !run.containers.is_empty() && run.containers.iter().all(|c| container_is_ready(c, before))
}

/// A probe that found nothing yet leaves what was said of the same attempt: a restart of the agent is no change.
fn container_is_ready(container: &ContainerRun, before: &TaskStatus) -> bool {
    let RunState::Running(live) = &container.state else { return false };
    let known = live.readiness.as_ref().is_none_or(|probe| probe.good().is_some());
    if known || live.fate != Fate::Wanted {
        return container.is_ready();
    }
    let said = before.container_statuses.iter().find(|said| said.name == container.program.name);
    said.is_some_and(|said| {
        let since = said.state.running.as_ref().and_then(|running| running.started_at);
        said.ready && since == Some(live.since)
    })
}

fn ready_condition(run: &TaskRun, before: &TaskStatus, now: Timestamp) -> Condition {
    let (status, reason, message) = match &run.course {
        Course::Running if is_ready(run, before) => (ConditionStatus::True, "Ready", String::new()),
        Course::Running => (ConditionStatus::False, "NotReady", why_not_ready(run, before)),
        Course::Draining { .. } | Course::Terminating { .. } | Course::Cleaning { .. } => {
            (ConditionStatus::False, "Stopping", String::new())
        }
        Course::Done { .. } => (ConditionStatus::False, "Ended", String::new()),
    };
    Condition::new("Ready", status, reason, message, now)
}

fn why_not_ready(run: &TaskRun, before: &TaskStatus) -> String {
    if let Home::Failed { trouble, .. } = &run.home {
        return trouble.message.clone();
    }
    let Some(container) = run.containers.iter().find(|c| !container_is_ready(c, before)) else {
        return String::new();
    };
    let name = &container.program.name;
    match &container.state {
        RunState::Waiting | RunState::Starting => format!("container {name} is being started"),
        RunState::BackOff { .. } => match container.last.as_ref().map(|last| &last.exit) {
            Some(exit) if exit.cause == ExitCause::NotStarted => {
                format!("container {name} could not be started: {}", exit.message)
            }
            Some(_) | None => format!("container {name} ended and waits for its restart"),
        },
        RunState::Ended => format!("container {name} ended"),
        RunState::Running(live) => match (&live.fate, &live.readiness) {
            (Fate::Unhealthy(why), _) => format!("container {name}: {why}"),
            (_, Some(probe)) if !probe.last_failure().is_empty() => {
                format!("container {name}: readiness probe failed: {}", probe.last_failure())
            }
            (_, _) => format!("container {name} is not ready yet"),
        },
    }
}

fn container_status(run: &TaskRun, container: &ContainerRun, before: &TaskStatus) -> ContainerStatus {
    let last = container.last.as_ref().map(terminated);
    let (state, last_state) = match &container.state {
        RunState::Ended => (last, None),
        RunState::Running(live) => {
            let running = Running { started_at: Some(live.since) };
            (Some(ContainerState { running: Some(running), ..ContainerState::default() }), last)
        }
        RunState::Waiting | RunState::Starting | RunState::BackOff { .. } => {
            (Some(ContainerState { waiting: waiting(run, container), ..ContainerState::default() }), last)
        }
    };
    // A container that was ended before it ever started has no last attempt to show as its state.
    let state = state.unwrap_or_default();
    ContainerStatus {
        name: container.program.name.clone(),
        ready: run.course == Course::Running && container_is_ready(container, before),
        restart_count: match container.state {
            // The next attempt has a number and was not started.
            RunState::BackOff { .. } => container.attempt.saturating_sub(1),
            RunState::Waiting | RunState::Starting | RunState::Running(_) | RunState::Ended => {
                container.attempt
            }
        },
        image_id: container.image_digest.clone(),
        state,
        last_state: last_state.unwrap_or_default(),
    }
}

fn waiting(run: &TaskRun, container: &ContainerRun) -> Option<Waiting> {
    let (reason, message) = match (&run.home, &container.state) {
        (Home::Failed { trouble, until }, _) => {
            (trouble.reason.to_owned(), format!("{}; next try at {until}", trouble.message))
        }
        (_, RunState::BackOff { until }) => match container.last.as_ref().map(|last| &last.exit) {
            Some(exit) if exit.cause == ExitCause::NotStarted => {
                (CREATE_ERROR.to_owned(), format!("{}; next try at {until}", exit.message))
            }
            Some(_) | None => ("BackOff".to_owned(), format!("restarts at {until}")),
        },
        (_, _) => ("Creating".to_owned(), String::new()),
    };
    Some(Waiting { reason, message })
}

fn terminated(ended: &EndedAttempt) -> ContainerState {
    let reason = match ended.exit.cause {
        ExitCause::Completed => "Completed",
        ExitCause::Error => "Error",
        ExitCause::OutOfMemory => "OOMKilled",
        ExitCause::Unhealthy => "Unhealthy",
        ExitCause::NotStarted => CREATE_ERROR,
        ExitCause::Unknown => "StatusUnknown",
    };
    let terminated = Terminated {
        exit_code: ended.exit.code,
        reason: reason.into(),
        message: ended.exit.message.clone(),
        started_at: ended.started,
        finished_at: Some(ended.exit.at),
    };
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
