//! Keeps the cache at the store: reads what is there, follows one watch, and starts anew when events were lost.

use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use berth_store::{At, Author, Committer, Ended, Group, Rev, Store, StoreError, Write};
use futures::future::{BoxFuture, Shared};
use futures::{FutureExt, StreamExt, TryStreamExt};
use tokio::sync::watch;

use crate::cache::pages::pages;
use crate::cache::state::{Prepared, State, prepare};
use crate::cache::{Cache, audit};
use crate::keys;
use crate::table::Table;

/// The most revisions that are replayed at the start.
const MOST_REPLAYED: Rev = 20_000;
/// Waited before the watch is opened again.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a revision outside our prefix may hold a reader up before we write one of our own.
const SYNC_AFTER: Duration = Duration::from_millis(100);
/// How long events may be on their way until the cache is compared with a full store again.
const COMPARE_AGAIN: Duration = Duration::from_secs(1);
/// Longer than any write of ours takes.
const LONG: Duration = Duration::from_secs(60);

/// The oldest state that the store can still show, so that the replay from there fills the windows.
pub(super) async fn load_oldest(
    store: &dyn Store,
    table: &Table,
    window: usize,
) -> Result<State, StoreError> {
    let mut at = (store.current_rev().await? - MOST_REPLAYED).max(1);
    loop {
        match load(store, table, window, At::Rev(at)).await {
            Err(StoreError::Compacted { oldest }) => at = oldest.max(at + 1),
            read => return read,
        }
    }
}

async fn load(store: &dyn Store, table: &Table, window: usize, at: At) -> Result<State, StoreError> {
    let mut pages = pin!(pages(store, at));
    let mut state = None;
    while let Some(page) = pages.try_next().await? {
        let state = state.get_or_insert_with(|| State::empty(table, window, page.rev));
        for kv in page.kvs {
            state.load(table, kv);
        }
    }
    Ok(state.expect("there is a first page"))
}

/// Why the cache no longer follows its watch.
enum Broken {
    /// The watch failed.
    Watch(StoreError),
    /// An audit found a difference in what is held.
    Differs,
}

/// Follows the store for ever; ends with an error only when its history is another one now. This task alone applies
/// events and reads everything anew, so that no event lies between the two.
pub(super) async fn run(cache: Arc<Cache>) -> Result<(), StoreError> {
    let mut doubted = cache.doubted.subscribe();
    loop {
        let error = match follow(&cache, &mut doubted).await {
            Broken::Watch(error) => error,
            Broken::Differs => {
                rebuild(&cache).await?;
                continue;
            }
        };
        match error {
            StoreError::Compacted { .. } => {
                tracing::warn!(
                    rev = cache.rev(),
                    "events were compacted before the cache saw them: reading all anew"
                );
                rebuild(&cache).await?;
            }
            over @ (StoreError::Damaged(_) | StoreError::Replaced(_)) => return Err(over),
            error => {
                tracing::warn!(%error, rev = cache.rev(), "the watch on the store broke: opening it again")
            }
        }
        tokio::time::sleep(PAUSE).await;
        refuse_a_past(&cache).await?;
    }
}

/// Applies revision after revision until the watch breaks.
async fn follow(cache: &Cache, doubted: &mut watch::Receiver<u64>) -> Broken {
    let loads = cache.look(State::loads);
    let mut watch = match cache.store.watch(keys::START, keys::END, cache.rev() + 1).await {
        Ok(watch) => watch,
        Err(error) => return Broken::Watch(error),
    };
    loop {
        let changes = tokio::select! {
            changes = watch.next() => changes,
            // A difference in what an earlier load gave is healed already.
            Ok(_) = doubted.wait_for(|of_load| *of_load == loads) => return Broken::Differs,
        };
        let Some(changes) = changes else {
            return Broken::Watch(StoreError::Unavailable("the watch ended".into()));
        };
        let applied = changes.and_then(|changes| {
            let rev = changes.rev;
            Ok((rev, prepare(&cache.table, changes)?))
        });
        let (rev, prepared) = match applied {
            Ok(prepared) => prepared,
            Err(error) => return Broken::Watch(error),
        };
        berth_failpoint::reach("server.fanout.before");
        if !cache.apply(rev, prepared) {
            return Broken::Watch(StoreError::Compacted { oldest: cache.rev() });
        }
        berth_failpoint::reach("server.fanout.after");
    }
}

