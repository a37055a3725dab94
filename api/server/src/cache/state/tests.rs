//! The indexes against a plain scan, over generated histories; and that an audit sees whatever differs.

use std::collections::BTreeMap;

use berth_store::{EmbeddedStore, Group, Header, Store, Write, WriteId};
use berth_types::task::Task;
use bytes::Bytes;
use futures::StreamExt;
use serde_json::json;

use super::*;
use crate::cache::audit;
use crate::cache::watcher::Queue;
use crate::selection::Selection;

const NAMESPACES: [&str; 2] = ["a", "ab"];
const NODES: [&str; 4] = ["", "n1", "n2", "n22"];
/// More than the longest history.
const WINDOW: usize = 32 << 20;

/// Tasks by their path, each with the node that it is on.
type Model = BTreeMap<String, &'static str>;

/// A store, a state that follows it, and watchers of each node and of all.
struct World {
    table: Table,
    store: EmbeddedStore,
    changes: berth_store::WatchStream,
    state: State,
    model: Model,
    watchers: Vec<(Option<&'static str>, Arc<Queue>, Model)>,
}

impl World {
    async fn new() -> Self {
        let (table, store) = (Table::builtin(), EmbeddedStore::memory());
        let rev = store.current_rev().await.unwrap();
        let changes = store.watch(keys::START, keys::END, rev + 1).await.unwrap();
        let mut state = State::empty(&table, WINDOW, rev);
        let tasks = table.of::<Task>();
        let watched = std::iter::once(None).chain(NODES.map(Some));
        let watchers = watched.map(|node| {
            let fields = node.map_or(String::new(), |node| format!("spec.nodeName={node}"));
            let selection = Selection::parse(table.row(tasks), "", "", &fields).unwrap();
            let (_, queue) = state.kind_mut(tasks).watchers.add(selection, node);
            (node, queue, Model::new())
        });
        let watchers = watchers.collect();
        Self { table, store, changes, state, model: Model::new(), watchers }
    }

    /// Commits the writes in one revision and applies it.
    async fn commit(&mut self, writes: Vec<Write>) {
        let committed = self.store.commit(vec![Group { conditions: Vec::new(), writes }]).await.unwrap();
        if committed.rev == self.state.rev() {
            // Nothing but removals of what is not there.
            return;
        }
        let changes = self.changes.next().await.unwrap().unwrap();
        let rev = changes.rev;
        let prepared = prepare(&self.table, changes).unwrap();
        self.state.apply(&self.table, rev, prepared);
    }

    /// Creates, moves, removes or damages up to four Tasks by chance, in one revision.
    async fn step(&mut self, random: &mut fastrand::Rng) {
        let mut changed = BTreeMap::new();
        for _ in 0..random.usize(1..5) {
            let (namespace, number) = (NAMESPACES[random.usize(0..2)], random.u8(0..5));
            let node = random.u8(0..10).checked_sub(3).map(|n| NODES[usize::from(n) % NODES.len()]);
            changed.insert(format!("{namespace}/t-{number}"), node);
        }
        let mut writes = Vec::new();
        for (position, (path, node)) in (0..).zip(changed) {
            let key = self.table.row(self.table.of::<Task>()).key(&path);
            let Some(node) = node else {
                self.model.remove(&path);
                let damage = random.bool().then(|| Write::put(key.clone(), "garbage"));
                writes.push(damage.unwrap_or(Write::delete(key)));
                continue;
            };
            writes.push(Write::put(key, stored(&path, node, position)));
            self.model.insert(path, node);
        }
        self.commit(writes).await;
    }

    fn tasks(&self) -> &Kind {
        self.state.kind(self.table.of::<Task>())
    }

    /// Every way to read the Tasks gives what a plain scan of the model gives.
    fn check(&mut self) {
        let tasks = self.tasks();
        assert_eq!(tasks.len(), self.model.len());
        let after: Vec<Option<&str>> =
            std::iter::once(None).chain(["a/t-1", "ab/t-0", "ab/t-9", "b"].map(Some)).collect();
        for after in after {
            let later = |path: &&String| after.is_none_or(|after| path.as_str() > after);
            for node in NODES {
                let scanned = self.model.iter().filter(|(_, on)| **on == node).map(|(path, _)| path);
                let scanned: Vec<String> = scanned.filter(later).cloned().collect();
                assert_eq!(paths(tasks.with_hot(node, after)), scanned, "node `{node}` after {after:?}");
            }
            for namespace in [None, Some("a"), Some("ab"), Some("b")] {
                let within = |path: &&String| {
                    namespace.is_none_or(|namespace| path.split('/').next() == Some(namespace))
                };
                let scanned: Vec<String> = self.model.keys().filter(within).filter(later).cloned().collect();
                assert_eq!(paths(tasks.range(namespace, after)), scanned, "{namespace:?} after {after:?}");
            }
        }
        for (path, node) in &self.model {
            assert_eq!(&*tasks.get(path).expect("it is there").fields[0], *node);
        }
        assert!(tasks.by_hot.values().all(|set| !set.is_empty()), "an empty set is kept");
    }

