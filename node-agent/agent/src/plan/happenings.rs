//! What happens to a Task changes its state, and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use berth_types::Timestamp;
use berth_types::task::{CREATE_ERROR, PORT_HELD, TOO_MANY_RESTARTS};

use super::course::{Course, Ending, Home, TaskRun, attempt_of};
use super::restarts::Verdict;
use super::run::{Live, RunState};
use super::{Action, Attempt, Exit, ExitCause, Finding, ProbeKind, Trouble, Wish};

/// A cleaning that failed is tried again after this.
const CLEAN_AGAIN: Duration = Duration::from_secs(2);

impl TaskRun {
    pub(super) fn wished(&mut self, wish: Wish, now: Timestamp) {
        self.stop_unknown_at = None;
        match wish {
            Wish::Run => {}
            Wish::Stop { grace } => self.begin_stop(Ending::Stopped, grace, now),
            Wish::Ended => {
                self.known_ended = true;
                self.begin_stop(Ending::Unwanted, Duration::ZERO, now);
            }
        }
    }

    pub(super) fn unknown_to_the_store(&mut self, at: Timestamp, actions: &mut Vec<Action>) {
        match self.course {
            Course::Cleaning { .. } | Course::Done { .. } => self.known_ended = true,
            Course::Running | Course::Draining { .. } | Course::Terminating { .. } => {
                if self.stop_unknown_at.is_none() {
                    self.stop_unknown_at = Some(at);
                    actions.push(Action::TellUnknown { task: self.uid.clone(), at });
                }
            }
        }
    }

    pub(super) fn node_is_gone(&mut self, now: Timestamp) {
        self.known_ended = true;
        let grace = self.assignment.as_ref().map_or(Duration::ZERO, |a| a.grace);
        self.begin_stop(Ending::Unwanted, grace, now);
    }

    pub(super) fn prepared(&mut self, outcome: Result<Vec<String>, Trouble>, now: Timestamp) {
        self.home = match (outcome, self.policy()) {
            (Ok(digests), _) => {
                for (container, digest) in self.containers.iter_mut().zip(digests) {
                    container.image_digest = digest;
                }
                Home::Ready
            }
            (Err(_), None) => Home::None,
            (Err(trouble), Some(_)) if trouble.is_final() => {
                self.give_up(trouble, Duration::ZERO, now);
                Home::None
            }
            (Err(trouble), Some(policy)) => match self.setbacks.count(&policy, now) {
                Verdict::Again(until) => Home::Failed { trouble, until },
                Verdict::TooOften => {
                    self.give_up(trouble, Duration::ZERO, now);
                    Home::None
                }
            },
        };
    }

    pub(super) fn started(&mut self, attempt: &Attempt, outcome: Result<Timestamp, Trouble>, now: Timestamp) {
        let Some(container) = self.container(attempt) else { return };
        if container.state != RunState::Starting {
            return;
        }
        match outcome {
            Ok(since) => container.state = RunState::Running(Live::new(since, &container.program)),
            Err(trouble) => {
                let message = trouble.message.clone();
                let exit = Exit { code: 128, cause: ExitCause::NotStarted, at: now, message };
                if trouble.is_final() {
                    let grace = self.assignment.as_ref().map_or(Duration::ZERO, |a| a.grace);
                    self.give_up(trouble, grace, now);
                }
                self.exited(attempt, exit, now);
            }
        }
    }

    /// It cannot go on here.
    fn give_up(&mut self, trouble: Trouble, grace: Duration, now: Timestamp) {
        let Trouble { reason, message } = trouble;
        self.begin_stop(Ending::Failed { reason: reason.into(), message }, grace, now);
    }

    pub(super) fn exited(&mut self, attempt: &Attempt, exit: Exit, now: Timestamp) {
        let (running, policy) = (self.course == Course::Running, self.policy());
        let Some(container) = self.container(attempt) else { return };
        if !container.is_live() {
            return;
        }
        container.ended(exit);
        let (true, Some(policy)) = (running, policy) else { return };
        match container.restarts.count(&policy, now) {
            Verdict::Again(until) => {
                container.state = RunState::BackOff { until };
                container.attempt += 1;
            }
            Verdict::TooOften => {
                let message = format!(
                    "container {} ended more than {} times within {} s",
                    attempt.container,
                    policy.in_place,
                    policy.within.as_secs()
                );
                let grace = self.assignment.as_ref().map_or(Duration::ZERO, |a| a.grace);
                self.begin_stop(Ending::Failed { reason: TOO_MANY_RESTARTS.into(), message }, grace, now);
            }
        }
    }

