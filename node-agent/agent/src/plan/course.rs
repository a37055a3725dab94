//! One Task on this node: Preparing -> Starting -> Running -> Draining -> Terminating -> Cleaning -> acknowledged.
//! What happens changes the state alone; `advance` then asks for whatever the state is ripe for.

use std::time::Duration;

use berth_types::Timestamp;

use super::restarts::Verdict;
use super::run::{ContainerRun, Fate, Live, RunState};
use super::{
    Action, Attempt, Exit, ExitCause, Finding, ProbeKind, Restarts, Trouble, UNKNOWN_TASKS_LIVE, Wish,
};
use crate::assignment::{Assignment, RestartPolicy, TaskUid};

/// A cleaning that failed is tried again after this.
const CLEAN_AGAIN: Duration = Duration::from_secs(2);

/// One Task on this node.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRun {
    uid: TaskUid,
    /// What it asks; none when it cannot be run as it stands.
    pub assignment: Option<Assignment>,
    /// Where it runs.
    pub home: Home,
    /// Where it is going.
    pub course: Course,
    /// Its containers, in the order of the manifest.
    pub containers: Vec<ContainerRun>,
    /// When its image, sandbox or shim could not be made lately.
    pub setbacks: Restarts,
    stop_unknown_at: Option<Timestamp>,
    known_ended: bool,
}

/// Image, sandbox and shim of a Task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// Not there.
    None,
    /// Being made.
    Preparing,
    /// There.
    Ready,
    /// Could not be made; tried again then.
    Failed {
        /// Why.
        trouble: Trouble,
        /// When it is tried again.
        until: Timestamp,
    },
}

/// Where a Task is going.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Course {
    /// It runs.
    Running,
    /// It is out of the available ones and still answers.
    Draining {
        /// Until TERM is sent.
        until: Timestamp,
        /// Time between TERM and KILL.
        grace: Duration,
        /// How it will have ended.
        ending: Ending,
    },
    /// TERM was sent.
    Terminating {
        /// When KILL is sent.
        kill_at: Timestamp,
        /// How it will have ended.
        ending: Ending,
    },
    /// All ended; shim, mounts, cgroups and sandbox go.
    Cleaning {
        /// How it ended.
        ending: Ending,
        /// When to try again; none while a try is under way.
        next: Option<Timestamp>,
    },
    /// Nothing of it is left; its end is told until it is acknowledged.
    Done {
        /// How it ended.
        ending: Ending,
    },
}

/// How a Task ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Its deletion was asked for.
    Stopped,
    /// It could not go on here.
    Failed {
        /// One word.
        reason: String,
        /// For a person.
        message: String,
    },
    /// The store knows it no more: nobody is told.
    Unwanted,
}

impl TaskRun {
    /// A Task of which nothing is here yet.
    pub fn new(assignment: Assignment) -> Self {
        let containers = assignment.containers.iter().cloned().map(ContainerRun::new).collect();
        Self::of(assignment.uid.clone(), Some(assignment), containers, Course::Running)
    }

    /// A Task that cannot be run as it stands.
    pub fn unfit(uid: &TaskUid, why: String) -> Self {
        let ending = Ending::Failed { reason: "Invalid".into(), message: why };
        Self::of(uid.clone(), None, Vec::new(), Course::Done { ending })
    }

    /// A Task that an earlier agent ended and did not see acknowledged; what is left of it goes again.
    pub fn ended(
        uid: TaskUid,
        assignment: Option<Assignment>,
        containers: Vec<ContainerRun>,
        ending: Ending,
    ) -> Self {
        let course = Course::Cleaning { ending, next: Some(Timestamp::from_millis(0)) };
        Self::of(uid, assignment, containers, course)
    }

    fn of(
        uid: TaskUid,
        assignment: Option<Assignment>,
        containers: Vec<ContainerRun>,
        course: Course,
    ) -> Self {
        Self {
            uid,
            assignment,
            home: Home::None,
            course,
            containers,
            setbacks: Restarts::default(),
            stop_unknown_at: None,
            known_ended: false,
        }
    }

    /// Whose it is.
    pub fn uid(&self) -> &TaskUid {
        &self.uid
    }

    /// Whether it may get requests: it is not stopping, and all its containers may.
    pub fn is_ready(&self) -> bool {
        self.course == Course::Running
            && !self.containers.is_empty()
            && self.containers.iter().all(ContainerRun::is_ready)
    }

    fn may_be_ready(&self) -> bool {
        self.course == Course::Running && self.containers.iter().all(ContainerRun::may_be_ready)
    }

    /// Whether the store knows of its end, or does not ask.
    pub(super) fn is_forgettable(&self) -> bool {
        match &self.course {
            Course::Done { ending: Ending::Unwanted } => true,
            Course::Done { .. } => self.known_ended,
            Course::Running
            | Course::Draining { .. }
            | Course::Terminating { .. }
            | Course::Cleaning { .. } => false,
        }
    }

