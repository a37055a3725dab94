//! A store in memory that loses its ear for leases, as an etcd without a leader does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use berth_store::{
    At, Committed, EmbeddedStore, Group, Health, Kv, LeaseId, Page, Rev, Store, StoreError, WatchStream,
};

/// A store whose leases cannot be renewed while it is deaf.
pub struct Deaf {
    inner: EmbeddedStore,
    deaf: AtomicBool,
}

#[async_trait::async_trait]
impl Store for Deaf {
    fn history(&self) -> &str {
        self.inner.history()
    }

    async fn commit(&self, groups: Vec<Group>) -> Result<Committed, StoreError> {
        self.inner.commit(groups).await
    }

    async fn get(&self, key: &[u8], at: At) -> Result<(Rev, Option<Kv>), StoreError> {
        self.inner.get(key, at).await
    }

    async fn range(&self, start: &[u8], end: &[u8], limit: usize, at: At) -> Result<Page, StoreError> {
        self.inner.range(start, end, limit, at).await
    }

    async fn watch(&self, start: &[u8], end: &[u8], from: Rev) -> Result<WatchStream, StoreError> {
        self.inner.watch(start, end, from).await
    }

    async fn compact(&self, rev: Rev) -> Result<(), StoreError> {
        self.inner.compact(rev).await
    }

    async fn current_rev(&self) -> Result<Rev, StoreError> {
        self.inner.current_rev().await
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.heard()?;
        self.inner.lease_grant(ttl).await
    }

    async fn lease_renew(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.heard()?;
        self.inner.lease_renew(lease).await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner.lease_revoke(lease).await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.inner.health().await
    }
}

impl Default for Deaf {
    fn default() -> Self {
        Self { inner: EmbeddedStore::memory(), deaf: AtomicBool::new(false) }
    }
}

impl Deaf {
    /// From now on no lease is granted or renewed.
    pub fn turn_deaf(&self) {
        self.deaf.store(true, Ordering::Relaxed);
    }

    /// Leases are granted and renewed again.
    pub fn hear_again(&self) {
        self.deaf.store(false, Ordering::Relaxed);
    }

    fn heard(&self) -> Result<(), StoreError> {
        if self.deaf.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("no leader".into()));
        }
        Ok(())
    }
}