    /// A stranger on an assigned port is a reason to take another one at once; one on a port of the manifest is waited
    /// for.
    pub(super) fn checked(&mut self, attempt: &Attempt, probe: ProbeKind, finding: Finding, now: Timestamp) {
        let gives_up =
            self.assignment.as_ref().filter(|_| self.course == Course::Running).and_then(|asked| {
                let Finding::PortHeld { port, message } = &finding else { return None };
                let assigned = asked.ports.iter().any(|p| p.number == *port && p.assigned);
                assigned.then(|| (Trouble { reason: PORT_HELD, message: message.clone() }, asked.grace))
            });
        let Some(container) = self.container(attempt).filter(|container| container.is_live()) else { return };
        container.checked(probe, finding);
        if let Some((trouble, grace)) = gives_up {
            self.give_up(trouble, grace, now);
        }
    }

    /// No attempt starts between the loss and the ends that came with it: it would be lost at once.
    pub(super) fn shim_lost(
        &mut self,
        ends: Vec<(Attempt, Exit)>,
        begun: &BTreeSet<Attempt>,
        now: Timestamp,
    ) {
        match self.home {
            Home::Ready | Home::Lost => self.home = Home::None,
            // It was of no use: the next one waits, as after any other setback.
            Home::Preparing => {
                let trouble = Trouble { reason: CREATE_ERROR, message: "the shim was lost".into() };
                self.prepared(Err(trouble), now);
            }
            Home::None | Home::Failed { .. } => {}
        }
        for (attempt, exit) in ends {
            self.exited(&attempt, exit, now);
        }
        // A start that fell between the death and this: there was nobody to ask, so nothing of it ended.
        for container in &mut self.containers {
            if container.state == RunState::Starting && !begun.contains(&attempt_of(&self.uid, container)) {
                container.state = RunState::Waiting;
            }
        }
        let live: Vec<Attempt> =
            self.containers.iter().filter(|c| c.is_live()).map(|c| self.attempt_of(c)).collect();
        for attempt in live {
            let message = "the shim was lost, and the exit code with it".to_owned();
            self.exited(&attempt, Exit { code: 137, cause: ExitCause::Unknown, at: now, message }, now);
        }
    }

    pub(super) fn cleaned(&mut self, outcome: Result<(), Trouble>, now: Timestamp) {
        let Course::Cleaning { ending, next } = &mut self.course else { return };
        match outcome {
            Ok(()) => self.course = Course::Done { ending: ending.clone() },
            Err(_) => *next = Some(now.plus(CLEAN_AGAIN)),
        }
    }

    /// Begins or hastens a stop; how it ends is said by whoever began it, but for a Task nobody wants. Its deadline moves
    /// to an earlier time only: the same grace asked for again, or a longer one, changes nothing.
    pub(super) fn begin_stop(&mut self, new: Ending, grace: Duration, now: Timestamp) {
        let drain = match (&new, &self.assignment) {
            (Ending::Stopped, Some(assignment)) if self.may_be_ready() => assignment.drain,
            (Ending::Stopped | Ending::Failed { .. } | Ending::Unwanted, _) => Duration::ZERO,
        };
        match &mut self.course {
            Course::Running => {
                self.course = Course::Draining { until: now.plus(drain), grace, ending: new };
            }
            Course::Draining { until, grace: old, ending } => {
                if grace < *old {
                    // Less than was left for the end alone: nothing is left for the drain.
                    (*until, *old) = (now.min(*until), grace);
                }
                ending.give_way_to(new);
            }
            Course::Terminating { kill_at, ending } => {
                *kill_at = now.plus(grace).min(*kill_at);
                ending.give_way_to(new);
            }
            Course::Cleaning { ending, .. } | Course::Done { ending } => ending.give_way_to(new),
        }
    }
}
