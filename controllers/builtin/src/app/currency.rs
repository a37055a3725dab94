//! Confirms that the view of an App's Tasks is that of the store's current revision, for Apps with so many Tasks that a
//! stop cannot name all those it counts on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_client::{Client, Query};
use berth_runtime::{Cache, Key, ResourceVersion};
use berth_types::task::Task;
use berth_types::{Clock, SteadyClock, Timestamp};
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

/// How long a confirmation is good for; the checker of histories allows two seconds.
const GOOD_FOR: Duration = Duration::from_secs(1);
/// Confirmations that are asked for at once.
const AT_ONCE: usize = 8;

/// Which views are confirmed, and who asks.
pub struct Currency {
    client: Client,
    tasks: Cache<Task>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    asks: Option<mpsc::UnboundedSender<Key>>,
    asked: BTreeSet<Key>,
    confirmed: BTreeMap<Key, Timestamp>,
}

impl Currency {
    /// Nothing confirmed yet.
    pub fn new(client: Client, tasks: Cache<Task>) -> Self {
        Self { client, tasks, state: Mutex::default() }
    }

    /// Whether the view of this App was that of the current revision just now; good for one plan.
    pub fn is_confirmed(&self, key: &Key, now: Timestamp) -> bool {
        self.state().confirmed.remove(key).is_some_and(|at| now.since(at) < GOOD_FOR)
    }

    /// Asks for a confirmation; it wakes the key.
    pub fn ask(&self, key: &Key) {
        let mut state = self.state();
        let is_new = state.asked.insert(key.clone());
        if let Some(asks) = state.asks.as_ref().filter(|_| is_new) {
            // The other side is gone only when the term is over.
            let _ = asks.send(key.clone());
        }
    }

    /// The Apps whose view is confirmed, as it happens.
    pub fn confirmations(self: Arc<Self>) -> impl Stream<Item = Vec<Key>> {
        let (asks, asked) = mpsc::unbounded_channel();
        *self.state() = State { asks: Some(asks), ..State::default() };
        let confirm = move |key: Key| {
            let currency = self.clone();
            async move {
                currency.confirm(&key).await;
                currency.state().asked.remove(&key);
                vec![key]
            }
        };
        UnboundedReceiverStream::new(asked).map(confirm).buffer_unordered(AT_ONCE)
    }

    async fn confirm(&self, key: &Key) {
        let of_app =
            Query::of::<Task>().in_namespace(&key.namespace).labels(format!("berth.dev/app={}", key.name));
        let at = SteadyClock.now();
        match self.client.page(&of_app, 1, None).await {
            Ok(listed) => {
                self.tasks.caught_up(ResourceVersion::parse(&listed.version)).await;
                self.state().confirmed.insert(key.clone(), at);
            }
            Err(why) => {
                tracing::warn!(object = %key, %why, "could not confirm the view of Tasks");
                tokio::time::sleep(GOOD_FOR).await;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
