//! Everything that is known of a run: the store's events, what its nodes ran, which faults were in force.

use serde::{Deserialize, Serialize};

use super::answers::Operation;
use super::log::Event;
use super::watched::Stream;

/// All that is known of a run.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// The store's history, from its first revision, in order.
    pub events: Vec<Event>,
    /// What ran on the nodes.
    pub processes: Vec<Sighting>,
    /// What clients asked and were told.
    pub answers: Vec<Operation>,
    /// What watchers were told.
    pub watches: Vec<Stream>,
    /// What was done to the cluster.
    pub faults: Vec<Fault>,
    /// The moments at which it was to be settled, in order.
    pub settled: Vec<Settled>,
    /// Controllers, by the names of their Leases, that act without one: a test has two of them lead.
    pub forced: Vec<String>,
    /// What chance was drawn from; 0 when there was none.
    pub seed: u64,
}

/// A moment at which everything asked for was to be done: nobody had asked for more, nothing was in the way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settled {
    /// The last revision by then.
    pub rev: i64,
    /// When that was: nanoseconds of the machine's monotonic clock.
    pub at: u64,
    /// Names of the Nodes whose processes the probe sees.
    pub probed: Vec<String>,
}

/// One process of a Task as the node probe saw it. Times are nanoseconds of the machine's monotonic clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sighting {
    /// Name of the node.
    pub node: String,
    /// uid of the Task.
    pub task: String,
    /// Name of the container.
    pub container: String,
    /// What tells the container's attempts apart: processes of one attempt share it. None is unknown.
    pub attempt: Option<u64>,
    /// Process id.
    pub pid: i32,
    /// When it started, in clock ticks since boot: together with the pid it is one process.
    pub started: u64,
    /// When it was first seen.
    pub first: u64,
    /// When it was last seen.
    pub last: u64,
    /// Its control group.
    pub cgroup: String,
    /// Inode of its network namespace; 0 is unknown.
    pub network: u64,
}

/// Something that was done to the cluster. Times are nanoseconds of the machine's monotonic clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fault {
    /// For a person, as `kill -9 of apiserver 2`.
    pub what: String,
    /// When it began.
    pub from: u64,
    /// When it was over; none until the end of the run.
    pub until: Option<u64>,
}
