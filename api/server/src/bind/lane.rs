//! One group of placements on one node, from decision to outcome.

use std::time::Duration;

use berth_store::{Author, Condition, Ended, Group, Kv, Rev, StoreError, Write};

use super::admit::{Admitted, Decision, Sight};
use super::{Item, Own};
use crate::encoded::Served;
use crate::keys;
use crate::refuse;
use crate::version::Version;
use crate::write::{self, Fence, Writer};

/// Groups sent before the rest is refused: the first and three after conflicts.
const ROUNDS: usize = 4;
/// Waited before an unknown outcome is asked after again.
const PAUSE: Duration = Duration::from_millis(500);

/// Placements of one node that go together.
pub struct Work {
    /// Store, cache and clock.
    pub writer: Writer,
    /// The node's name.
    pub node: String,
    /// Who leads.
    pub fence: Option<Fence>,
    /// Own binds that the cache may not show yet.
    pub own: Vec<Own>,
    /// What is decided on.
    pub view: View,
}

/// How new what is decided on is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// As the cache is: good enough to admit, for the store checks; a refusal would be nobody's word but ours.
    Cached,
    /// At least as new as the call.
    Current,
}

impl Work {
    /// Carries the items out and answers each; the own binds to remember.
    pub async fn carry_out(mut self, mut items: Vec<Item>) -> Vec<Own> {
        for _ in 0..ROUNDS {
            items = self.round(items).await;
            if items.is_empty() {
                return self.own;
            }
        }
        for item in items {
            let why = format!("lost to other writers of node `{}` {ROUNDS} times", self.node);
            let refusal = refuse::conflict("Task", &item.place.task, why);
            answer(item, Err(refusal));
        }
        self.own
    }

    /// Decides and sends once; what must be decided anew.
    async fn round(&mut self, items: Vec<Item>) -> Vec<Item> {
        let cache = &self.writer.cache;
        let decided_on = items.iter().map(|item| item.place.node_version.rev()).max().unwrap_or(0);
        // A version that never comes is refused below, for it is not the Node's.
        let _ = cache.await_rev(decided_on).await;
        let Decision { admitted, settled, group } = cache.look(|state| self.sight(state).decide(items));
        let doubted = self.tell(settled);
        let mut again = if admitted.is_empty() { Vec::new() } else { self.send(admitted, group).await };
        again.extend(self.look_again(doubted).await);
        again
    }

    /// Answers what is settled; those that only an older view refuses.
    fn tell(&self, settled: Vec<(Item, refuse::Answer<bytes::Bytes>)>) -> Vec<Item> {
        let mut doubted = Vec::new();
        for (item, ended) in settled {
            match (&ended, self.view) {
                (Err(_), View::Cached) => doubted.push(item),
                (Err(_), View::Current) | (Ok(_), _) => answer(item, ended),
            }
        }
        doubted
    }

    /// The items again, once the cache has what the store had when they were refused.
    async fn look_again(&mut self, doubted: Vec<Item>) -> Vec<Item> {
        if doubted.is_empty() {
            return doubted;
        }
        self.view = View::Current;
        let current = self.writer.cache.refresh().await;
        or_refused(current, doubted)
    }

    /// Sends what is admitted; what must be decided anew.
    async fn send(&mut self, admitted: Vec<Admitted>, group: Group) -> Vec<Item> {
        let author = write::author("bind", self.fence.as_ref());
        berth_failpoint::reach("server.bind.admitted");
        match self.writer.committer.submit(group.clone(), &author).await {
            Ok(Ended::Applied { rev, positions }) => self.applied(admitted, rev, &positions),
            Ok(Ended::Conflict { rev, current }) => return self.lost(admitted, &group, rev, &current).await,
            // If it happened, the cache shows the Tasks as bound here at that revision.
            Ok(Ended::Unclear { rev, .. }) => return self.seen_at(rev, admitted).await,
            Err(StoreError::Unknown(_)) => {
                let rev = self.settle(&author).await;
                return self.seen_at(rev, admitted).await;
            }
            Err(error) => {
                for one in admitted {
                    answer(one.item, Err(refuse::store(&error)));
                }
            }
        }
        Vec::new()
    }

    fn sight<'a>(&'a self, state: &'a crate::cache::State) -> Sight<'a> {
        Sight {
            state,
            table: &self.writer.table,
            node: &self.node,
            own: &self.own,
            fence: self.fence.as_ref(),
            now: self.writer.clock.now(),
        }
    }

    fn applied(&mut self, admitted: Vec<Admitted>, rev: Rev, positions: &[u16]) {
        berth_failpoint::reach("server.bind.committed");
        // The first put is the ledger's.
        let positions = positions.iter().skip(1).copied();
        let mut charges = Vec::with_capacity(admitted.len());
        for (one, position) in admitted.into_iter().zip(positions) {
            let served = Served::new(&one.json, Version::of_write(rev, position));
            let served = served.expect("an encoded Task has metadata");
            charges.push(one.charge);
            answer(one.item, Ok(served.json().clone()));
        }
        self.own.push(Own { rev, charges });
    }

    /// After a conflict: a leader whose time is over is refused; else waits until the cache shows what was in the way.
    async fn lost(
        &self,
        admitted: Vec<Admitted>,
        group: &Group,
        rev: Rev,
        current: &[Option<Kv>],
    ) -> Vec<Item> {
        let mut until = 0;
        for (condition, kv) in group.conditions.iter().zip(current) {
            if condition.must.holds(kv.as_ref()) {
                continue;
            }
            if let Some(fence) = self.fence.as_ref().filter(|fence| fence.key() == condition.key) {
                for one in admitted {
                    answer(one.item, Err(write::over(fence)));
                }
                return Vec::new();
            }
            until = until.max(kv.as_ref().map_or(rev, |kv| kv.mod_rev));
        }
        self.seen_at(until, admitted).await
    }

    /// The items again, once the cache has `rev`.
    async fn seen_at(&self, rev: Rev, admitted: Vec<Admitted>) -> Vec<Item> {
        let seen = self.writer.cache.await_rev(rev).await;
        or_refused(seen, admitted.into_iter().map(|one| one.item).collect())
    }

    /// After an outcome that stayed unknown: writes the ledger, so that the group, wherever it still is, can no longer
    /// happen. The node stays busy until that is done. The revision at which it is settled.
    async fn settle(&self, author: &Author) -> Rev {
        let key = keys::ledger(&self.node);
        loop {
            let ledger = self.writer.store.get(&key, berth_store::At::Latest).await;
            let written = match ledger {
                Ok((_, Some(kv))) => kv.mod_rev,
                // Gone with its Node: the group's condition can never hold again.
                Ok((rev, None)) => return rev,
                Err(_) => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let group = Group {
                conditions: vec![Condition::unchanged(key.clone(), written)],
                writes: vec![Write::put(key.clone(), "{}")],
            };
            match self.writer.committer.submit(group, author).await {
                Ok(Ended::Applied { rev, .. }) => return rev,
                Ok(Ended::Conflict { .. } | Ended::Unclear { .. }) => {}
                Err(error) => {
                    tracing::warn!(node = self.node, %error, "the outcome of a bind is unknown: asking again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// The items, or none when the cache did not come so far: each is told why.
fn or_refused(seen: refuse::Answer<()>, items: Vec<Item>) -> Vec<Item> {
    let Err(why) = seen else { return items };
    for item in items {
        answer(item, Err(why.clone()));
    }
    Vec::new()
}

/// Nobody waits any more when the call was given up.
fn answer(item: Item, ended: refuse::Answer<bytes::Bytes>) {
    let _ = item.answer.send(ended);
}
