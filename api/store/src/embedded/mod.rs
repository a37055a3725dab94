//! The store of one machine: all versions in memory, one writer, calls that wait together made durable together.
//! Without a journal it is the store of tests and of the simulation: no thread, no file, no clock but tokio's.

mod draft;
mod engine;
mod folder;
mod ground;
mod journal;
mod lives;
mod opening;
mod record;
mod redb;
mod reserve;
mod rows;
mod state;
#[cfg(test)]
mod tests;
mod watch;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::{
    At, Committed, Group, Health, Kv, LeaseId, Page, Rev, Store, StoreError, Urgency, WatchStream, rules,
};
use engine::{Call, Engine, Job, JournalWriter, Writer};
use folder::Folder;
use journal::NoJournal;
use lives::Lives;
use redb::{Opened, RedbJournal};
use state::State;
use watch::Cursor;

/// Free bytes of a disk that is not full. With less, only what is urgent is written: the others who write there are fast,
/// and no write should find the disk full in the middle.
const ENOUGH: u64 = 16 << 20;

/// The embedded store.
pub struct EmbeddedStore {
    engine: Arc<Engine>,
    writer: Writer,
    lives: Lives,
    durable: Option<Durable>,
}

/// What a store with a journal holds besides.
struct Durable {
    thread: Option<JoinHandle<()>>,
    held: Folder,
}

impl EmbeddedStore {
    /// An empty store that keeps nothing.
    pub fn memory() -> Self {
        let engine = Arc::new(Engine::new(State::empty()));
        let writer = Writer::inline(JournalWriter::new(engine.clone(), Box::new(NoJournal), Vec::new()));
        Self::over(engine, writer, Lives::only(), None)
    }

    fn over(engine: Arc<Engine>, writer: Writer, lives: Lives, durable: Option<Durable>) -> Self {
        Self { engine, writer, lives, durable }
    }

    /// The store of a data folder, which is made when it is missing. `Unavailable` while another process holds it,
    /// `Damaged` when its journal cannot be read. Reads the whole journal: it blocks.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let held = Folder::hold(dir)?;
        let Opened { journal, state, garbage, lives } = RedbJournal::open(dir)?;
        let engine = Arc::new(Engine::new(state));
        let writer = JournalWriter::new(engine.clone(), Box::new(journal), garbage);
        let (writer, thread) =
            Writer::thread(writer).map_err(|error| StoreError::Unavailable(format!("no thread: {error}")))?;
        let durable = Durable { thread: Some(thread), held };
        Ok(Self::over(engine, writer, lives, Some(durable)))
    }

    async fn run<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Job,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.writer.run(job(answer));
        answered.await.unwrap_or_else(|_| Err(StoreError::Unknown("the store was closed".into())))
    }

    /// Why only a new process can write, once it could. A journal whose last write failed must not be written again by
    /// whoever does not know what of it reached the disk.
    fn start_anew(&self) -> Option<String> {
        let folder = &self.durable.as_ref()?.held;
        match self.engine.fault()? {
            StoreError::Full(_) if folder.free_bytes() < ENOUGH => None,
            StoreError::Full(_) => Some(format!("there is space in {} again", folder.path().display())),
            other => Some(other.to_string()),
        }
    }

    /// Why ordinary writes are refused at present.
    fn read_only(&self) -> Option<String> {
        if let Some(fault) = self.engine.fault() {
            return Some(fault.to_string());
        }
        let folder = &self.durable.as_ref()?.held;
        let (free, needed) = (folder.free_bytes(), self.engine.needed());
        (free < needed).then(|| full(folder.path(), free, needed).to_string())
    }

    /// Ends what has run out before anybody looks: leases need no clock of their own.
    async fn settle_leases(&self) -> Result<(), StoreError> {
        if !self.engine.lease_is_due() {
            return Ok(());
        }
        match self.run(|answer| Job::Expire { now: Instant::now(), answer }).await {
            // Not even the reserve has room for its end: it lives on, and holds up nobody.
            Err(StoreError::Full(_)) => Ok(()),
            ended => ended,
        }
    }
}

/// The refusal of an ordinary write that needs so many free bytes.
fn full(dir: &Path, free: u64, needed: u64) -> StoreError {
    StoreError::Full(format!(
        "the disk of {} has {} MiB left, but writes need {} MiB; free some space there. Until then, only deletes, ends of \
         Tasks and Lease renewals are accepted, from a reserve",
        dir.display(),
        free >> 20,
        needed.div_ceil(1 << 20)
    ))
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        if let Some(thread) = self.durable.as_mut().and_then(|durable| durable.thread.take()) {
            self.writer.run(Job::Stop);
            drop(thread.join());
        }
        self.engine.close();
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    fn history(&self) -> &str {
        self.lives.name()
    }

    fn includes(&self, history: &str, rev: Rev) -> bool {
        self.lives.include(history, rev)
    }

    async fn commit(&self, groups: Vec<Group>) -> Result<Committed, StoreError> {
        self.commit_urgent(groups, Urgency::Ordinary).await
    }

    async fn commit_urgent(&self, groups: Vec<Group>, urgency: Urgency) -> Result<Committed, StoreError> {
        rules::check(&groups)?;
        self.settle_leases().await?;
        let urgency = groups.iter().map(|group| group.urgency(urgency)).min().unwrap_or(urgency);
        self.run(|answer| Job::Commit(Call { groups, urgency, answer })).await
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
        let form = if self.durable.is_some() { "embedded" } else { "memory" };
        Ok(Health {
            form: form.into(),
            rev: self.engine.state().rev(),
            read_only: self.read_only(),
            start_anew: self.start_anew(),
        })
    }
}
