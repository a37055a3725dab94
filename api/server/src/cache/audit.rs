//! From time to time the cache is compared with the store, at one revision. A difference is a defect of ours: the task that
//! follows the store is asked to read everything anew, because only it may change the state without losing an event.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use berth_store::{At, Kv, Rev, Store, StoreError, Value};
use futures::TryStreamExt;
use tokio::time::{Instant, MissedTickBehavior};

use crate::cache::Cache;
use crate::cache::entry::Entry;
use crate::cache::pages::pages;
use crate::cache::state::Held;
use crate::keys;
use crate::table::{Row, Table};

/// Entries hashed before other tasks get their turn.
const AT_ONCE: usize = 500;

/// Everything that the cache holds of the store, in any order: objects with all that is read from them, their index, the
/// system's own keys, and the keys of what cannot be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Fingerprint {
    items: usize,
    sum: u64,
}

/// One thing that the cache holds.
#[derive(Hash)]
enum Item<'a> {
    Object(&'a str, &'a Entry),
    Indexed(&'a str, &'a str, &'a Entry),
    System(&'a [u8], &'a [u8], Rev),
    Unreadable(&'a [u8], Rev),
}

impl Fingerprint {
    fn add(&mut self, item: &Item<'_>) {
        let mut hasher = DefaultHasher::new();
        item.hash(&mut hasher);
        self.items += 1;
        self.sum = self.sum.wrapping_add(hasher.finish());
    }

    /// Adds what the cache is to hold of a stored value.
    fn add_stored(&mut self, table: &Table, kv: &Kv) {
        if keys::is_system(&kv.key) {
            self.add(&Item::System(&kv.key, &kv.value, kv.mod_rev));
            if Value::parse(kv.value.clone()).is_err() {
                self.add(&Item::Unreadable(&kv.key, kv.mod_rev));
            }
            return;
        }
        let Some((id, _)) = table.of_key(&kv.key) else { return };
        let row: &Row = table.row(id);
        let Some(entry) = Entry::read(row, kv) else {
            return self.add(&Item::Unreadable(&kv.key, kv.mod_rev));
        };
        self.add(&Item::Object(&row.folder, &entry));
        if let Some(hot) = row.hot_field {
            self.add(&Item::Indexed(&row.folder, &entry.fields[hot], &entry));
        }
    }
}

/// Compares for ever.
pub(super) async fn run(cache: Arc<Cache>, every: Duration) -> Result<(), StoreError> {
    let mut ticks = tokio::time::interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let held = cache.look(super::State::held);
        let (rev, loads) = (held.rev, held.loads);
        let ours = of_cache(&cache.table, held).await;
        match of_store(&*cache.store, &cache.table, rev).await {
            Ok(theirs) if theirs == ours => tracing::debug!(rev, "the cache equals the store"),
            Ok(theirs) => {
                tracing::error!(rev, ?ours, ?theirs, "the cache differs from the store: it is read anew");
                cache.doubted.send_replace(loads);
            }
            Err(error) => tracing::warn!(%error, rev, "could not compare the cache with the store"),
        }
    }
}

/// The fingerprint of what the cache held.
pub(super) async fn of_cache(table: &Table, held: Held) -> Fingerprint {
    let mut found = Fingerprint::default();
    for part in held.objects.chunks(AT_ONCE) {
        for (kind, entry) in part {
            found.add(&Item::Object(&table.row(*kind).folder, entry));
        }
        tokio::task::yield_now().await;
    }
    for (kind, value, entries) in &held.indexed {
        for part in entries.chunks(AT_ONCE) {
            for entry in part {
                found.add(&Item::Indexed(&table.row(*kind).folder, value, entry));
            }
            tokio::task::yield_now().await;
        }
    }
    for kv in &held.system {
        found.add(&Item::System(&kv.key, &kv.value, kv.mod_rev));
    }
    for (key, rev) in &held.unreadable {
        found.add(&Item::Unreadable(key, *rev));
    }
    found
}

/// The fingerprint of what the cache is to hold at `rev`, read from the store.
pub(super) async fn of_store(store: &dyn Store, table: &Table, rev: Rev) -> Result<Fingerprint, StoreError> {
    let mut found = Fingerprint::default();
    let mut pages = pin!(pages(store, At::Rev(rev)));
    while let Some(page) = pages.try_next().await? {
        for kv in &page.kvs {
            found.add_stored(table, kv);
        }
    }
    Ok(found)
}
