//! The lines on a shim's socket, one JSON document each.
//!
//! The client speaks first: [`Hello`]. The shim answers [`Greeting`] and, if it refused, closes. Then the client sends
//! [`Call`]s and the shim sends [`FromShim`] lines: a reply per call, in the order in which they are finished, and exit
//! notices to who subscribed. A line is at most [`MAX_LINE`] bytes.

use std::path::PathBuf;

use berth_types::Timestamp;
use serde::{Deserialize, Serialize};

use crate::bundle::Mount;
use crate::exit::ExitRecord;
use crate::process::ProcessId;

/// The protocol that this crate speaks. A shim outlives the agent that started it, so an agent may meet an older one.
pub const VERSION: u32 = 1;

/// Longest line either side accepts, in bytes.
pub const MAX_LINE: usize = 1 << 20;

/// A client's first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// Oldest protocol the client can speak.
    pub oldest: u32,
    /// Newest protocol the client can speak.
    pub newest: u32,
}

/// The shim's first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Greeting {
    /// The conversation goes on in this protocol.
    Welcome {
        /// The protocol spoken from here on.
        version: u32,
        /// Whose shim this is.
        task_uid: String,
        /// The shim's process.
        shim: ProcessId,
    },
    /// The shim closes the connection.
    Refused {
        /// Why, for a person.
        why: String,
    },
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// Chosen by the client; the reply carries it.
    pub id: u64,
    /// What is asked.
    pub request: Request,
}

/// What a shim can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Request {
    /// What every container is doing. Answer: `State`.
    State,
    /// Create and start an attempt of a container; what is left of the attempt before goes. Answer: `Started`.
    Start(Start),
    /// Send a signal to the container's first process. Answer: `Done`.
    Signal {
        /// Which container.
        container: String,
        /// The signal's number.
        signal: i32,
    },
    /// Kill everything in the container's cgroup and below. Answer: `Done`, when the signals are sent.
    Kill {
        /// Which container.
        container: String,
    },
    /// Remove what is left of a container that has ended: cgroups, mounts, state. Answer: `Done`, also when nothing
    /// was left. The exit record and the logs stay.
    Delete {
        /// Which container.
        container: String,
    },
    /// Push every end from now on to this connection. Answer: `State`, of the moment from which on ends are pushed.
    Subscribe,
    /// End the shim, if no container runs; what is left of ended ones goes first. Answer: `Done`, then it closes.
    Shutdown,
}

/// An attempt of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    /// Which container.
    pub container: String,
    /// Which attempt; larger than all before it.
    pub attempt: u32,
    /// Folder with the OCI `config.json`. The spec must be explicit: absolute `linux.cgroupsPath` equal to the
    /// container's, absolute `root.path`, `noNewPrivileges`, `PATH` and `HOME` set, rlimits given; and without
    /// `linux.seccomp`, hooks and terminal, for the filter is the shim's own. It stays until the attempt is deleted.
    pub bundle: PathBuf,
    /// Made in this order before create.
    pub mounts: Vec<Mount>,
    /// The file that output is appended to; its folder exists.
    pub log: PathBuf,
}

/// A line from the shim after the greeting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum FromShim {
    /// The answer to a call.
    Reply {
        /// The call's id.
        id: u64,
        /// What came of it.
        outcome: Outcome,
    },
    /// A container has ended; its record is on disk and its log is complete.
    Exited(ExitRecord),
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It was done.
    Ok(Answer),
    /// It was not.
    Refused(Refusal),
}

/// The answer to a call that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// Nothing to tell.
    Done,
    /// The container runs.
    Started(Running),
    /// What every container is doing, in the bundle's order.
    State(Vec<ContainerReport>),
}

/// Why a call was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// What the caller can do about it.
    pub reason: RefusalReason,
    /// The step, the object and the cause, for a person.
    pub message: String,
}

/// What a caller can do about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RefusalReason {
    /// The bundle names no such container, or the line was no valid call.
    Invalid,
    /// The container is not in a state for this: it runs already, or not, or the attempt is not a new one.
    WrongState,
    /// The root filesystem or the spec must not be run as it is; trying again is useless.
    Unsafe,
    /// The container could not be created or started (missing program, full disk, limits); nothing of it is left.
    CannotStart,
    /// Something of the container could not be removed; asking again may help.
    Leftover,
    /// It took too long and was given up.
    TimedOut,
}

/// What one container is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerReport {
    /// The container's name.
    pub container: String,
    /// What it is doing.
    pub state: ContainerState,
}

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ContainerState {
    /// There is nothing of it: never started, could not be started, or deleted.
    Absent,
    /// It is being created.
    Starting {
        /// Which attempt.
        attempt: u32,
    },
    /// It runs.
    Running(Running),
    /// It has ended, and what is left of it was not deleted yet.
    Exited(ExitRecord),
}

/// A running attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    /// Which attempt.
    pub attempt: u32,
    /// The container's first process, as the node sees it.
    pub process: ProcessId,
    /// Since when.
    pub started_at: Timestamp,
}
