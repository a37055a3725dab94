//! Which history the store was opened on, and how far it was told: an etcd restored from a snapshot is another store
//! under the same address, and nothing that was read before may decide what is written into it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::{Rev, StoreError};

/// What was told of one history.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// The cluster id of etcd: a restore with a new token makes a new one.
    cluster: OnceLock<u64>,
    /// The history's name: the id in hexadecimal digits.
    name: OnceLock<String>,
    told: AtomicI64,
    replaced: OnceLock<String>,
}

impl Past {
    /// The name of the history; empty before anybody answered.
    pub(super) fn name(&self) -> &str {
        self.name.get().map_or("", String::as_str)
    }

    /// The newest revision that anybody told.
    pub(super) fn told(&self) -> Rev {
        self.told.load(Ordering::SeqCst)
    }

    /// A revision was told.
    pub(super) fn tell(&self, rev: Rev) {
        self.told.fetch_max(rev, Ordering::SeqCst);
    }

    /// Fails once the history was found to be replaced, for ever.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match self.replaced.get() {
            Some(why) => Err(StoreError::Replaced(why.clone())),
            None => Ok(()),
        }
    }

    /// An answer came from this cluster.
    pub(super) fn is_of(&self, cluster: u64) -> Result<(), StoreError> {
        let ours = *self.cluster.get_or_init(|| cluster);
        self.name.get_or_init(|| format!("{ours:016x}"));
        if ours != cluster {
            self.replaced.get_or_init(|| {
                format!(
                    "etcd's cluster id is {cluster:016x}, and was {ours:016x}: it was restored or set up anew"
                )
            });
        }
        self.check()
    }

    /// A linearizable read, asked for when `told` had been told, found `newest`.
    pub(super) fn reaches(&self, told: Rev, newest: Rev) -> Result<(), StoreError> {
        if newest < told {
            self.replaced.get_or_init(|| {
                format!("etcd's newest revision is {newest}, and it had told of {told}: it was restored from a snapshot")
            });
        }
        self.tell(newest);
        self.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_cluster_is_another_history_for_ever() {
        let past = Past::default();
        past.is_of(0xab).unwrap();
        assert_eq!(past.name(), "00000000000000ab");
        assert!(matches!(past.is_of(0xac), Err(StoreError::Replaced(_))));
        assert!(matches!(past.is_of(0xab), Err(StoreError::Replaced(_))));
        assert!(past.check().is_err());
    }

    #[test]
    fn a_revision_that_went_back_is_another_history() {
        let past = Past::default();
        past.is_of(1).unwrap();
        past.tell(7);
        past.tell(5);
        past.reaches(past.told(), 7).unwrap();
        past.reaches(3, 7).unwrap();
        assert!(matches!(past.reaches(past.told(), 6), Err(StoreError::Replaced(_))));
        assert!(past.check().is_err());
    }
}
