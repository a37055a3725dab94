//! The store as it stood, replayed from the log.

use std::collections::HashMap;

use super::key::Key;
use super::log::Event;
use super::object::Object;

/// The store at one revision.
#[derive(Debug, Default)]
pub struct State {
    objects: HashMap<String, Object>,
}

/// One key's change in a revision.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// The key.
    pub key: &'a str,
    /// What the key is about.
    pub about: Key<'a>,
    /// What lay there before.
    pub was: Option<&'a Object>,
    /// What lies there now.
    pub now: Option<&'a Object>,
}

/// One revision of the store.
#[derive(Debug, Clone, Copy)]
pub struct Revision<'a> {
    /// Its number.
    pub rev: i64,
    /// When the recorder saw it; 0 is unknown.
    pub at: u64,
    /// The store before it.
    pub before: &'a State,
    /// All of its changes, in the order of their keys.
    pub changes: &'a [Change<'a>],
}

impl State {
    /// What lies at `key`.
    pub fn get(&self, key: &str) -> Option<&Object> {
        self.objects.get(key)
    }

    /// Everything that is there, with its key, in no order.
    pub fn objects(&self) -> impl Iterator<Item = (&str, &Object)> {
        self.objects.iter().map(|(key, object)| (key.as_str(), object))
    }

    /// Learns what an event says.
    pub fn learn(&mut self, event: Event) {
        let was = self.get(&event.key);
        let (key, now) = Object::of(event, was);
        self.apply(key, now);
    }

    /// Puts in what an event says.
    pub(super) fn apply(&mut self, key: String, now: Option<Object>) {
        match now {
            Some(object) => self.objects.insert(key, object),
            None => self.objects.remove(&key),
        };
    }
}

impl<'a> Revision<'a> {
    /// What happened to `key`, if anything did.
    pub fn change(&self, key: &str) -> Option<&'a Change<'a>> {
        let at = self.changes.partition_point(|change| change.key < key);
        self.changes.get(at).filter(|change| change.key == key)
    }

    /// What lies at `key` after this revision.
    pub fn now(&self, key: &str) -> Option<&'a Object> {
        self.change(key).map_or_else(|| self.before.get(key), |change| change.now)
    }
}
