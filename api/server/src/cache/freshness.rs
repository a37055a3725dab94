//! Asks the store for its newest revision; callers that come while a question is on its way share the next one.

use berth_store::{Rev, Store, StoreError};
use tokio::sync::Mutex;

/// The shared question.
#[derive(Debug, Default)]
pub struct Freshness {
    asked: std::sync::atomic::AtomicU64,
    answered: Mutex<Answered>,
}

/// The newest answer, and the number of the last question that it covers.
#[derive(Debug, Default)]
struct Answered {
    covers: u64,
    rev: Rev,
}

impl Freshness {
    /// A revision that is at least the store's newest one at the time of the call.
    pub async fn newest(&self, store: &dyn Store) -> Result<Rev, StoreError> {
        use std::sync::atomic::Ordering::SeqCst;
        let mine = self.asked.fetch_add(1, SeqCst) + 1;
        let mut answered = self.answered.lock().await;
        if answered.covers >= mine {
            return Ok(answered.rev);
        }
        let covers = self.asked.load(SeqCst);
        let rev = store.current_rev().await?;
        *answered = Answered { covers, rev };
        Ok(rev)
    }
}
