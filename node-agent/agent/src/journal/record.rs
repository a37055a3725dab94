//! What the journal says, record by record, and what all records together amount to.

use std::collections::BTreeMap;

use berth_shim_api::ProcessId;
use berth_types::Timestamp;
use berth_types::task::Task;
use serde::{Deserialize, Serialize};

use crate::lives::Lives;

/// One thing that must be known after a crash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Record {
    /// The Node that this folder belongs to.
    Identity(Identity),
    /// The Node is gone and nothing of it runs any more.
    IdentityGone,
    /// The boot that what follows belongs to.
    Boot {
        /// Its id.
        id: String,
    },
    /// How the agents of this node ended so far.
    Lives(Lives),
    /// Sessions up to this one may have been opened.
    Session {
        /// Its number.
        number: u64,
    },
    /// A Task is about to be prepared.
    Task {
        /// The Task as the store had it.
        task: Box<Task>,
    },
    /// A Task's shim runs.
    Shim {
        /// Whose.
        task: String,
        /// Its process.
        process: ProcessId,
    },
    /// An attempt is about to be started.
    Attempt {
        /// Of which Task.
        task: String,
        /// Of which container.
        container: String,
        /// 0 for the first.
        number: u32,
        /// When.
        at: Timestamp,
    },
    /// An attempt ended.
    Exit {
        /// Of which Task.
        task: String,
        /// Of which container.
        container: String,
        /// Which attempt, and how.
        exit: RememberedExit,
    },
    /// A Task is stopping: nothing of it is started again.
    Stopping {
        /// Which.
        task: String,
        /// How.
        stop: RememberedStop,
    },
    /// A Task ended here; only its end is still to be told.
    Ending {
        /// Which.
        task: String,
        /// How.
        ending: RememberedEnding,
    },
    /// The end of a Task is acknowledged.
    Forgotten {
        /// Which.
        task: String,
    },
}

/// The Node that a data folder belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// uid of the cluster.
    pub cluster: String,
    /// Name of the Node.
    pub name: String,
    /// uid of the Node.
    pub uid: String,
    /// The store's history in which the Node was last seen; empty in older journals.
    #[serde(default)]
    pub history: String,
    /// The version of that history in which it was seen; empty in older journals.
    #[serde(default)]
    pub version: String,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RememberedExit {
    /// Which attempt.
    pub number: u32,
    /// Exit code.
    pub code: i32,
    /// As in a container's status.
    pub cause: RememberedCause,
    /// When it started; none when it never ran.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub at: Timestamp,
    /// For a person.
    pub message: String,
}

/// Why an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum RememberedCause {
    Completed,
    Error,
    OutOfMemory,
    Unhealthy,
    NotStarted,
    Unknown,
}

/// How a Task stops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RememberedStop {
    /// Milliseconds between TERM and KILL.
    pub grace_millis: u64,
    /// When KILL is sent; absent in older journals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill_at: Option<Timestamp>,
    /// How it will have ended.
    pub ending: RememberedEnding,
}

/// How a Task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum RememberedEnding {
    Stopped,
    Failed { reason: String, message: String },
    Unwanted,
}

/// What all records together amount to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// The Node that this folder belongs to.
    pub identity: Option<Identity>,
    /// The boot that the shims belong to.
    pub boot: String,
    /// How agents ended so far.
    pub lives: Lives,
    /// The largest number of a session.
    pub session: u64,
    /// Tasks that are not forgotten, by uid.
    pub tasks: BTreeMap<String, RememberedTask>,
}

/// What is known of a Task.
#[derive(Debug, Clone, PartialEq)]
pub struct RememberedTask {
    /// The Task as the store had it.
    pub task: Task,
    /// Its shim.
    pub shim: Option<ProcessId>,
    /// Its containers that were started.
    pub containers: BTreeMap<String, RememberedContainer>,
    /// How it stops, once it does.
    pub stop: Option<RememberedStop>,
    /// How it ended, once it has.
    pub ending: Option<RememberedEnding>,
}

/// What is known of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RememberedContainer {
    /// The last attempt that was to be started.
    pub attempt: u32,
    /// When that was.
    pub begun: Option<Timestamp>,
    /// Ends, oldest first; only the last few.
    pub exits: Vec<RememberedExit>,
}

/// Ends kept of each container: more than any sensible number of restarts in place.
const EXITS_KEPT: usize = 64;

impl Memory {
    /// Takes one record in; one about a Task that is not known is from before its end and says nothing.
    pub fn take(&mut self, record: Record) {
        match record {
            Record::Identity(identity) => self.identity = Some(identity),
            Record::IdentityGone => self.identity = None,
            Record::Boot { id } => self.boot = id,
            Record::Lives(lives) => self.lives = lives,
            Record::Session { number } => self.session = self.session.max(number),
            Record::Task { task } => {
                let uid = task.metadata.uid.clone();
                let containers = BTreeMap::new();
                let new = RememberedTask { task: *task, shim: None, containers, stop: None, ending: None };
                self.tasks.entry(uid).or_insert(new);
            }
            Record::Shim { task, process } => self.of(&task, |known| known.shim = Some(process)),
            Record::Attempt { task, container, number, at } => self.of(&task, |known| {
                let container = known.containers.entry(container).or_default();
                (container.attempt, container.begun) = (number, Some(at));
            }),
            Record::Exit { task, container, exit } => self.of(&task, |known| {
                let exits = &mut known.containers.entry(container).or_default().exits;
                exits.push(exit);
                let surplus = exits.len().saturating_sub(EXITS_KEPT);
                exits.drain(..surplus);
            }),
            Record::Stopping { task, stop } => self.of(&task, |known| known.stop = Some(stop)),
            Record::Ending { task, ending } => self.of(&task, |known| known.ending = Some(ending)),
            Record::Forgotten { task } => {
                self.tasks.remove(&task);
            }
        }
    }

    fn of(&mut self, task: &str, change: impl FnOnce(&mut RememberedTask)) {
        if let Some(known) = self.tasks.get_mut(task) {
            change(known);
        }
    }

    /// Gives the fewest records that amount to the same, one after another: together they may be large.
    pub fn each_record<E>(&self, mut take: impl FnMut(Record) -> Result<(), E>) -> Result<(), E> {
        self.identity.iter().cloned().map(Record::Identity).try_for_each(&mut take)?;
        take(Record::Boot { id: self.boot.clone() })?;
        take(Record::Lives(self.lives.clone()))?;
        take(Record::Session { number: self.session })?;
        self.tasks.iter().try_for_each(|(uid, known)| known.each_record(uid, &mut take))
    }
}

impl RememberedTask {
    fn each_record<E>(&self, uid: &str, take: &mut impl FnMut(Record) -> Result<(), E>) -> Result<(), E> {
        let task = || uid.to_owned();
        take(Record::Task { task: Box::new(self.task.clone()) })?;
        self.shim.map(|process| Record::Shim { task: task(), process }).map_or(Ok(()), &mut *take)?;
        for (name, container) in &self.containers {
            let begun = container.begun.map(|at| Record::Attempt {
                task: task(),
                container: name.clone(),
                number: container.attempt,
                at,
            });
            begun.map_or(Ok(()), &mut *take)?;
            for exit in &container.exits {
                take(Record::Exit { task: task(), container: name.clone(), exit: exit.clone() })?;
            }
        }
        let stop = self.stop.clone().map(|stop| Record::Stopping { task: task(), stop });
        stop.map_or(Ok(()), &mut *take)?;
        let ending = self.ending.clone().map(|ending| Record::Ending { task: task(), ending });
        ending.map_or(Ok(()), take)
    }
}
