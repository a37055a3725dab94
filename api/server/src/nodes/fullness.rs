//! Whether the store takes ordinary writes. While it does not, a verdict could not be written either, so no node is
//! judged.

use std::sync::Arc;

use tokio::time::{Instant, sleep, timeout};

use super::Shared;
use super::roll::Trouble;

/// Looks after it for ever. A store that does not answer is another trouble, which others notice.
pub(super) async fn attend(shared: Arc<Shared>) {
    let every = shared.timing.renew_every;
    loop {
        if let Ok(Ok(health)) = timeout(every, shared.store.health()).await {
            match health.read_only {
                Some(why) => shared.with_roll(|roll| {
                    if roll.trouble(Trouble::Full) {
                        tracing::warn!(why, "the store takes no ordinary writes: no node is judged");
                    }
                }),
                None => shared.with_roll(|roll| roll.recovered(Trouble::Full, Instant::now())),
            }
        }
        sleep(every).await;
    }
}