    /// What each watcher was told leaves it with what a plain scan gives.
    fn check_watchers(&mut self) {
        use berth_proto::v1::watch_event::Type;
        for (node, queue, seen) in &mut self.watchers {
            for delivery in queue.take().unwrap() {
                let object: serde_json::Value = serde_json::from_slice(&delivery.json).unwrap();
                let text =
                    |part: &str, field: &str| object[part][field].as_str().unwrap_or_default().to_owned();
                let path = format!("{}/{}", text("metadata", "namespace"), text("metadata", "name"));
                let on = NODES.into_iter().find(|node| *node == text("spec", "nodeName")).unwrap();
                let had = match delivery.kind {
                    Type::Added | Type::Modified => seen.insert(path.clone(), on).is_some(),
                    Type::Deleted => seen.remove(&path).is_some(),
                };
                assert_eq!(had, delivery.kind != Type::Added, "{path} is {:?} for {node:?}", delivery.kind);
            }
            let scanned = self.model.iter().filter(|(_, on)| node.is_none_or(|node| node == **on));
            let scanned: Model = scanned.map(|(path, on)| (path.clone(), *on)).collect();
            assert_eq!(*seen, scanned, "the watcher of {node:?}");
        }
    }

    async fn fingerprints(&self) -> (audit::Fingerprint, audit::Fingerprint) {
        let ours = audit::of_cache(&self.table, self.state.held()).await;
        (ours, audit::of_store(&self.store, &self.table, self.state.rev()).await.unwrap())
    }
}

fn paths<'e>(found: impl Iterator<Item = &'e Arc<Entry>>) -> Vec<String> {
    found.map(|entry| entry.path.to_string()).collect()
}

/// The stored form of a Task.
fn stored(path: &str, node: &str, position: u16) -> Bytes {
    let (namespace, name) = path.split_once('/').unwrap();
    let object = json!({"metadata": {"namespace": namespace, "name": name}, "spec": {"nodeName": node}});
    let header = Header { position, write_id: WriteId(1), epoch: 0, writer: String::new() };
    header.before(object.to_string().as_bytes()).freeze()
}

#[tokio::test]
async fn indexes_and_watchers_agree_with_a_plain_scan_over_any_history() {
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = World::new().await;
        for _ in 0..40 {
            world.step(&mut random).await;
            world.check();
            if random.bool() {
                world.check_watchers();
            }
        }
        world.check_watchers();
        let (ours, theirs) = world.fingerprints().await;
        assert_eq!(ours, theirs, "seed {seed}");
    }
}

/// A state that a restart reads is that which following gives.
#[tokio::test]
async fn a_state_that_is_loaded_equals_one_that_followed() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = World::new().await;
        for _ in 0..20 {
            world.step(&mut random).await;
        }
        world
            .commit(vec![Write::put("/berth/-/x", stored("a/x", "", 0)), Write::put("/berth/-/y", "garbage")])
            .await;
        let mut loaded = State::empty(&world.table, WINDOW, world.state.rev());
        for kv in world.store.range(keys::START, keys::END, 0, berth_store::At::Latest).await.unwrap().kvs {
            loaded.load(&world.table, kv);
        }
        let followed = audit::of_cache(&world.table, world.state.held()).await;
        assert_eq!(followed, audit::of_cache(&world.table, loaded.held()).await, "seed {seed}");
        world.state.replace(loaded);
        world.check();
    }
}

#[tokio::test]
async fn an_audit_sees_whatever_the_cache_holds_that_the_store_does_not() {
    type Damage = fn(&mut State, KindId);
    let damages: [(&str, Damage); 7] = [
        ("an object is missing", |state, tasks| {
            state.kinds[tasks].objects.remove("a/t-1");
        }),
        ("an object has other content under its revision", |state, tasks| {
            let kind = &mut state.kinds[tasks];
            let old = kind.objects["a/t-1"].clone();
            let value = stored(
                "a/t-1",
                "n2",
                old.version.to_string().parse::<u64>().map_or(0, |v| (v % 1024) as u16),
            );
            let kv = Kv { key: Bytes::new(), value, create_rev: 1, mod_rev: old.rev, version: 1, lease: 0 };
            let table = Table::builtin();
            let row = table.row(tasks);
            let other = Entry::read(row, &Kv { key: row.key("a/t-1"), ..kv }).unwrap();
            kind.put(row, Arc::new(other));
        }),
        ("an object is not in the index", |state, tasks| {
            state.kinds[tasks].by_hot.clear();
        }),
        ("an object is in the index of its last node too", |state, tasks| {
            let kind = &mut state.kinds[tasks];
            let entry = kind.objects["a/t-1"].clone();
            kind.by_hot.entry("n22".into()).or_default().insert(entry.path.clone(), entry);
        }),
        ("a key of the system has another value", |state, _| {
            let kv = state.system.values_mut().next().unwrap();
            kv.value = Bytes::from_static(b"other");
        }),
        ("an unreadable value is forgotten", |state, _| state.unreadable.clear()),
        ("a key of the system is missing", |state, _| state.system.clear()),
    ];
    for (what, damage) in damages {
        let mut world = World::new().await;
        let key = |path: &str| world.table.row(world.table.of::<Task>()).key(path);
        let writes = vec![
            Write::put(key("a/t-1"), stored("a/t-1", "n1", 0)),
            Write::put(key("a/t-2"), "garbage"),
            Write::put("/berth/-/x", stored("a/x", "", 1)),
        ];
        world.commit(writes).await;
        let (ours, theirs) = world.fingerprints().await;
        assert_eq!(ours, theirs);
        damage(&mut world.state, world.table.of::<Task>());
        let (ours, theirs) = world.fingerprints().await;
        assert_ne!(ours, theirs, "{what}");
    }
}
