//! The store of one machine: all versions in memory, one writer, calls that wait together made durable together.
//! Without a journal it is the store of tests and of the simulation: no thread, no file, no clock but tokio's.

mod draft;
mod engine;
mod journal;
mod state;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::{At, Committed, Group, Health, Kv, LeaseId, Page, Rev, Store, StoreError, WatchStream, rules};
use engine::{Desk, Engine, Job, Writer};
use journal::NoJournal;
use state::State;
use watch::Cursor;

/// The embedded store.
pub struct EmbeddedStore {
    engine: Arc<Engine>,
    writer: Writer,
    form: &'static str,
}

impl EmbeddedStore {
    /// An empty store that keeps nothing.
    pub fn memory() -> Self {
        let engine = Arc::new(Engine::new(State::empty()));
        let writer = Writer::inline(Desk::new(engine.clone(), Box::new(NoJournal), Vec::new()));
        Self { engine, writer, form: "memory" }
    }

    async fn run<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Job,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.writer.run(job(answer));
        answered.await.unwrap_or_else(|_| Err(StoreError::Unknown("the store was closed".into())))
    }

    /// Ends what has run out before anybody looks: leases need no clock of their own.
    async fn settle_leases(&self) -> Result<(), StoreError> {
        if self.engine.lease_is_due() {
            self.run(|answer| Job::Expire { now: Instant::now(), answer }).await
        } else {
            Ok(())
        }
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.engine.close();
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn commit(&self, groups: Vec<Group>) -> Result<Committed, StoreError> {
        rules::check(&groups)?;
        self.settle_leases().await?;
        self.run(|answer| Job::Commit { groups, answer }).await
    }

    async fn get(&self, key: &[u8], at: At) -> Result<(Rev, Option<Kv>), StoreError> {
        rules::check_at(at)?;
        self.settle_leases().await?;
        self.engine.state().get(key, at)
    }

    async fn range(&self, start: &[u8], end: &[u8], limit: usize, at: At) -> Result<Page, StoreError> {
        rules::check_range(start, end)?;
        rules::check_at(at)?;
        self.settle_leases().await?;
        self.engine.state().range(start, end, limit, at)
    }

    async fn watch(&self, start: &[u8], end: &[u8], from: Rev) -> Result<WatchStream, StoreError> {
        rules::check_range(start, end)?;
        rules::check_rev(from)?;
        let cursor = Cursor::open(self.engine.clone(), self.writer.clone(), (start, end), from)?;
        Ok(cursor.stream().boxed())
    }

    async fn compact(&self, rev: Rev) -> Result<(), StoreError> {
        rules::check_rev(rev)?;
        self.settle_leases().await?;
        self.run(|answer| Job::Compact { rev, answer }).await
    }

    async fn current_rev(&self) -> Result<Rev, StoreError> {
        self.settle_leases().await?;
        Ok(self.engine.state().rev())
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.run(|answer| Job::Grant { ttl, answer }).await
    }

    async fn lease_renew(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.settle_leases().await?;
        self.run(|answer| Job::Renew { lease, answer }).await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.settle_leases().await?;
        self.run(|answer| Job::Revoke { lease, answer }).await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        let state = self.engine.state();
        Ok(Health { form: self.form.into(), rev: state.rev(), read_only: self.engine.read_only() })
    }
}
