//! One Task on this node: Preparing -> Starting -> Running -> Draining -> Terminating -> Cleaning -> acknowledged.
//! What happens changes the state alone; `advance` then asks for whatever the state is ripe for.

use std::time::Duration;

use berth_types::Timestamp;

use super::run::{ContainerRun, Fate, RunState};
use super::{Attempt, Restarts, Trouble};
use crate::assignment::{Assignment, RestartPolicy, TaskUid};

/// One Task on this node.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRun {
    pub(super) uid: TaskUid,
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
    pub(super) stop_unknown_at: Option<Timestamp>,
    pub(super) known_ended: bool,
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
    /// The shim of an earlier agent is gone; which attempts ended with it is told next, and nothing begins before.
    Lost,
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
        /// Time between TERM and KILL: the stop's deadline is so long after `until`.
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

impl Course {
    /// When what runs is killed; `None` while it is to run, and once nothing runs.
    pub fn deadline(&self) -> Option<Timestamp> {
        match self {
            Self::Draining { until, grace, .. } => Some(until.plus(*grace)),
            Self::Terminating { kill_at, .. } => Some(*kill_at),
            Self::Running | Self::Cleaning { .. } | Self::Done { .. } => None,
        }
    }
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

    pub(super) fn may_be_ready(&self) -> bool {
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
                Home::Preparing | Home::Lost => None,
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

    pub(super) fn policy(&self) -> Option<RestartPolicy> {
        self.assignment.as_ref().map(|a| a.restart)
    }

    pub(super) fn container(&mut self, attempt: &Attempt) -> Option<&mut ContainerRun> {
        self.containers
            .iter_mut()
            .find(|c| c.program.name == attempt.container && c.attempt == attempt.number)
    }

    /// Whether something of it runs, or is being made.
    pub(super) fn is_occupied(&self) -> bool {
        self.home == Home::Preparing || self.containers.iter().any(ContainerRun::is_live)
    }

    pub(super) fn attempt_of(&self, container: &ContainerRun) -> Attempt {
        attempt_of(&self.uid, container)
    }
}

pub(super) fn attempt_of(task: &TaskUid, container: &ContainerRun) -> Attempt {
    Attempt { task: task.clone(), container: container.program.name.clone(), number: container.attempt }
}

impl Ending {
    /// Who began a stop says how it ends; but nobody is told about a Task that the store knows no more.
    pub(super) fn give_way_to(&mut self, new: Ending) {
        match new {
            Ending::Unwanted => *self = new,
            Ending::Stopped | Ending::Failed { .. } => {}
        }
    }
}
