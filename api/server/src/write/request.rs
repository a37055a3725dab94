//! One write as asked for, whatever happens to it later.

use berth_proto::v1 as wire;
use berth_store::{Author, Rev};
use serde_json::Value;

use crate::apply::{Conflicts, Part};
use crate::keys;
use crate::table::KindId;
use crate::version::Version;

/// The most bytes of one object as its user writes it.
pub const MOST_BYTES: usize = 1 << 20;
/// The most bytes of one object with what is written to it later: its binding, its status (some 170 KiB of a Task with
/// all containers it may have), the marks of its deletion. A call of the store takes it.
pub const MOST_STORED_BYTES: usize = MOST_BYTES + (256 << 10);

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Make an object that is not there.
    Create,
    /// Replace everything, or the status alone.
    Replace(Part),
    /// Merge a patch (RFC 7386) into it.
    Patch(Part),
    /// Set what one manager wants, take away what it no longer wants.
    Apply(Part),
    /// Ask for its end.
    Delete,
}

/// A condition on another object.
#[derive(Debug, Clone)]
pub struct Precondition {
    /// Its kind.
    pub kind: KindId,
    /// `<namespace or ->/<name>`.
    pub path: String,
    /// What must be so.
    pub wanted: Wanted,
}

/// What a precondition wants of an object.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// It is not there.
    Absent,
    /// It is there; an empty uid is any.
    There {
        /// Its uid.
        uid: String,
        /// Its version; none is any.
        version: Option<Version>,
    },
}

/// The epoch of the leader that writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// Namespace and name of its Lease.
    pub lease: (String, String),
    /// The revision in which it became leader.
    pub epoch: Rev,
}

/// One write as asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// What is to be done.
    pub verb: Verb,
    /// To which kind.
    pub kind: KindId,
    /// Empty for kinds without namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// `<namespace or ->/<name>`.
    pub path: String,
    /// The object or the patch; null for a delete.
    pub body: Value,
    /// The uid that it must have; empty is any.
    pub uid: String,
    /// The version that it must have; none is any.
    pub version: Option<Version>,
    /// The generation that it must have; none is any.
    pub generation: Option<i64>,
    /// What must hold of other objects.
    pub preconditions: Vec<Precondition>,
    /// The epoch that must not be over.
    pub fence: Option<Fence>,
    /// Who writes.
    pub author: Author,
    /// For applies.
    pub applies: Applies,
    /// For deletes.
    pub deletes: Deletes,
    /// Whether everything is checked and nothing written.
    pub dry_run: bool,
}

/// How an apply treats fields of others.
#[derive(Debug, Clone)]
pub struct Applies {
    /// What happens to conflicts.
    pub conflicts: Conflicts,
    /// Managers whose conflicting fields are taken over.
    pub take_from: Vec<String>,
}

/// How an object ends.
#[derive(Debug, Clone)]
pub struct Deletes {
    /// Seconds that it is left to stop; none is what its kind says.
    pub grace_seconds: Option<i64>,
    /// Whether what belongs to it goes on living.
    pub orphan: bool,
}

impl Request {
    /// Whether it names a state of the object that was seen.
    pub fn means_one_that_exists(&self) -> bool {
        !self.uid.is_empty() || self.version.is_some() || self.generation.is_some()
    }
}

impl Fence {
    /// Reads a fence from the wire.
    pub fn read(fence: wire::Fence) -> Self {
        Self { lease: (fence.namespace, fence.lease), epoch: fence.epoch }
    }

    /// The key that must not have been written since.
    pub fn key(&self) -> bytes::Bytes {
        keys::epoch(&self.lease.0, &self.lease.1)
    }
}

/// Who stands in the header of a value.
pub fn author(manager: &str, fence: Option<&Fence>) -> Author {
    Author { name: manager.into(), epoch: fence.map_or(0, |fence| fence.epoch) }
}
