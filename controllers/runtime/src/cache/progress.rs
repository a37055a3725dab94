//! How far a cache has come: for a leader that must not act on less than its predecessor wrote, and for a key that waits
//! for its own writes.

use std::sync::Arc;
use std::time::Duration;

use berth_client::KindName;
use futures::future::join_all;
use tokio::sync::{Notify, watch};

use crate::key::ResourceVersion;

/// How far the cache of one kind has come.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    pub(crate) kind: KindName,
    pub(super) reached: watch::Receiver<Option<ResourceVersion>>,
    pub(super) hurry: Arc<Notify>,
}

/// How long a bookmark is waited for before it is asked for.
const PATIENCE: Duration = Duration::from_millis(20);

/// Waits until every cache shows all that was written before `epoch`: nothing of a leader's predecessor is unseen then.
pub(crate) async fn catch_up(caches: &[Progress], epoch: i64) {
    let version = ResourceVersion::of_revision(epoch);
    join_all(caches.iter().map(|cache| cache.reached_by_asking(version))).await;
}

impl Progress {
    /// Waits until the cache has its first state and has come to `version`, which a write of its kind carries; for ever
    /// when the cache was dropped.
    pub(crate) async fn reached(&self, version: ResourceVersion) {
        let mut reached = self.reached.clone();
        if reached.wait_for(|now| now.is_some_and(|now| now >= version)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The same for a version that nothing of the kind may carry: asks the server how far the cache is.
    pub(super) async fn reached_by_asking(&self, version: ResourceVersion) {
        let mut patience = PATIENCE;
        while tokio::time::timeout(patience, self.reached(version)).await.is_err() {
            self.hurry.notify_one();
            // A large first state may still be arriving.
            patience = (patience * 2).min(Duration::from_secs(4));
        }
    }
}
