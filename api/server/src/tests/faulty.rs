//! A store that fails by chance, as etcd does: calls refused, calls whose outcome is not told (carried out, never
//! carried out, or later), watches that break or were compacted away.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use berth_store::{
    At, Changes, Committed, Group, Health, Kv, LeaseId, Outcome, Page, Rev, Store, StoreError, Urgency,
    WatchStream, Write,
};
use futures::StreamExt;
use tokio::task::JoinSet;

use crate::keys;

/// How late a slow store's watch is: later than a cache waits before it writes the sync key.
const LATE: Duration = Duration::from_millis(300);

/// How long the answer to a range is on its way.
const PONDERS: Duration = Duration::from_millis(20);

/// The failing store; same seed, same chances.
pub struct Faulty {
    inner: Arc<dyn Store>,
    random: Mutex<fastrand::Rng>,
    late: Mutex<JoinSet<()>>,
    fault: Fault,
}

/// How it fails.
#[derive(Clone)]
enum Fault {
    /// As etcd does.
    Honest,
    /// As no store may: a watch keeps silent about an App `unseen`.
    Lies,
    /// Its watch is late, and a write to the sync key never ends.
    Slow,
    /// Each read of a range takes a while.
    Ponderous,
    /// It takes no writes while this is true.
    Full(tokio::sync::watch::Receiver<bool>),
    /// Once: a call that writes a key which begins with this is carried out, another removes what it put, and the
    /// answer is lost.
    Undoes(Arc<Mutex<Option<String>>>),
    /// It takes only urgent writes while this is true.
    OnReserve(tokio::sync::watch::Receiver<bool>),
    /// Wholly, while this is true.
    Away(tokio::sync::watch::Receiver<bool>),
}

fn away() -> StoreError {
    StoreError::Unavailable("it has no leader".into())
}

impl Faulty {
    pub fn over(inner: Arc<dyn Store>, seed: u64) -> Arc<dyn Store> {
        Self::with(inner, seed, Fault::Honest)
    }

    /// A store whose watch keeps silent about an App `unseen`.
    pub fn lying(inner: Arc<dyn Store>) -> Arc<dyn Store> {
        Self::with(inner, 0, Fault::Lies)
    }

    /// A store whose watch is late, and whose writes to the sync key never end.
    pub fn slow(inner: Arc<dyn Store>) -> Arc<dyn Store> {
        Self::with(inner, 0, Fault::Slow)
    }

    /// A store whose reads of ranges take a while.
    pub fn ponderous(inner: Arc<dyn Store>) -> Arc<dyn Store> {
        Self::with(inner, 0, Fault::Ponderous)
    }

    /// A store that is away while the switch is on.
    pub fn switched(inner: Arc<dyn Store>) -> (Arc<dyn Store>, tokio::sync::watch::Sender<bool>) {
        let (switch, is_away) = tokio::sync::watch::channel(false);
        (Self::with(inner, 0, Fault::Away(is_away)), switch)
    }

    /// A store that takes no writes while the switch is on.
    pub fn filled(inner: Arc<dyn Store>) -> (Arc<dyn Store>, tokio::sync::watch::Sender<bool>) {
        let (switch, is_full) = tokio::sync::watch::channel(false);
        (Self::with(inner, 0, Fault::Full(is_full)), switch)
    }

    /// A store that undoes the next call that writes a key which begins with what is in the mutex.
    pub fn undoing(inner: Arc<dyn Store>) -> (Arc<dyn Store>, Arc<Mutex<Option<String>>>) {
        let next = Arc::default();
        (Self::with(inner, 0, Fault::Undoes(Arc::clone(&next))), next)
    }

    /// Carries the call out, and removes what it put. One that stands on an earlier state is refused, and `next` is for
    /// the call that follows it.
    async fn undo(
        &self,
        groups: Vec<Group>,
        next: &Mutex<Option<String>>,
        meant: String,
    ) -> Result<Committed, StoreError> {
        let puts = groups.iter().flat_map(|group| &group.writes).filter_map(|write| match write {
            Write::Put { key, .. } => Some(Write::delete(key.clone())),
            Write::Delete { .. } => None,
        });
        let removing = Group { conditions: vec![], writes: puts.collect() };
        let committed = self.inner.commit(groups).await?;
        if committed.outcomes.iter().any(|outcome| *outcome != Outcome::Applied) {
            *next.lock().unwrap() = Some(meant);
            return Ok(committed);
        }
        if !removing.writes.is_empty() {
            self.inner.commit(vec![removing]).await?;
        }
        Err(StoreError::Unknown("the answer was lost".into()))
    }

    /// A store that takes only urgent writes while the switch is on.
    pub fn on_reserve(inner: Arc<dyn Store>) -> (Arc<dyn Store>, tokio::sync::watch::Sender<bool>) {
        let (switch, is_full) = tokio::sync::watch::channel(false);
        (Self::with(inner, 0, Fault::OnReserve(is_full)), switch)
    }

    /// Fails while it is away.
    fn answers(&self) -> Result<(), StoreError> {
        match &self.fault {
            Fault::Away(is_away) if *is_away.borrow() => Err(away()),
            Fault::Away(_)
            | Fault::Full(_)
            | Fault::OnReserve(_)
            | Fault::Honest
            | Fault::Lies
            | Fault::Slow
            | Fault::Ponderous
            | Fault::Undoes(_) => Ok(()),
        }
    }

