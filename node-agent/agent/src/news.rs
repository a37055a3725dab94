//! What of a step a person would ask about: ends that were not asked for, probes that turned bad, things that could not
//! be made. The texts leave out what differs from one time to the next, so that a repeat counts as one.

use berth_types::task::CREATE_ERROR;

use crate::plan::{ContainerRun, Course, Ending, ExitCause, Home, RunState, TaskRun};

/// One thing to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// In one word.
    pub reason: String,
    /// For a person.
    pub message: String,
}

/// What is new in `after`. Of a Task that was not known before only that it cannot be run: the rest was told then.
pub fn news(before: Option<&TaskRun>, after: &TaskRun) -> Vec<Told> {
    let mut news = Vec::new();
    let Some(before) = before else {
        if let Course::Done { ending } = &after.course {
            news.extend(failure(ending));
        }
        return news;
    };
    if before.course != Course::Running {
        return news;
    }
    if let Home::Failed { trouble, .. } = &after.home
        && before.home == Home::Preparing
    {
        news.push(Told { reason: trouble.reason.into(), message: trouble.message.clone() });
    }
    for container in &after.containers {
        let same = before.containers.iter().find(|old| old.program.name == container.program.name);
        news.extend(end(same, container));
        news.extend(unready(same, container));
    }
    match &after.course {
        Course::Running => {}
        Course::Draining { ending, .. }
        | Course::Terminating { ending, .. }
        | Course::Cleaning { ending, .. }
        | Course::Done { ending } => news.extend(failure(ending)),
    }
    news
}

fn failure(ending: &Ending) -> Option<Told> {
    match ending {
        Ending::Failed { reason, message } => {
            Some(Told { reason: "Failed".into(), message: format!("{reason}: {message}") })
        }
        Ending::Stopped | Ending::Unwanted => None,
    }
}

/// How an attempt ended while its Task was to run.
fn end(before: Option<&ContainerRun>, after: &ContainerRun) -> Option<Told> {
    let last = after.last.as_ref().filter(|last| before.and_then(|old| old.last.as_ref()) != Some(last))?;
    let (name, exit) = (&after.program.name, &last.exit);
    let (reason, what) = match exit.cause {
        ExitCause::OutOfMemory => {
            ("OOMKilled", format!("went over its memory limit (exit code {})", exit.code))
        }
        ExitCause::Unhealthy => ("Unhealthy", format!("was killed: {}", exit.message)),
        ExitCause::NotStarted => (CREATE_ERROR, format!("could not be started: {}", exit.message)),
        ExitCause::Completed | ExitCause::Error => ("BackOff", format!("ended with exit code {}", exit.code)),
        ExitCause::Unknown => ("BackOff", format!("ended: {}", exit.message)),
    };
    let next = match after.state {
        RunState::BackOff { .. } => "; it is started again, each time after a longer wait",
        RunState::Waiting | RunState::Starting | RunState::Running(_) | RunState::Ended => "",
    };
    Some(Told { reason: reason.into(), message: format!("container {name} {what}{next}") })
}

/// That a container may get no more requests, by its readiness probe.
fn unready(before: Option<&ContainerRun>, after: &ContainerRun) -> Option<Told> {
    let bad = |container: &ContainerRun| match &container.state {
        RunState::Running(live) => {
            let probe = live.readiness.as_ref().filter(|probe| probe.good() == Some(false));
            probe.map(|probe| probe.last_failure().to_owned())
        }
        RunState::Waiting | RunState::Starting | RunState::BackOff { .. } | RunState::Ended => None,
    };
    let why = bad(after).filter(|_| before.and_then(bad).is_none())?;
    let message = format!("container {} is not ready: readiness probe failed: {why}", after.program.name);
    Some(Told { reason: "Unhealthy".into(), message })
}

#[cfg(test)]
mod tests;
