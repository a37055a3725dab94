//! Lets go of events by age, so that the memory of a busy hour is not kept in the quiet ones after it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use berth_store::StoreError;
use tokio::time::{Instant, MissedTickBehavior};

use crate::cache::Cache;

/// Looks within one age.
const LOOKS: u32 = 4;
/// The most events of each kind that are let go while the state is locked.
const AT_ONCE: usize = 1000;

/// Lets go of events older than `age`, for ever. A watcher that resumes from before them lists again.
pub(super) async fn run(cache: Arc<Cache>, age: Duration) -> Result<(), StoreError> {
    let mut looks = tokio::time::interval(age / LOOKS);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let now = looks.tick().await;
        let Some(then) = now.checked_sub(age) else { continue };
        while cache.drop_before(then) {
            tokio::task::yield_now().await;
        }
    }
}

impl Cache {
    fn drop_before(&self, then: Instant) -> bool {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.drop_before(then, AT_ONCE)
    }
}
