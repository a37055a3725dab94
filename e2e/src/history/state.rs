//! The store as it stood, replayed from the log.

use std::collections::HashMap;

use super::log::{Event, Stored};

/// What lies at a key.
#[derive(Debug, Clone)]
pub struct Object {
    /// The revision of its last write.
    pub rev: i64,
    /// When the recorder saw that write.
    pub at: u64,
    /// The value.
    pub stored: Stored,
}

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
    /// All of its changes.
    pub changes: &'a [Change<'a>],
}

impl State {
    /// What lies at `key`.
    pub fn get(&self, key: &str) -> Option<&Object> {
        self.objects.get(key)
    }

    /// Puts in what an event says.
    pub(super) fn apply(&mut self, key: String, now: Option<Object>) {
        match now {
            Some(object) => self.objects.insert(key, object),
            None => self.objects.remove(&key),
        };
    }
}

impl Object {
    /// What an event puts; none for a delete.
    pub(super) fn of(event: Event) -> (String, Option<Self>) {
        let Event { rev, at, key, now } = event;
        (key, now.map(|stored| Self { rev, at, stored }))
    }
}