    fn with(inner: Arc<dyn Store>, seed: u64, fault: Fault) -> Arc<dyn Store> {
        let random = Mutex::new(fastrand::Rng::with_seed(seed));
        Arc::new(Self { inner, random, late: Mutex::new(JoinSet::new()), fault })
    }

    fn chance(&self, one_in: u32) -> bool {
        self.random.lock().unwrap().u32(0..one_in) == 0
    }
}

fn writes(group: &Group, prefix: &str) -> bool {
    group.writes.iter().any(|write| write.key().starts_with(prefix.as_bytes()))
}

#[async_trait]
impl Store for Faulty {
    fn history(&self) -> &str {
        self.inner.history()
    }

    async fn commit(&self, groups: Vec<Group>) -> Result<Committed, StoreError> {
        self.answers()?;
        if matches!(&self.fault, Fault::Full(is_full) | Fault::OnReserve(is_full) if *is_full.borrow()) {
            return Err(StoreError::Full("no space".into()));
        }
        let to_sync = |group: &Group| group.writes.iter().any(|write| *write.key() == keys::SYNC);
        if matches!(self.fault, Fault::Slow) && groups.iter().any(to_sync) {
            return std::future::pending().await;
        }
        if let Fault::Undoes(next) = &self.fault {
            let is_meant = |prefix: &mut String| groups.iter().any(|group| writes(group, prefix));
            let undone = next.lock().unwrap().take_if(is_meant);
            return match undone {
                Some(meant) => self.undo(groups, next, meant).await,
                None => self.inner.commit(groups).await,
            };
        }
        if !matches!(self.fault, Fault::Honest) {
            return self.inner.commit(groups).await;
        }
        let kind = self.random.lock().unwrap().u8(0..40);
        let unknown = || StoreError::Unknown("by chance".into());
        match kind {
            0 => Err(StoreError::Unavailable("by chance".into())),
            1 => Err(unknown()),
            2 | 3 => {
                self.inner.commit(groups).await?;
                Err(unknown())
            }
            4 => {
                let (inner, wait) = (self.inner.clone(), self.random.lock().unwrap().u64(0..30));
                self.late.lock().unwrap().spawn(async move {
                    tokio::time::sleep(Duration::from_millis(wait)).await;
                    let _ = inner.commit(groups).await;
                });
                Err(unknown())
            }
            _ => self.inner.commit(groups).await,
        }
    }

    async fn commit_urgent(&self, groups: Vec<Group>, urgency: Urgency) -> Result<Committed, StoreError> {
        match &self.fault {
            Fault::OnReserve(_) if urgency > Urgency::Ordinary => self.inner.commit(groups).await,
            _ => self.commit(groups).await,
        }
    }

    async fn watch(&self, start: &[u8], end: &[u8], from: Rev) -> Result<WatchStream, StoreError> {
        self.answers()?;
        if let Fault::Away(is_away) = &self.fault {
            let mut is_away = is_away.clone();
            let until = async move {
                let _ = is_away.wait_for(|away| *away).await;
            };
            let broken = futures::stream::once(async { Err(away()) });
            return Ok(self.inner.watch(start, end, from).await?.take_until(until).chain(broken).boxed());
        }
        if matches!(self.fault, Fault::Full(_) | Fault::OnReserve(_) | Fault::Ponderous | Fault::Undoes(_)) {
            return self.inner.watch(start, end, from).await;
        }
        if matches!(self.fault, Fault::Lies) {
            let stream = self.inner.watch(start, end, from).await?;
            let silent = |changes: Result<Changes, StoreError>| {
                changes.map(|mut changes| {
                    changes.changes.retain(|change| !change.key.ends_with(b"/unseen"));
                    changes
                })
            };
            return Ok(stream.map(silent).boxed());
        }
        if matches!(self.fault, Fault::Slow) {
            let late = |changes| async {
                tokio::time::sleep(LATE).await;
                changes
            };
            return Ok(self.inner.watch(start, end, from).await?.then(late).boxed());
        }
        if from > 10 && self.chance(4) {
            let now = self.inner.current_rev().await?;
            return Err(StoreError::Compacted { oldest: now });
        }
        let breaks_after = self.random.lock().unwrap().usize(1..40);
        let stream = self.inner.watch(start, end, from).await?;
        let lagged = futures::stream::once(async { Err(StoreError::Lagged) });
        Ok(stream.take(breaks_after).chain(lagged).boxed())
    }

    async fn get(&self, key: &[u8], at: At) -> Result<(Rev, Option<Kv>), StoreError> {
        self.answers()?;
        self.inner.get(key, at).await
    }

    async fn range(&self, start: &[u8], end: &[u8], limit: usize, at: At) -> Result<Page, StoreError> {
        self.answers()?;
        let read = self.inner.range(start, end, limit, at).await;
        if matches!(self.fault, Fault::Ponderous) {
            tokio::time::sleep(PONDERS).await;
        }
        read
    }

    async fn compact(&self, rev: Rev) -> Result<(), StoreError> {
        self.answers()?;
        self.inner.compact(rev).await
    }

    async fn current_rev(&self) -> Result<Rev, StoreError> {
        self.answers()?;
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
        self.answers()?;
        self.inner.health().await
    }
}
