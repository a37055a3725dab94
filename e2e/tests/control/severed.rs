//! A store whose watches can be cut, and kept from being opened again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use berth_store::{At, Committed, Group, Health, Kv, LeaseId, Page, Rev, Store, StoreError, WatchStream};
use futures::StreamExt;
use tokio::sync::watch;

/// The store; everything but watches passes.
pub struct Severed {
    inner: Arc<dyn Store>,
    cut: watch::Receiver<bool>,
}

impl Severed {
    /// A store over `inner`, whose watches break while the switch is on.
    pub fn over(inner: Arc<dyn Store>) -> (Arc<dyn Store>, watch::Sender<bool>) {
        let (switch, cut) = watch::channel(false);
        (Arc::new(Self { inner, cut }), switch)
    }
}

#[async_trait]
impl Store for Severed {
    fn history(&self) -> &str {
        self.inner.history()
    }

    async fn watch(&self, start: &[u8], end: &[u8], from: Rev) -> Result<WatchStream, StoreError> {
        let broken = || StoreError::Unavailable("the line is cut".into());
        let mut cut = self.cut.clone();
        cut.wait_for(|cut| !*cut).await.map_err(|_| broken())?;
        let until = async move {
            let _ = cut.wait_for(|cut| *cut).await;
        };
        let end_of_it = futures::stream::once(async move { Err(broken()) });
        Ok(self.inner.watch(start, end, from).await?.take_until(until).chain(end_of_it).boxed())
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

    async fn compact(&self, rev: Rev) -> Result<(), StoreError> {
        self.inner.compact(rev).await
    }

    async fn current_rev(&self) -> Result<Rev, StoreError> {
        self.inner.current_rev().await
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.inner.lease_grant(ttl).await
    }

    async fn lease_renew(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner.lease_renew(lease).await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner.lease_revoke(lease).await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.inner.health().await
    }
}
