//! The watch cache: every object of every kind, kept at a known revision by one watch over the whole prefix.
//!
//! - Its revision moves only when a whole revision is applied, so a reader sees states of the store, never parts.
//! - A read that must be current waits for the store's newest revision. If the store moved outside our prefix, a
//!   write to `/berth/-/sync` makes the cache catch up.
//! - The last events of each kind are kept in a window bounded by bytes and by age; at the start it is filled by replay from the
//!   last compaction, so that a restart costs no watcher a new list.
//! - A watcher has a bounded queue and loses its own stream when that runs over.
//! - When the store's watch lost events, or an audit finds that the cache differs from the store, everything is read anew
//!   and every watcher is told to list again. The task that applies events does this, so no event is lost between.
//! - A value that cannot be read is left out and named by [`Cache::faults`]; everything else is served.

mod age;
mod audit;
mod entry;
mod feed;
mod freshness;
mod pages;
mod state;
mod watcher;
mod window;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use berth_store::{Committer, Rev, Store, StoreError, WriteId};
use berth_types::Reason;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Options;
use crate::refuse::{self, Answer, because, expired};
use crate::selection::Selection;
use crate::table::{KindId, Table};
use crate::version::Version;

pub use entry::Entry;
pub use state::{Kind, State};
use watcher::Queue;
pub use watcher::{Cut, Delivery};

/// How long a read waits for a revision that the cache has not reached.
const PATIENCE: Duration = Duration::from_secs(3);

/// The most unreadable values that are named one by one.
const MOST_NAMED: usize = 10;
/// The most bytes of a key that are shown.
const KEY_SHOWN: usize = 300;

/// The watch cache.
pub struct Cache {
    table: Arc<Table>,
    store: Arc<dyn Store>,
    committer: Committer,
    state: RwLock<State>,
    reached: watch::Sender<Rev>,
    /// The number of loads of the state in which the last audit found a difference.
    doubted: watch::Sender<u64>,
    freshness: freshness::Freshness,
    touches: Mutex<feed::Touches>,
    comparing: feed::Comparing,
    window: usize,
}

/// A watcher's place in the fan-out; leaves it when dropped.
pub struct Subscription {
    cache: Arc<Cache>,
    kind: KindId,
    id: u64,
    hot: Option<String>,
    queue: Arc<Queue>,
}

/// How a watch begins.
pub struct Beginning {
    /// What is sent first: the present objects, or the events since the version asked for.
    pub first: VecDeque<Delivery>,
    /// The revision up to which `first` goes.
    pub rev: Rev,
    /// What follows.
    pub subscription: Subscription,
}

impl Cache {
    /// Reads the store and follows it. Tasks of `tasks` do so; they end with an error when the store's history went back.
    pub async fn follow(
        store: Arc<dyn Store>,
        committer: Committer,
        table: Arc<Table>,
        options: &Options,
        tasks: &mut JoinSet<Result<(), StoreError>>,
    ) -> Result<Arc<Self>, StoreError> {
        let window = options.window_bytes;
        let state = feed::load_oldest(&*store, &table, window).await?;
        let cache = Arc::new(Self {
            reached: watch::Sender::new(state.rev()),
            doubted: watch::Sender::new(u64::MAX),
            state: RwLock::new(state),
            freshness: freshness::Freshness::default(),
            touches: Mutex::default(),
            comparing: feed::Comparing::default(),
            table,
            store,
            committer,
            window,
        });
        tasks.spawn(feed::run(cache.clone()));
        tasks.spawn(audit::run(cache.clone(), options.audits));
        tasks.spawn(age::run(cache.clone(), options.window_age));
        let newest = cache.store.current_rev().await?;
        cache.catch_up(newest).await?;
        Ok(cache)
    }

