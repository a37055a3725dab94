//! What every form of the store promises, as laws over `dyn Store`. They run one after another over one store, each
//! under a prefix of its own; revisions are compared with one another, never with numbers.

mod commits;
mod history;
mod leases;
mod moments;
mod reads;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use berth_store::{
    At, Changes, Committed, Group, Kv, LeaseId, Outcome, Rev, Store, StoreError, WatchStream, Write,
};
use bytes::Bytes;
use futures::StreamExt;

/// How long a law waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

type Law = fn(World) -> Pin<Box<dyn Future<Output = ()> + Send>>;

macro_rules! laws {
    ($($module:ident::$law:ident),* $(,)?) => {
        &[$((stringify!($law), |world| Box::pin($module::$law(world)))),*]
    };
}

const LAWS: &[(&str, Law)] = laws![
    commits::a_group_happens_when_its_conditions_hold,
    commits::groups_are_independent_and_see_the_state_before_the_call,
    commits::a_conflict_shows_the_keys_as_they_were_before_the_call,
    commits::a_call_that_writes_is_one_revision_and_any_other_is_none,
    commits::a_removed_key_begins_anew,
    commits::a_call_that_breaks_a_rule_changes_nothing,
    commits::the_largest_calls_pass,
    commits::of_many_who_count_up_nobody_is_lost,
    moments::every_answer_is_of_a_moment_between_question_and_answer,
    reads::a_range_is_in_order_and_ends_before_its_end,
    reads::pages_of_one_revision_make_the_whole,
    reads::a_read_at_a_revision_is_the_state_of_then,
    reads::a_range_of_many_bytes_comes_whole,
    history::a_watch_from_the_first_revision_tells_all_that_ever_was,
    history::a_watch_tells_every_change_once_with_what_was_before,
    history::a_watch_from_the_past_goes_over_into_the_present,
    history::a_watch_may_begin_in_the_future,
    history::compaction_forgets_what_was_before_and_nothing_else,
    history::a_revision_of_many_bytes_comes_whole,
    history::a_slow_watcher_holds_nobody_up_and_is_never_skipped,
    leases::the_keys_of_a_revoked_lease_go_in_one_revision,
    leases::a_lease_runs_out_not_before_its_time_and_soon_after,
    leases::a_renewed_lease_lives_on,
    leases::a_put_moves_its_key_to_another_lease,
    leases::a_lease_that_is_not_there_fails_the_whole_call,
];

/// Holds a store against every law.
pub async fn hold(store: Arc<dyn Store>) {
    for (name, law) in LAWS {
        eprintln!("law: {name}");
        law(World { store: store.clone(), prefix: format!("/{name}/") }).await;
    }
}

/// A store, and the part of it that belongs to one law.
#[derive(Clone)]
pub struct World {
    pub store: Arc<dyn Store>,
    pub prefix: String,
}

impl World {
    pub fn key(&self, name: &str) -> Bytes {
        format!("{}{name}", self.prefix).into()
    }

    pub fn name(&self, key: &[u8]) -> String {
        let key = std::str::from_utf8(key).unwrap();
        key.strip_prefix(&self.prefix).expect("a key of this law").to_owned()
    }

    pub fn end(&self) -> Bytes {
        berth_store::prefix_end(self.prefix.as_bytes())
    }

    pub fn put(&self, name: &str, value: &str) -> Write {
        Write::put(self.key(name), value.to_owned())
    }

    pub fn bound(&self, name: &str, lease: LeaseId) -> Write {
        Write::Put { key: self.key(name), value: "bound".into(), lease }
    }

    pub fn delete(&self, name: &str) -> Write {
        Write::delete(self.key(name))
    }

    /// One group without conditions; its revision.
    pub async fn write(&self, writes: impl IntoIterator<Item = Write>) -> Rev {
        let group = Group { conditions: vec![], writes: writes.into_iter().collect() };
        self.commit(vec![group]).await.rev
    }

    pub async fn commit(&self, groups: Vec<Group>) -> Committed {
        self.store.commit(groups).await.unwrap()
    }

    pub async fn get(&self, name: &str) -> Option<Kv> {
        self.store.get(&self.key(name), At::Latest).await.unwrap().1
    }

    /// Name and value of every key of the law, at a state.
    pub async fn all(&self, at: At) -> Vec<String> {
        let page = self.store.range(self.prefix.as_bytes(), &self.end(), 0, at).await.unwrap();
        page.kvs.iter().map(|kv| self.shown(kv)).collect()
    }

    pub fn shown(&self, kv: &Kv) -> String {
        format!("{}={}", self.name(&kv.key), std::str::from_utf8(&kv.value).unwrap())
    }

    pub async fn watch(&self, from: Rev) -> WatchStream {
        self.store.watch(self.prefix.as_bytes(), &self.end(), from).await.unwrap()
    }

    /// A revision as `+n`, counted from a base, with its changes as `key=before>now`.
    pub fn told(&self, base: Rev, changes: &Changes) -> String {
        let value = |kv: &Option<Kv>| {
            kv.as_ref().map_or_else(|| "-".into(), |kv| String::from_utf8(kv.value.to_vec()).unwrap())
        };
        let each = changes.changes.iter().map(|change| {
            format!("{}:{}>{}", self.name(&change.key), value(&change.before), value(&change.now))
        });
        format!("+{} {}", changes.rev - base, each.collect::<Vec<_>>().join(" "))
    }
}

/// What a watch tells next.
pub async fn next(watch: &mut WatchStream) -> Result<Changes, StoreError> {
    let told = tokio::time::timeout(PATIENCE, watch.next()).await;
    told.expect("the watch told nothing for too long").expect("the watch ended without an error")
}

pub fn applied(committed: &Committed) -> Vec<bool> {
    committed.outcomes.iter().map(|outcome| *outcome == Outcome::Applied).collect()
}
