//! A store whose answers get lost: calls that are not carried out, that are and nobody hears of it, and that are
//! carried out late.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use berth_store::{
    At, Committed, EmbeddedStore, Group, Health, Kv, LeaseId, Page, Rev, Store, StoreError, Urgency,
    WatchStream, Write,
};
use tokio::task::JoinSet;

/// How a call of `commit` ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Answered,
    NotDone,
    LostBefore,
    LostAfter,
    /// Carried out behind the back of whoever asked, while others go on.
    Late,
    /// Carried out, and what it put is removed by another before the answer is lost.
    Undone,
    /// Carried out when `release` says so.
    Held,
    /// Never answered.
    Silent,
}

/// A store behind a bad line.
pub struct Faulty {
    pub inner: Arc<dyn Store>,
    fate: Box<dyn Fn() -> Fate + Send + Sync>,
    late: Mutex<JoinSet<()>>,
    held: Mutex<Vec<Vec<Group>>>,
    refuses: fn(&[Group], Urgency) -> bool,
}

impl Faulty {
    pub fn new(fate: impl Fn() -> Fate + Send + Sync + 'static) -> Self {
        Self::over(Arc::new(EmbeddedStore::memory()), fate)
    }

    pub fn over(inner: Arc<dyn Store>, fate: impl Fn() -> Fate + Send + Sync + 'static) -> Self {
        Self {
            inner,
            fate: Box::new(fate),
            late: Mutex::default(),
            held: Mutex::default(),
            refuses: |_, _| false,
        }
    }

    /// A store that is full for the calls of which `refuses` says so.
    pub fn full(refuses: fn(&[Group], Urgency) -> bool) -> Self {
        Self { refuses, ..Self::new(|| Fate::Answered) }
    }

    /// Fates by chance; half of all calls go well.
    pub fn seeded(seed: u64) -> Self {
        let rng = Mutex::new(fastrand::Rng::with_seed(seed));
        Self::new(move || match rng.lock().unwrap().u32(0..10) {
            0 => Fate::NotDone,
            1 => Fate::LostBefore,
            2..4 => Fate::LostAfter,
            4 => Fate::Late,
            _ => Fate::Answered,
        })
    }

    /// Fates one after the other; all is well after the last.
    pub fn scripted(fates: Vec<Fate>) -> Self {
        Self::scripted_over(Arc::new(EmbeddedStore::memory()), fates)
    }

    pub fn scripted_over(inner: Arc<dyn Store>, fates: Vec<Fate>) -> Self {
        let fates = Mutex::new(fates.into_iter());
        Self::over(inner, move || fates.lock().unwrap().next().unwrap_or(Fate::Answered))
    }

    /// Carries out what is held; how each call ended.
    pub async fn release(&self) -> Vec<Result<Committed, StoreError>> {
        let held = std::mem::take(&mut *self.held.lock().unwrap());
        futures::future::join_all(held.into_iter().map(|groups| self.inner.commit(groups))).await
    }

    /// Carries the call out, and removes what it put.
    async fn undo(&self, groups: Vec<Group>) -> Result<(), StoreError> {
        let puts = groups.iter().flat_map(|group| &group.writes).filter_map(|write| match write {
            Write::Put { key, .. } => Some(Write::delete(key.clone())),
            Write::Delete { .. } => None,
        });
        let removing = vec![Group { conditions: vec![], writes: puts.collect() }];
        self.inner.commit(groups).await?;
        self.inner.commit(removing).await.map(drop)
    }

    fn later(&self, groups: Vec<Group>) {
        let inner = self.inner.clone();
        self.late.lock().unwrap().spawn(async move {
            for _ in 0..fastrand::u32(0..200) {
                tokio::task::yield_now().await;
            }
            drop(inner.commit(groups).await);
        });
    }

    /// Waits until nothing comes late any more.
    pub async fn settled(&self) {
        let late = std::mem::take(&mut *self.late.lock().unwrap());
        late.join_all().await;
    }
}

#[async_trait]
impl Store for Faulty {
    fn history(&self) -> &str {
        self.inner.history()
    }

    async fn commit(&self, groups: Vec<Group>) -> Result<Committed, StoreError> {
        tokio::task::yield_now().await;
        let lost = || StoreError::Unknown("the line broke".into());
        match (self.fate)() {
            Fate::Answered => self.inner.commit(groups).await,
            Fate::NotDone => Err(StoreError::Unavailable("no line".into())),
            Fate::LostBefore => Err(lost()),
            Fate::LostAfter => self.inner.commit(groups).await.and_then(|_| Err(lost())),
            Fate::Late => {
                self.later(groups);
                Err(lost())
            }
            Fate::Undone => self.undo(groups).await.and_then(|()| Err(lost())),
            Fate::Held => {
                self.held.lock().unwrap().push(groups);
                Err(lost())
            }
            Fate::Silent => std::future::pending().await,
        }
    }

    async fn commit_urgent(&self, groups: Vec<Group>, urgency: Urgency) -> Result<Committed, StoreError> {
        if (self.refuses)(&groups, urgency) {
            return Err(StoreError::Full("no space".into()));
        }
        self.commit(groups).await
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
