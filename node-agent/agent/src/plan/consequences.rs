//! What follows from a Task's state: the actions it is ripe for, each asked for once.

use berth_types::Timestamp;

use super::Action;
use super::course::{Course, Home, TaskRun, attempt_of};
use super::run::{ContainerRun, Fate, RunState};

impl TaskRun {
    pub(super) fn advance(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.stop_unknown_at.is_some_and(|at| at <= now) {
            self.stop_unknown_at = None;
            self.node_is_gone(now);
        }
        if self.course == Course::Running {
            self.advance_running(now, actions);
        }
        if let Course::Draining { until, grace, ending } = &self.course
            && (*until <= now || !self.is_occupied())
        {
            self.course = Course::Terminating { kill_at: until.plus(*grace), ending: ending.clone() };
        }
        if let Course::Terminating { kill_at, .. } = self.course {
            self.terminate(kill_at <= now, actions);
        }
        self.advance_cleaning(now, actions);
    }

    fn advance_running(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        match &self.home {
            Home::Preparing | Home::Lost => return,
            Home::Failed { until, .. } if now < *until => return,
            Home::None | Home::Failed { .. } => {
                // A shim that was lost comes back only when a container is to start.
                if self.containers.iter().any(|c| c.is_startable(now)) {
                    self.home = Home::Preparing;
                    actions.push(Action::Prepare(self.uid.clone()));
                }
                return;
            }
            Home::Ready => {}
        }
        let uid = self.uid.clone();
        for container in &mut self.containers {
            let attempt = attempt_of(&uid, container);
            if container.is_startable(now) {
                container.state = RunState::Starting;
                actions.push(Action::Start(attempt));
                continue;
            }
            if let (Some(why), RunState::Running(live)) = (container.must_die(), &mut container.state) {
                live.fate = Fate::Unhealthy(why);
                actions.push(Action::Kill(attempt));
                continue;
            }
            actions.extend(container.take_due_checks(now).into_iter().map(|(probe, plan)| Action::Check {
                attempt: attempt.clone(),
                probe,
                check: plan.check,
                timeout: plan.timeout,
            }));
        }
    }

    /// TERM to all that run, or KILL once the grace is over; those that only start now get theirs once they run.
    fn terminate(&mut self, grace_is_over: bool, actions: &mut Vec<Action>) {
        // An adopted shim takes signals only once it is talked to.
        if self.home == Home::Preparing {
            return;
        }
        let uid = self.uid.clone();
        for container in &mut self.containers {
            let attempt = attempt_of(&uid, container);
            let RunState::Running(live) = &mut container.state else { continue };
            match (&live.fate, grace_is_over) {
                (Fate::Killed, _) | (Fate::Terminated | Fate::Unhealthy(_), false) => {}
                (Fate::Wanted, false) => {
                    live.fate = Fate::Terminated;
                    actions.push(Action::Terminate(attempt));
                }
                (Fate::Wanted | Fate::Terminated | Fate::Unhealthy(_), true) => {
                    live.fate = Fate::Killed;
                    actions.push(Action::Kill(attempt));
                }
            }
        }
        if let (false, Course::Terminating { ending, .. }) = (self.is_occupied(), &self.course) {
            self.course = Course::Cleaning { ending: ending.clone(), next: Some(Timestamp::from_millis(0)) };
        }
    }

    fn advance_cleaning(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let Course::Cleaning { ending, next } = &mut self.course else { return };
        if next.is_some_and(|at| at <= now) {
            *next = None;
            self.home = Home::None;
            actions.push(Action::CleanUp { task: self.uid.clone(), ending: ending.clone() });
        }
    }
}

impl ContainerRun {
    fn is_startable(&self, now: Timestamp) -> bool {
        match self.state {
            RunState::Waiting => true,
            RunState::BackOff { until } => until <= now,
            RunState::Starting | RunState::Running(_) | RunState::Ended => false,
        }
    }
}
