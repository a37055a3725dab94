//! A store between a server and the one that all share: what goes through it waits, is lost or comes late when told to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use berth_store::{
    At, Changes, Committed, Group, Health, Kv, LeaseId, Page, Rev, Store, StoreError, WatchStream,
};
use futures::StreamExt;
use tokio::sync::{oneshot, watch};

/// The gate of one server.
pub struct Gate {
    inner: Arc<dyn Store>,
    next: Mutex<Option<Next>>,
    watch_is_held: watch::Sender<bool>,
    /// How often its server asked for the newest revision.
    questions: watch::Sender<u64>,
}

/// What happens to the next call that writes a key with this beginning.
struct Next {
    keys: &'static str,
    fate: Fate,
}

enum Fate {
    Wait { arrived: oneshot::Sender<()>, go_on: oneshot::Receiver<()> },
    NeverSent,
    AnswerLost,
}

/// A call that waits at the gate.
pub struct Waiting {
    arrived: oneshot::Receiver<()>,
    go_on: oneshot::Sender<()>,
}

impl Waiting {
    /// Returns once the call is there.
    pub async fn arrives(&mut self) {
        (&mut self.arrived).await.expect("the gate is there as long as the world");
    }

    /// Lets it through.
    pub fn go_on(self) {
        // It need not have come.
        let _ = self.go_on.send(());
    }
}

impl Gate {
    pub fn before(inner: Arc<dyn Store>) -> Arc<Self> {
        let (watch_is_held, questions) = (watch::Sender::new(false), watch::Sender::new(0));
        Arc::new(Self { inner, next: Mutex::default(), watch_is_held, questions })
    }

    /// The next call that writes a key beginning with `keys` waits.
    pub fn hold_write(&self, keys: &'static str) -> Waiting {
        let (arrived, arrival) = oneshot::channel();
        let (go_on, told_to) = oneshot::channel();
        self.set(keys, Fate::Wait { arrived, go_on: told_to });
        Waiting { arrived: arrival, go_on }
    }

    /// The next call that writes a key beginning with `keys` is not sent.
    pub fn refuse_write(&self, keys: &'static str) {
        self.set(keys, Fate::NeverSent);
    }

    /// The next call that writes a key beginning with `keys` is carried out, and its answer is lost.
    pub fn lose_answer(&self, keys: &'static str) {
        self.set(keys, Fate::AnswerLost);
    }

    /// The server sees nothing new until [`Gate::show`].
    pub fn hide(&self) {
        self.watch_is_held.send_replace(true);
    }

    /// The server sees what happened meanwhile.
    pub fn show(&self) {
        self.watch_is_held.send_replace(false);
    }

    /// Returns once the server has asked for the newest revision, from the call of this function on.
    pub fn is_asked(&self) -> impl Future<Output = ()> + use<> {
        let mut questions = self.questions.subscribe();
        async move { questions.changed().await.expect("the gate is there as long as the world") }
    }

    fn set(&self, keys: &'static str, fate: Fate) {
        *self.next.lock().unwrap() = Some(Next { keys, fate });
    }

    fn fate(&self, groups: &[Group]) -> Option<Fate> {
        let mut next = self.next.lock().unwrap();
        let meant = |keys: &str| {
            let mut writes = groups.iter().flat_map(|group| &group.writes);
            writes.any(|write| write.key().starts_with(keys.as_bytes()))
        };
        if !meant(next.as_ref()?.keys) {
            return None;
        }
        next.take().map(|next| next.fate)
    }
}

#[async_trait]
impl Store for Gate {
    fn history(&self) -> &str {
        self.inner.history()
    }

    async fn commit(&self, groups: Vec<Group>) -> Result<Committed, StoreError> {
        match self.fate(&groups) {
            None => self.inner.commit(groups).await,
            Some(Fate::Wait { arrived, go_on }) => {
                let _ = arrived.send(());
                let _ = go_on.await;
                self.inner.commit(groups).await
            }
            Some(Fate::NeverSent) => Err(StoreError::Unavailable("the gate is shut".into())),
            Some(Fate::AnswerLost) => {
                self.inner.commit(groups).await?;
                Err(StoreError::Unknown("the answer was lost at the gate".into()))
            }
        }
    }

    async fn watch(&self, start: &[u8], end: &[u8], from: Rev) -> Result<WatchStream, StoreError> {
        let held = self.watch_is_held.subscribe();
        let when_shown = move |changes: Result<Changes, StoreError>| {
            let mut held = held.clone();
            async move {
                let _ = held.wait_for(|held| !held).await;
                changes
            }
        };
        Ok(self.inner.watch(start, end, from).await?.then(when_shown).boxed())
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
        let newest = self.inner.current_rev().await;
        self.questions.send_modify(|questions| *questions += 1);
        newest
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
