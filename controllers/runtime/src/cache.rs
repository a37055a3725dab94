//! A cache that follows all objects of a query: typed, indexed, never older than what it has shown before.

mod index;
mod progress;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use berth_client::{Change, Client, KindName, Query, Update, Watch};
use berth_types::Resource;
use berth_types::meta::ManagedFields;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

pub use index::{Index, Indexes, owner_uids};
pub(crate) use progress::{Progress, catch_up};

use crate::key::{Key, ResourceVersion};
use index::Indexed;

/// All objects of a query as the API last showed them, without `managedFields`: only the server reads these, and they are
/// larger than most objects. Clones share one state; the last one dropped ends it.
pub struct Cache<K> {
    shared: Arc<Shared<K>>,
}

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

struct Shared<K> {
    state: RwLock<State<K>>,
    /// How far the state has come; nothing before the first whole state.
    reached: watch::Sender<Option<ResourceVersion>>,
    /// Rung when somebody waits for a version.
    hurry: Arc<Notify>,
    /// Follows the API; stopped with the cache.
    follower: Mutex<JoinSet<()>>,
}

struct State<K> {
    objects: BTreeMap<Arc<Key>, Arc<K>>,
    /// Bytes of the `managedFields` that an object came with, where it had any.
    managed_bytes: BTreeMap<Arc<Key>, usize>,
    indexed: Indexed<K>,
    subscribers: Vec<mpsc::UnboundedSender<Changed<K>>>,
}

/// Changes of one store revision (or the whole state, for a new subscriber).
#[derive(Debug)]
pub struct Changed<K> {
    /// The cache has come this far with them.
    pub version: ResourceVersion,
    /// Each object once.
    pub deltas: Vec<Delta<K>>,
}

/// One object's change.
#[derive(Debug)]
pub enum Delta<K> {
    /// It came to be.
    Added(Arc<K>),
    /// It changed.
    Modified {
        /// As it was.
        old: Arc<K>,
        /// As it is.
        new: Arc<K>,
    },
    /// It is gone; as it was.
    Deleted(Arc<K>),
}

impl<K> Delta<K> {
    /// As it is, or was last.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Added(object) | Self::Modified { new: object, .. } | Self::Deleted(object) => object,
        }
    }

    /// What `key` says of the object as it was and as it is, each answer once.
    pub fn keys<I: IntoIterator<Item = Key>>(&self, key: impl Fn(&K) -> I) -> Vec<Key> {
        let mut keys: BTreeSet<Key> = key(self.object()).into_iter().collect();
        if let Self::Modified { old, .. } = self {
            keys.extend(key(old));
        }
        keys.into_iter().collect()
    }
}

impl<K: Resource> Cache<K> {
    /// An empty cache that [`Self::apply`] fills: for tests, and for who follows the API itself.
    pub fn empty(indexes: Indexes<K>) -> Self {
        let state = State {
            objects: BTreeMap::new(),
            managed_bytes: BTreeMap::new(),
            indexed: Indexed::new(indexes),
            subscribers: Vec::new(),
        };
        let shared = Shared {
            state: RwLock::new(state),
            reached: watch::Sender::new(None),
            hurry: Arc::default(),
            follower: Mutex::new(JoinSet::new()),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A cache that follows the objects of `query` until it is dropped.
    pub fn start(client: &Client, query: &Query, indexes: Indexes<K>) -> Self {
        let cache = Self::empty(indexes);
        let follow =
            follow(client.watch_as::<K>(query), Arc::downgrade(&cache.shared), cache.shared.hurry.clone());
        cache.shared.follower.lock().unwrap_or_else(PoisonError::into_inner).spawn(follow);
        cache
    }

    /// The object of this key.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.read(|state| state.objects.get(key).cloned())
    }

    /// Bytes of the object's `managedFields` as JSON: the cache does not keep them, but the server writes them with every
    /// change of the object. 0 if there are none.
    pub fn managed_bytes(&self, key: &Key) -> usize {
        self.read(|state| state.managed_bytes.get(key).copied().unwrap_or(0))
    }

    /// All objects, in the order of their keys.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.read(|state| state.objects.values().cloned().collect())
    }

