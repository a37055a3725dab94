//! Indexes of a cache: from a value to the objects that have it.

use std::collections::{BTreeMap, HashMap};
use std::marker::PhantomData;
use std::sync::Arc;

use berth_types::Resource;
use berth_types::slack::Slack;

use crate::key::Key;

type Values<K> = Box<dyn Fn(&K) -> Vec<String> + Send + Sync>;

/// The indexes that a cache keeps; each says under which values an object is found.
pub struct Indexes<K>(Vec<Values<K>>);

/// One of a cache's indexes.
#[derive(Debug)]
pub struct Index<K> {
    position: usize,
    kind: PhantomData<fn(K)>,
}

impl<K> Clone for Index<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Index<K> {}

impl<K> Default for Indexes<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K> Indexes<K> {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an index; its handle is good for the one cache that is made with these indexes.
    pub fn add(&mut self, values: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) -> Index<K> {
        self.0.push(Box::new(values));
        Index { position: self.0.len() - 1, kind: PhantomData }
    }
}

/// Index by the uids of an object's owners.
pub fn owner_uids<K: Resource>(object: &K) -> Vec<String> {
    object.meta().owner_references.iter().map(|owner| owner.uid.clone()).collect()
}

type Found<K> = HashMap<String, BTreeMap<Arc<Key>, Arc<K>>>;

/// The indexes with what they hold.
pub(super) struct Indexed<K> {
    indexes: Vec<(Values<K>, Found<K>)>,
}

impl<K> Indexed<K> {
    pub(super) fn new(indexes: Indexes<K>) -> Self {
        Self { indexes: indexes.0.into_iter().map(|values| (values, HashMap::new())).collect() }
    }

    pub(super) fn get(&self, index: &Index<K>, value: &str) -> Vec<Arc<K>> {
        let (_, found) = &self.indexes[index.position];
        found.get(value).map(|objects| objects.values().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn add(&mut self, key: &Arc<Key>, object: &Arc<K>) {
        for (values, found) in &mut self.indexes {
            for value in values(object) {
                found.entry(value).or_default().insert(key.clone(), object.clone());
            }
        }
    }

    pub(super) fn remove(&mut self, key: &Key, object: &K) {
        for (values, found) in &mut self.indexes {
            for value in values(object) {
                let Some(objects) = found.get_mut(&value) else { continue };
                objects.remove(key);
                if objects.is_empty() {
                    found.remove(&value);
                    found.give_back();
                }
            }
        }
    }
}
