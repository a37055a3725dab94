//! Ends this server when only a new one can write: the journal of the embedded store, once a write of it failed, is
//! opened anew or not at all.

use std::sync::Arc;
use std::time::Duration;

use berth_store::{Store, StoreError};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// Looks after the store for ever; ends with why the process must start anew.
pub async fn run(store: Arc<dyn Store>) -> Result<(), StoreError> {
    loop {
        tokio::time::sleep(EVERY).await;
        match store.health().await {
            Ok(health) => {
                if let Some(why) = health.start_anew {
                    return Err(StoreError::Unavailable(format!(
                        "{why}; this server starts anew to write again"
                    )));
                }
            }
            Err(replaced @ StoreError::Replaced(_)) => return Err(replaced),
            // Whoever needs the store says so.
            Err(_) => {}
        }
    }
}
