//! The store: one ordered history of key-value writes, in three forms behind one trait: etcd (production),
//! embedded (one machine, durable) and memory (the embedded one without journal). One suite holds all to the same rules.

pub mod committer;
mod embedded;
mod etcd;
pub mod position;
mod rules;
pub mod value;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

pub use committer::{Author, Committer, CommitterOptions, Ended, Submission};
pub use embedded::EmbeddedStore;
pub use etcd::{EtcdOptions, EtcdStore, Unsupported, etcd_addresses};
pub use position::positions;
pub use value::{Header, Value, WriteId};

/// A revision of the store: each call of `commit` that writes anything adds one. 0 means none.
pub type Rev = i64;

/// A lease of the store: keys bound to it go when it runs out. 0 means none.
pub type LeaseId = i64;

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kv {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// Revision in which the key came to be.
    pub create_rev: Rev,
    /// Revision of the last write.
    pub mod_rev: Rev,
    /// Writes since it came to be.
    pub version: i64,
    /// The lease it goes with; 0 is none.
    pub lease: LeaseId,
}

/// Conditions and writes that happen together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// All must hold of the state before the call.
    pub conditions: Vec<Condition>,
    /// Each key at most once. None: the group only asks.
    pub writes: Vec<Write>,
}

/// What must hold of one key before the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The key.
    pub key: Bytes,
    /// What must hold.
    pub must: Must,
}

impl Condition {
    /// There is no `key`.
    pub fn absent(key: impl Into<Bytes>) -> Self {
        Self { key: key.into(), must: Must::BeAbsent }
    }

    /// `key` was last written in `rev`, which is not 0.
    pub fn unchanged(key: impl Into<Bytes>, rev: Rev) -> Self {
        Self { key: key.into(), must: Must::BeUnchangedSince(rev) }
    }

    /// `key` is there and was not written after `rev`.
    pub fn not_written_after(key: impl Into<Bytes>, rev: Rev) -> Self {
        Self { key: key.into(), must: Must::ExistNotWrittenAfter(rev) }
    }
}

/// What must hold of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Must {
    /// There is no such key.
    BeAbsent,
    /// Its last write was in this revision.
    BeUnchangedSince(Rev),
    /// It is there, and its last write was not after this revision.
    ExistNotWrittenAfter(Rev),
}

impl Must {
    /// Whether it holds of a key as it is.
    pub fn holds(self, now: Option<&Kv>) -> bool {
        match (self, now) {
            (Self::BeAbsent, now) => now.is_none(),
            (Self::BeUnchangedSince(rev), Some(kv)) => kv.mod_rev == rev,
            (Self::ExistNotWrittenAfter(rev), Some(kv)) => kv.mod_rev <= rev,
            (Self::BeUnchangedSince(_) | Self::ExistNotWrittenAfter(_), None) => false,
        }
    }
}

/// One write of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets a key, bound to a lease when that is not 0.
    Put {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
        /// The lease; 0 is none, and ends an older binding.
        lease: LeaseId,
    },
    /// Removes a key; of an absent key it does nothing.
    Delete {
        /// The key.
        key: Bytes,
    },
}

impl Group {
    /// Whether it removes keys and writes none.
    pub fn only_deletes(&self) -> bool {
        !self.writes.is_empty() && self.puts_nothing()
    }

    /// Whether a store that takes no new values can carry it out.
    pub fn puts_nothing(&self) -> bool {
        self.writes.iter().all(|write| matches!(write, Write::Delete { .. }))
    }

    /// The urgency of the group if its writer asks for `wanted`: a group that only deletes is at least a removal, and one
    /// without writes needs no room.
    pub fn urgency(&self, wanted: Urgency) -> Urgency {
        match self.writes.as_slice() {
            [] => Urgency::Compaction,
            _ if self.only_deletes() => wanted.max(Urgency::Removal),
            _ => wanted,
        }
    }
}

impl Write {
    /// Sets `key`, bound to no lease.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::Put { key: key.into(), value: value.into(), lease: 0 }
    }

    /// Removes `key`.
    pub fn delete(key: impl Into<Bytes>) -> Self {
        Self::Delete { key: key.into() }
    }

    /// The key that is written.
    pub fn key(&self) -> &Bytes {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// What a write may use of a store that is full: a store may keep a reserve for what makes room, and for what keeps
/// servers and leaders in their place meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Urgency {
    /// May not use the reserve.
    #[default]
    Ordinary,
    /// May use half of the reserve: leases, epochs, keys of servers.
    Upkeep,
    /// May use 15/16 of the reserve: deletes, and writes that end something. Groups that only delete are always that
    /// urgent.
    Removal,
    /// May use all of the reserve: compactions, which make room in it.
    Compaction,
}

/// How one group ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The conditions held and the writes are done.
    Applied,
    /// A condition did not hold: nothing was written. The keys of the group's conditions as they were before the call.
    Conflict {
        /// In the order of the conditions.
        current: Vec<Option<Kv>>,
    },
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The store's revision after the call; the writes are of this revision when any group wrote something.
    pub rev: Rev,
    /// One for each group, in order.
    pub outcomes: Vec<Outcome>,
}

/// Which state is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The newest, linearizable.
    Latest,
    /// As it was in a revision.
    Rev(Rev),
}

/// A part of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The revision that was read: the store's newest one for `At::Latest`.
    pub rev: Rev,
    /// In the order of their keys.
    pub kvs: Vec<Kv>,
    /// Whether keys of the range were left out for the limit.
    pub more: bool,
}