    /// The store that this shows.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Looks at one state of the store.
    pub fn look<T>(&self, at: impl FnOnce(&State) -> T) -> T {
        at(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the cache cannot read of the store, for a person.
    pub fn faults(&self) -> Vec<String> {
        self.look(|state| {
            let keys = state.unreadable();
            let more = keys.len().saturating_sub(MOST_NAMED);
            let mut faults: Vec<String> = keys.take(MOST_NAMED).map(|key| unreadable(key)).collect();
            if more > 0 {
                faults.push(format!("{more} more values in the store cannot be read"));
            }
            faults
        })
    }

    /// One object, as the cache has it.
    pub fn get(&self, kind: KindId, path: &str) -> Option<Arc<Entry>> {
        self.look(|state| state.kind(kind).get(path).cloned())
    }

    /// An object as a group wrote it after `since`; `None` if the group did not happen. Fails when the window does not go
    /// back that far.
    pub fn written_by(
        &self,
        kind: KindId,
        path: &str,
        write_id: WriteId,
        since: Rev,
    ) -> Result<Option<Bytes>, StoreError> {
        self.look(|state| {
            let window = &state.kind(kind).window;
            match window.written_by(path, write_id) {
                Some(entry) => Ok(Some(entry.served.json().clone())),
                None if window.shows_after(since) => Ok(None),
                None => Err(StoreError::Unknown("too much happened since it was sent".into())),
            }
        })
    }

    /// The revision in which an object was removed, as far as the window goes back.
    pub fn removed_in(&self, kind: KindId, entry: &Entry) -> Option<Rev> {
        self.look(|state| state.kind(kind).window.removed(&entry.path, &entry.uid).map(Version::rev))
    }

    /// The revision that is wholly applied.
    pub fn rev(&self) -> Rev {
        *self.reached.borrow()
    }

    /// Waits until the cache has what was newest in the store when this was called.
    pub async fn refresh(&self) -> Answer<()> {
        let asked = tokio::time::timeout(PATIENCE, self.freshness.newest(&*self.store)).await;
        let silent = |_| because(Reason::Unavailable, "the store does not answer; try again");
        let newest = asked.map_err(silent)?.map_err(|error| refuse::store(&error))?;
        self.reach(newest).await
    }

    /// Waits for a revision that the store has.
    async fn reach(&self, rev: Rev) -> Answer<()> {
        match tokio::time::timeout(PATIENCE, self.catch_up(rev)).await {
            Ok(done) => done.map_err(|error| refuse::store(&error)),
            Err(_) => Err(because(
                Reason::Unavailable,
                format!("the cache has not reached revision {rev} of the store; try again"),
            )),
        }
    }

    /// Waits up to 3 s for a revision that a caller speaks of; it may be one that never happened.
    pub async fn await_rev(&self, rev: Rev) -> Answer<()> {
        if self.rev() >= rev || self.wait(rev, PATIENCE).await {
            return Ok(());
        }
        let newest = self.store.current_rev().await.map_err(|error| refuse::store(&error))?;
        if newest < rev {
            return Err(expired(format!(
                "version of revision {rev} has not happened, the newest is {newest}; list again"
            )));
        }
        self.reach(rev).await
    }

    /// Waits for `rev`; false when the time is over.
    pub async fn wait(&self, rev: Rev, patience: Duration) -> bool {
        let mut reached = self.reached.subscribe();
        let arrived = tokio::time::timeout(patience, reached.wait_for(|reached| *reached >= rev)).await;
        matches!(arrived, Ok(Ok(_)))
    }

    /// Begins a watch: from the present objects, or after a version that the window still has.
    pub fn subscribe(
        self: &Arc<Self>,
        kind: KindId,
        selection: Selection,
        after: Option<Version>,
    ) -> Answer<Beginning> {
        let row = self.table.row(kind);
        let hot = selection.hot_value(row).map(str::to_owned);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let rev = state.rev();
        let of_kind = state.kind_mut(kind);
        let first = match after {
            None => present(of_kind, &selection, hot.as_deref()),
            Some(version) => of_kind
                .window
                .after(version)
                .ok_or_else(|| expired(format!("version {version} is too old to resume from; list again")))?
                .filter_map(|event| Delivery::of(event, &selection))
                .collect(),
        };
        let (id, queue) = of_kind.watchers.add(selection, hot.as_deref());
        let subscription = Subscription { cache: self.clone(), kind, id, hot, queue };
        Ok(Beginning { first, rev, subscription })
    }
}

fn unreadable(key: &[u8]) -> String {
    let shown = key[..key.len().min(KEY_SHOWN)].escape_ascii();
    format!("the value of `{shown}` in the store cannot be read; restore it from a backup, or delete the key")
}

fn present(kind: &Kind, selection: &Selection, hot: Option<&str>) -> VecDeque<Delivery> {
    let added = |entry: &Arc<Entry>| Delivery {
        version: entry.version,
        kind: berth_proto::v1::watch_event::Type::Added,
        json: entry.served.json().clone(),
    };
    match hot {
        Some(value) => kind.with_hot(value, None).filter(|entry| selection.takes(entry)).map(added).collect(),
        None => kind
            .range(selection.namespace(), None)
            .filter(|entry| selection.takes(entry))
            .map(added)
            .collect(),
    }
}

impl Subscription {
    /// What waits for this watcher, and the revision up to which that is all there is for it. Never a part of a
    /// revision: a revision reaches the queues while the state is locked.
    pub fn take(&self) -> Result<(Rev, VecDeque<Delivery>), Cut> {
        self.cache.look(|state| Ok((state.rev(), self.queue.take()?)))
    }

    /// Returns when something may wait that was not taken yet.
    pub async fn rung(&self) {
        self.queue.bell.notified().await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.cache.state.write().unwrap_or_else(PoisonError::into_inner);
        state.kind_mut(self.kind).watchers.remove(self.id, self.hot.as_deref());
    }
}