    /// The objects for which `index` has this value, in the order of their keys.
    pub fn by(&self, index: &Index<K>, value: &str) -> Vec<Arc<K>> {
        self.read(|state| state.indexed.get(index, value))
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.read(|state| state.objects.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the first whole state has arrived.
    pub fn synced(&self) -> bool {
        self.shared.reached.borrow().is_some()
    }

    /// Everything up to here is in the cache.
    pub fn version(&self) -> ResourceVersion {
        self.shared.reached.borrow().unwrap_or_default()
    }

    /// Waits until the cache has come to `version`.
    pub async fn reached(&self, version: ResourceVersion) {
        self.progress().reached(version).await;
    }

    /// The same for a version of the whole store, as a list carries it: asks the server when nothing of the kind comes.
    pub async fn caught_up(&self, version: ResourceVersion) {
        self.progress().reached_by_asking(version).await;
    }

    /// The present objects as `Added`, then every change, in order.
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<Changed<K>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut state = self.shared.state.write().unwrap_or_else(PoisonError::into_inner);
        if self.synced() {
            let deltas = state.objects.values().cloned().map(Delta::Added).collect();
            let _ = sender.send(Changed { version: self.version(), deltas });
        }
        state.subscribers.push(sender);
        receiver
    }

    /// Takes over what a watch delivered, and tells the subscribers what it changed.
    pub fn apply(&self, update: Update<K>) {
        self.shared.apply(update);
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress {
            kind: KindName::of::<K>(),
            reached: self.shared.reached.subscribe(),
            hurry: self.shared.hurry.clone(),
        }
    }

    fn read<T>(&self, look: impl FnOnce(&State<K>) -> T) -> T {
        look(&self.shared.state.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<K: Resource> Shared<K> {
    fn apply(&self, update: Update<K>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let (deltas, version) = match update {
            Update::Initial { objects, version } | Update::Restarted { objects, version } => {
                (state.replace(objects), version)
            }
            Update::Changes { changes, version } => {
                (changes.into_iter().filter_map(|change| state.change(change)).collect(), version)
            }
            Update::Bookmark { version } => (Vec::new(), version),
        };
        let version = ResourceVersion::parse(&version);
        if !deltas.is_empty() {
            state.notify(version, deltas);
        }
        // Under the lock: whoever sees the version finds the objects.
        self.reached.send_replace(Some(version));
    }
}

impl<K: Resource> State<K> {
    /// Makes `objects` the whole state: what is not among them was deleted.
    fn replace(&mut self, objects: Vec<K>) -> Vec<Delta<K>> {
        let mut gone: BTreeSet<Arc<Key>> = self.objects.keys().cloned().collect();
        let mut deltas = Vec::new();
        for object in objects {
            gone.remove(&Key::of(&object));
            deltas.extend(self.put(object));
        }
        deltas.extend(gone.iter().filter_map(|key| self.remove(key)));
        deltas
    }

    fn change(&mut self, change: Change<K>) -> Option<Delta<K>> {
        match change {
            Change::Added(object) | Change::Modified(object) => self.put(object),
            Change::Deleted(object) => self.remove(&Key::of(&object)),
        }
    }

    fn put(&mut self, mut object: K) -> Option<Delta<K>> {
        let managed = std::mem::take(&mut object.meta_mut().managed_fields);
        let key = Arc::new(Key::of(&object));
        let new = Arc::new(object);
        self.keep_managed_bytes(&key, &managed);
        let Some(old) = self.objects.get(&key).cloned() else {
            self.objects.insert(key.clone(), new.clone());
            self.indexed.add(&key, &new);
            return Some(Delta::Added(new));
        };
        if old.meta().resource_version == new.meta().resource_version {
            return None;
        }
        self.indexed.remove(&key, &old);
        self.objects.insert(key.clone(), new.clone());
        self.indexed.add(&key, &new);
        Some(Delta::Modified { old, new })
    }

    fn keep_managed_bytes(&mut self, key: &Arc<Key>, managed: &[ManagedFields]) {
        if managed.is_empty() {
            self.managed_bytes.remove(key);
        } else {
            let bytes = serde_json::to_vec(managed).map_or(0, |json| json.len());
            self.managed_bytes.insert(key.clone(), bytes);
        }
    }

    fn remove(&mut self, key: &Key) -> Option<Delta<K>> {
        let old = self.objects.remove(key)?;
        self.managed_bytes.remove(key);
        self.indexed.remove(key, &old);
        Some(Delta::Deleted(old))
    }

    fn notify(&mut self, version: ResourceVersion, deltas: Vec<Delta<K>>) {
        let Some((last, others)) = self.subscribers.split_last() else {
            return;
        };
        for subscriber in others {
            let deltas = deltas.iter().map(Delta::share).collect();
            let _ = subscriber.send(Changed { version, deltas });
        }
        let _ = last.send(Changed { version, deltas });
        self.subscribers.retain(|subscriber| !subscriber.is_closed());
    }
}

impl<K> Delta<K> {
    fn share(&self) -> Self {
        match self {
            Self::Added(object) => Self::Added(object.clone()),
            Self::Modified { old, new } => Self::Modified { old: old.clone(), new: new.clone() },
            Self::Deleted(object) => Self::Deleted(object.clone()),
        }
    }
}

/// Feeds the cache. A watch that nobody can heal (the kind is not there yet) is tried again slowly.
async fn follow<K: Resource>(mut watch: Watch<K>, cache: std::sync::Weak<Shared<K>>, hurry: Arc<Notify>) {
    loop {
        let update = tokio::select! {
            update = watch.next() => update,
            () = hurry.notified() => {
                watch.refresh();
                continue;
            }
        };
        match update {
            Ok(update) => match cache.upgrade() {
                Some(cache) => cache.apply(update),
                None => return,
            },
            Err(why) => {
                tracing::warn!(kind = K::KIND, %why, "watch failed");
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        }
    }
}