/// All changes of one revision within a watched range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The revision.
    pub rev: Rev,
    /// In the order of their keys within the revision.
    pub changes: Vec<Change>,
}

/// One key's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key as it is now; none when it was removed.
    pub now: Option<Kv>,
    /// The key as it was in the revision before; none when it was absent, or that is compacted.
    pub before: Option<Kv>,
    /// The key.
    pub key: Bytes,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The revision was compacted.
    #[error("revision is compacted; the oldest kept is {oldest}")]
    Compacted {
        /// The oldest revision that can be read.
        oldest: Rev,
    },
    /// The revision has not happened yet.
    #[error("revision is in the future; the newest is {newest}")]
    Future {
        /// The newest revision.
        newest: Rev,
    },
    /// The watcher was too slow and was cut off.
    #[error("watcher was too slow")]
    Lagged,
    /// There is no such lease.
    #[error("there is no lease {0}")]
    NoLease(LeaseId),
    /// The call breaks a rule of `commit`: nothing was sent.
    #[error("call breaks a rule of the store: {0}")]
    BadCall(String),
    /// The store is full: nothing was written, and only what is urgent is.
    #[error("store is full: {0}")]
    Full(String),
    /// The call was not carried out; it may be sent again.
    #[error("store is unavailable: {0}")]
    Unavailable(String),
    /// The call may have been carried out; sent again unchanged its conditions make it safe.
    #[error("outcome is unknown: {0}")]
    Unknown(String),
    /// The store was restored from a backup, or another took its place: nothing that was read before holds, and
    /// whoever keeps any of it starts anew.
    #[error("store has another history: {0}")]
    Replaced(String),
    /// What is stored cannot be read: needs a person.
    #[error("store is damaged: {0}")]
    Damaged(String),
}

/// How much one call may carry. One for all three forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// groups + the most operations of a group (the larger of its compares and its writes).
    pub operations: usize,
    /// Writes of the call.
    pub writes: usize,
    /// Bytes of all keys and values as they travel: a condition's key counts twice, an operation 24 more.
    pub bytes: usize,
}

/// The limits of design: what etcd allows with its defaults.
pub const LIMITS: Limits = Limits { operations: 128, writes: 1000, bytes: berth_types::parcel::CALL_BYTES };

/// The end of the range of all keys that begin with `prefix`.
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let kept = prefix.iter().rposition(|byte| *byte != u8::MAX).map_or(0, |last| last + 1);
    let mut end = prefix[..kept].to_vec();
    match end.last_mut() {
        Some(last) => *last += 1,
        None => end = vec![u8::MAX; prefix.len() + 1],
    }
    end.into()
}

/// Whether and how the store works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// As `etcd 3.5.1`, `embedded`, `memory`.
    pub form: String,
    /// The newest revision.
    pub rev: Rev,
    /// Why writes are refused at present, if they are.
    pub read_only: Option<String>,
    /// Why the process must start anew to write again, once that would help.
    pub start_anew: Option<String>,
}

/// A stream of changes, revision by revision; ends after an error.
pub type WatchStream = BoxStream<'static, Result<Changes, StoreError>>;

/// One ordered history of key-value writes.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The name of the store's history. Revisions of one history mean nothing in another: a store restored from a
    /// backup has another one, as far as that can be told. What is before a dot is another only in another history; what
    /// is after it only [`Store::includes`] understands.
    fn history(&self) -> &str;

    /// Whether `rev`, as it was told under the name `history`, is a revision of this store's past, or may become one of
    /// its own future.
    fn includes(&self, history: &str, rev: Rev) -> bool {
        // A form that cannot tell more than its name.
        let _ = rev;
        history == self.history()
    }

    /// Tries all groups in one revision, each on its own, as the state was before the call.
    async fn commit(&self, groups: Vec<Group>) -> Result<Committed, StoreError>;

    /// As `commit`, for groups that are all at least that urgent. Only a store that keeps a reserve tells them from
    /// others.
    async fn commit_urgent(&self, groups: Vec<Group>, urgency: Urgency) -> Result<Committed, StoreError> {
        let _ = urgency;
        self.commit(groups).await
    }

    /// One key, with the revision that was read.
    async fn get(&self, key: &[u8], at: At) -> Result<(Rev, Option<Kv>), StoreError>;

    /// Keys from `start` up to, not including, `end`, at most `limit` (0: all). `start` is not empty and before `end`.
    async fn range(&self, start: &[u8], end: &[u8], limit: usize, at: At) -> Result<Page, StoreError>;

    /// Every change of the range from revision `from` on, in order, each once, all of one revision together.
    /// `from` may be in the future; the first that is whole is the one after the oldest that can be read.
    /// Fails (or ends) with `Compacted` or `Lagged` when a change would be skipped.
    async fn watch(&self, start: &[u8], end: &[u8], from: Rev) -> Result<WatchStream, StoreError>;

    /// Forgets what was before `rev`.
    async fn compact(&self, rev: Rev) -> Result<(), StoreError>;

    /// The newest revision, linearizable.
    async fn current_rev(&self) -> Result<Rev, StoreError>;

    /// A new lease that runs out `ttl` after its last renewal, not before and within 2 s after.
    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, StoreError>;

    /// Renews a lease.
    async fn lease_renew(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Ends a lease; its keys go in one revision.
    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Whether and how the store works.
    async fn health(&self) -> Result<Health, StoreError>;
}
