//! What outlives the process.

use std::sync::Arc;
use std::time::Duration;

use super::state::Place;
use crate::{Changes, LeaseId, Rev, StoreError};

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

/// Keeps the history.
pub(super) trait Journal: Send {
    /// Adds entries, all or none. They are durable when this returns; after an error nobody knows, and the
    /// journal must not be written again.
    fn append(&mut self, entries: &[Entry]) -> Result<(), StoreError>;

    /// Gives back disk space that holds nothing. It may take as long as some hundred appends, so it is called only while
    /// nobody waits.
    fn shrink(&mut self) {}
}

/// Keeps nothing.
pub(super) struct NoJournal;

impl Journal for NoJournal {
    fn append(&mut self, _: &[Entry]) -> Result<(), StoreError> {
        Ok(())
    }
}
