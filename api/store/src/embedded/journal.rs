//! What outlives the process.

use std::sync::Arc;
use std::time::Duration;

use super::state::Place;
use crate::{Changes, LeaseId, Rev, StoreError, Urgency};

/// One step of the store's history.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    /// A revision.
    Changed(Arc<Changes>),
    /// A new lease.
    Granted {
        /// Its id.
        lease: LeaseId,
        /// How long it lives.
        ttl: Duration,
    },
    /// A lease ended; its keys went in a revision before.
    Ended {
        /// Its id.
        lease: LeaseId,
    },
    /// What was before a revision cannot be read any more.
    Compacted {
        /// The revision.
        rev: Rev,
    },
    /// Versions that nobody can read are dropped; one that is still there after a crash is found again by `load`.
    Dropped {
        /// Where they are.
        places: Vec<Place>,
    },
}

/// Why entries were not added.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing of them is kept; the journal can still be written.
    Refused(StoreError),
    /// It is not known which of them are kept: the journal must not be written again.
    Broken(StoreError),
}

/// Keeps the history.
pub(super) trait Journal: Send {
    /// Looks at the room for entries of so many bytes. Every append follows a look. After an error the journal must not
    /// be written again.
    fn look(&mut self, bytes: u64) -> Result<(), StoreError>;

    /// The free bytes of its disk with which it accepts the smallest ordinary write.
    fn needed(&self) -> u64;

    /// Whether there was room for entries of this urgency and size at the last look.
    fn admits(&mut self, urgency: Urgency, bytes: u64) -> bool;

    /// The refusal of entries of this urgency that were not admitted.
    fn shortage(&self, urgency: Urgency) -> StoreError;

    /// Adds entries that are admitted, all or none. They are durable when this returns.
    fn append(&mut self, entries: &[Entry]) -> Result<(), Failure>;

    /// Gives back disk space that holds nothing. It may take as long as some hundred appends, so it is called only while
    /// nobody waits. After an error the journal must not be written again.
    fn shrink(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Keeps nothing.
pub(super) struct NoJournal;

impl Journal for NoJournal {
    fn look(&mut self, _: u64) -> Result<(), StoreError> {
        Ok(())
    }

    fn needed(&self) -> u64 {
        0
    }

    fn admits(&mut self, _: Urgency, _: u64) -> bool {
        true
    }

    fn shortage(&self, _: Urgency) -> StoreError {
        StoreError::Full("it is never full".into())
    }

    fn append(&mut self, _: &[Entry]) -> Result<(), Failure> {
        Ok(())
    }
}
