//! Forgets the past: every interval, what was before the last interval. Several servers agree by one key that holds
//! the revision up to which the next one may forget: who moves it, compacts.

use std::time::Duration;

use berth_store::{
    At, Author, Committer, Condition, Ended, Group, Rev, Store, StoreError, Submission, Urgency, Value, Write,
};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior};

use crate::keys;

/// Compacts for ever.
pub async fn run(
    store: std::sync::Arc<dyn Store>,
    committer: Committer,
    every: Duration,
) -> Result<(), StoreError> {
    let mut ticks = tokio::time::interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = None;
    loop {
        ticks.tick().await;
        match step(&*store, &committer, seen).await {
            Ok(now) => seen = Some(now),
            Err(error) => tracing::warn!(%error, "could not compact the store: trying again later"),
        }
    }
}

/// If nobody has moved the key since this server last looked: moves it and compacts to where it pointed. The
/// revision in which the key was last written, 0 when there is none.
pub async fn step(store: &dyn Store, committer: &Committer, seen: Option<Rev>) -> Result<Rev, StoreError> {
    let (newest, kv) = store.get(keys::COMPACTION.as_bytes(), At::Latest).await?;
    let written = kv.as_ref().map_or(0, |kv| kv.mod_rev);
    if seen != Some(written) && kv.is_some() {
        return Ok(written);
    }
    let until = kv.and_then(|kv| pointed_to(&kv));
    let condition = match written {
        0 => Condition::absent(keys::COMPACTION),
        rev => Condition::unchanged(keys::COMPACTION, rev),
    };
    let put = Write::put(keys::COMPACTION, json!({ "rev": newest }).to_string());
    let group = Group { conditions: vec![condition], writes: vec![put] };
    let author = Author { name: "compaction".into(), epoch: 0 };
    // A full store needs it most: its reserve gives up what is compacted.
    let submission = Submission { group, urgency: Urgency::Compaction, ..Submission::default() };
    match committer.carry_out(submission, &author).await? {
        Ended::Applied { rev, .. } => {
            if let Some(until) = until {
                forget(store, until).await?;
            }
            Ok(rev)
        }
        Ended::Conflict { rev, .. } | Ended::Unclear { rev, .. } => Ok(rev),
    }
}

async fn forget(store: &dyn Store, until: Rev) -> Result<(), StoreError> {
    match store.compact(until).await {
        Ok(()) | Err(StoreError::Compacted { .. }) => {
            tracing::debug!(rev = until, "compacted");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn pointed_to(kv: &berth_store::Kv) -> Option<Rev> {
    let json = Value::parse(kv.value.clone()).ok()?.json();
    serde_json::from_slice::<serde_json::Value>(&json).ok()?["rev"].as_i64()
}
