//! Now and then the cache is compared with the store, at one revision: a difference is an error of ours, and heals.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use berth_store::{At, Rev, Store, StoreError};
use tokio::time::{Instant, MissedTickBehavior};

use crate::cache::{Cache, feed};
use crate::keys;

/// Keys read in one page.
const PAGE: usize = 500;

/// What keys there are and when each was written, whatever their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Fingerprint {
    keys: usize,
    sum: u64,
}

impl Fingerprint {
    /// Adds a key that was last written in `rev`.
    pub(super) fn add(&mut self, key: &[u8], rev: Rev) {
        let mut hasher = DefaultHasher::new();
        (key, rev).hash(&mut hasher);
        self.keys += 1;
        self.sum = self.sum.wrapping_add(hasher.finish());
    }
}

/// Compares for ever.
pub(super) async fn run(cache: Arc<Cache>, every: Duration) -> Result<(), StoreError> {
    let mut ticks = tokio::time::interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (rev, ours) = cache.look(|state| (state.rev(), state.fingerprint(&cache.table)));
        match of_store(&*cache.store, &cache, rev).await {
            Ok(theirs) if theirs == ours => tracing::debug!(rev, "the cache is as the store"),
            Ok(theirs) => {
                tracing::error!(rev, ?ours, ?theirs, "the cache differs from the store: reading all anew");
                feed::rebuild(&cache).await?;
            }
            Err(error) => tracing::warn!(%error, rev, "could not compare the cache with the store"),
        }
    }
}

/// What the store has at `rev`.
pub(super) async fn of_store(store: &dyn Store, cache: &Cache, rev: Rev) -> Result<Fingerprint, StoreError> {
    let mut found = Fingerprint::default();
    let mut start = keys::START.to_vec();
    loop {
        let page = store.range(&start, keys::END, PAGE, At::Rev(rev)).await?;
        let kept =
            page.kvs.iter().filter(|kv| keys::is_system(&kv.key) || cache.table.of_key(&kv.key).is_some());
        for kv in kept {
            found.add(&kv.key, kv.mod_rev);
        }
        let (Some(last), true) = (page.kvs.last(), page.more) else { return Ok(found) };
        start = [&last.key[..], &[0]].concat();
    }
}