    /// When it needs attention by time alone.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let course = match &self.course {
            Course::Running => match &self.home {
                Home::Failed { until, .. } => Some(*until),
                // Without a shim nothing runs, and a container that waits for its next attempt has the shim made again.
                Home::Ready | Home::None => self.containers.iter().filter_map(ContainerRun::next_due).min(),
                Home::Preparing => None,
            },
            Course::Draining { until, .. } => Some(*until),
            // Past it, KILL was sent to all and only exits are waited for.
            Course::Terminating { kill_at, .. } if self.may_be_killed() && self.home != Home::Preparing => {
                Some(*kill_at)
            }
            Course::Terminating { .. } | Course::Done { .. } => None,
            Course::Cleaning { next, .. } => *next,
        };
        [course, self.stop_unknown_at].into_iter().flatten().min()
    }

    fn may_be_killed(&self) -> bool {
        self.containers
            .iter()
            .any(|c| matches!(&c.state, RunState::Running(live) if live.fate != Fate::Killed))
    }

    fn policy(&self) -> Option<RestartPolicy> {
        self.assignment.as_ref().map(|a| a.restart)
    }

    fn container(&mut self, attempt: &Attempt) -> Option<&mut ContainerRun> {
        self.containers
            .iter_mut()
            .find(|c| c.program.name == attempt.container && c.attempt == attempt.number)
    }

    // What happens.

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

    pub(super) fn unknown_to_the_store(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        match self.course {
            Course::Cleaning { .. } | Course::Done { .. } => self.known_ended = true,
            Course::Running | Course::Draining { .. } | Course::Terminating { .. } => {
                if self.stop_unknown_at.is_none() {
                    let at = now.plus(UNKNOWN_TASKS_LIVE);
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
            (Err(trouble), Some(policy)) => match self.setbacks.count(&policy, now) {
                Verdict::Again(until) => Home::Failed { trouble, until },
                Verdict::TooOften => {
                    let message = trouble.message.clone();
                    self.begin_stop(
                        Ending::Failed { reason: trouble.reason.into(), message },
                        Duration::ZERO,
                        now,
                    );
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
                let exit =
                    Exit { code: 128, cause: ExitCause::NotStarted, at: now, message: trouble.message };
                self.exited(attempt, exit, now);
            }
        }
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
                self.begin_stop(Ending::Failed { reason: "TooManyRestarts".into(), message }, grace, now);
            }
        }
    }

    pub(super) fn checked(&mut self, attempt: &Attempt, probe: ProbeKind, finding: Finding) {
        if let Some(container) = self.container(attempt) {
            container.checked(probe, finding);
        }
    }

    pub(super) fn shim_lost(&mut self, now: Timestamp) {
        if self.home == Home::Ready {
            self.home = Home::None;
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

    /// Begins or hastens a stop; how it ends is said by whoever began it, but for a Task nobody wants.
    fn begin_stop(&mut self, new: Ending, grace: Duration, now: Timestamp) {
        let drain = match (&new, &self.assignment) {
            (Ending::Stopped, Some(assignment)) if self.may_be_ready() => assignment.drain,
            (Ending::Stopped | Ending::Failed { .. } | Ending::Unwanted, _) => Duration::ZERO,
        };
        match &mut self.course {
            Course::Running => {
                self.course = Course::Draining { until: now.plus(drain), grace, ending: new };
            }
            Course::Draining { grace: old, ending, .. } => {
                *old = grace.min(*old);
                ending.give_way_to(new);
            }
            Course::Terminating { kill_at, ending } => {
                *kill_at = now.plus(grace).min(*kill_at);
                ending.give_way_to(new);
            }
            Course::Cleaning { ending, .. } | Course::Done { ending } => ending.give_way_to(new),
        }
    }

    // What follows from the state.

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
            self.course = Course::Terminating { kill_at: now.plus(*grace), ending: ending.clone() };
        }
        if let Course::Terminating { kill_at, .. } = self.course {
            self.terminate(kill_at <= now, actions);
        }
        self.advance_cleaning(now, actions);
    }

    fn advance_running(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        match &self.home {
            Home::Preparing => return,
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

    /// Whether something of it runs, or is being made.
    fn is_occupied(&self) -> bool {
        self.home == Home::Preparing || self.containers.iter().any(ContainerRun::is_live)
    }

    fn attempt_of(&self, container: &ContainerRun) -> Attempt {
        attempt_of(&self.uid, container)
    }
}

fn attempt_of(task: &TaskUid, container: &ContainerRun) -> Attempt {
    Attempt { task: task.clone(), container: container.program.name.clone(), number: container.attempt }
}

impl Ending {
    /// Who began a stop says how it ends; but nobody is told about a Task that the store knows no more.
    fn give_way_to(&mut self, new: Ending) {
        match new {
            Ending::Unwanted => *self = new,
            Ending::Stopped | Ending::Failed { .. } => {}
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