/// Reads everything anew; whoever watches begins anew too.
async fn rebuild(cache: &Cache) -> Result<(), StoreError> {
    loop {
        match load(&*cache.store, &cache.table, cache.window, At::Latest).await {
            Ok(fresh) => {
                if cache.replace(fresh) {
                    return Ok(());
                }
                refuse_a_past(cache).await?;
            }
            Err(over @ (StoreError::Damaged(_) | StoreError::Replaced(_))) => return Err(over),
            Err(error) => tracing::warn!(%error, "the store could not be read: trying again"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A store that is behind what it told us was restored from a backup under us: nothing served from here is true.
async fn refuse_a_past(cache: &Cache) -> Result<(), StoreError> {
    let newest = match cache.store.current_rev().await {
        Ok(newest) => newest,
        Err(replaced @ StoreError::Replaced(_)) => return Err(replaced),
        Err(_) => return Ok(()),
    };
    if newest >= cache.rev() {
        return Ok(());
    }
    Err(StoreError::Replaced(format!("its newest revision is {newest}, but it had told of {}", cache.rev())))
}

impl Cache {
    /// Applies one whole revision; false when the state is at or past it, and nothing is applied.
    fn apply(&self, rev: Rev, prepared: Vec<Prepared>) -> bool {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if rev <= state.rev() {
            return false;
        }
        state.apply(&self.table, rev, prepared);
        self.reached.send_replace(rev);
        true
    }

    /// Replaces the state by one that was read anew; false when that is older, and nothing is replaced.
    fn replace(&self, fresh: State) -> bool {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let rev = fresh.rev();
        if rev < state.rev() {
            return false;
        }
        state.replace(fresh);
        self.reached.send_replace(rev);
        true
    }

    /// Waits for a revision that the store has; writes one of ours when it lies outside our prefix.
    pub(super) async fn catch_up(&self, rev: Rev) -> Result<(), StoreError> {
        loop {
            let before = self.rev();
            if before >= rev || self.wait(rev, SYNC_AFTER).await {
                return Ok(());
            }
            // A cache that moves is on its way. One that is only slow arrives before our write ends: the store may be
            // slower still, and nobody waits for it.
            if self.rev() == before {
                let touched = tokio::select! {
                    touched = self.touch(rev) => touched,
                    _ = self.wait(rev, LONG) => Ok(()),
                };
                match touched {
                    // Nothing depends on whether it happened: it is written again if it did not.
                    Ok(()) | Err(StoreError::Unknown(_)) => {}
                    Err(StoreError::Full(_)) => self.compare_at(rev).await?,
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// A full store takes no sync key, so it is read instead: with every key as the cache has it, the cache is at `rev`,
    /// else events are on their way. One that arrives all the same was of a key that came and went, and `follow` starts
    /// anew. Each comparison reads the whole store, so there is one at a time, for all who wait.
    async fn compare_at(&self, rev: Rev) -> Result<(), StoreError> {
        self.comparing.wanted.fetch_max(rev, Ordering::SeqCst);
        let _one = self.comparing.turn.lock().await;
        if self.rev() >= rev {
            return Ok(());
        }
        let rev = self.comparing.wanted.load(Ordering::SeqCst);
        let held = self.look(State::held);
        let before = held.rev;
        let ours = audit::of_cache(&self.table, held).await;
        if audit::of_store(&*self.store, &self.table, rev).await? != ours {
            self.wait(rev, COMPARE_AGAIN).await;
            return Ok(());
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.rev() == before && before < rev {
            state.pass(rev);
            self.reached.send_replace(rev);
        }
        Ok(())
    }

    /// Writes the sync key, unless it was written after `rev` and only has to arrive.
    async fn touch(&self, rev: Rev) -> Result<(), StoreError> {
        let write = self.touches.lock().unwrap_or_else(PoisonError::into_inner).after(rev, &self.committer);
        match write {
            Some(write) => write.await.map(drop),
            None => Ok(()),
        }
    }
}

/// The comparisons of the cache with a full store.
#[derive(Default)]
pub(super) struct Comparing {
    turn: tokio::sync::Mutex<()>,
    /// The newest revision that anybody waits for.
    wanted: AtomicI64,
}

/// A write of the sync key; it ends with its revision. It goes on when those who wait for it leave.
type Touch = Shared<BoxFuture<'static, Result<Rev, StoreError>>>;

/// The writes of the sync key by this server. One is on its way at a time, however many wait: a store that is slow or
/// silent must not get one from each reader, for they would take the places of all other writes.
#[derive(Default)]
pub(super) struct Touches {
    /// The revision in which it was last written.
    written: Rev,
    on_its_way: Option<Touch>,
}

impl Touches {
    /// The write that is on its way, or a new one; `None` when the key was written in `rev` or later.
    fn after(&mut self, rev: Rev, committer: &Committer) -> Option<Touch> {
        if let Some(ended) = self.on_its_way.as_ref().and_then(Shared::peek) {
            self.written = ended.as_ref().map_or(self.written, |rev| self.written.max(*rev));
            self.on_its_way = None;
        }
        if self.written >= rev {
            return None;
        }
        let begin = || write_sync_key(committer.clone()).boxed().shared();
        Some(self.on_its_way.get_or_insert_with(begin).clone())
    }
}

async fn write_sync_key(committer: Committer) -> Result<Rev, StoreError> {
    let group = Group { conditions: Vec::new(), writes: vec![Write::put(keys::SYNC, "{}")] };
    match committer.submit(group, &Author::default()).await? {
        Ended::Applied { rev, .. } | Ended::Conflict { rev, .. } | Ended::Unclear { rev, .. } => Ok(rev),
    }
}
