//! What the cache holds at one revision of the store: every object of every kind, and the system's own keys.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use berth_store::{Changes, Kv, Rev, StoreError, Value, positions};
use berth_types::slack::Slack;
use bytes::Bytes;
use tokio::time::Instant;

use crate::cache::entry::Entry;
use crate::cache::watcher::{Cut, Watchers};
use crate::cache::window::{Event, Now, Window};
use crate::keys;
use crate::table::{KindId, Row, Table};
use crate::version::Version;

/// The objects of one kind.
#[derive(Debug)]
pub struct Kind {
    objects: BTreeMap<Arc<str>, Arc<Entry>>,
    /// By the value of the hot field.
    by_hot: HashMap<Box<str>, BTreeMap<Arc<str>, Arc<Entry>>>,
    pub(super) window: Window,
    pub(super) watchers: Watchers,
}

/// Everything at one revision.
pub struct State {
    rev: Rev,
    /// How often everything was read anew before this state.
    loads: u64,
    kinds: Vec<Kind>,
    system: BTreeMap<Bytes, Kv>,
    /// Keys whose value cannot be read, with the revision of its write. Objects among them are left out.
    unreadable: BTreeMap<Bytes, Rev>,
}

/// Everything that a state holds of the store; shares its memory.
pub(super) struct Held {
    pub(super) rev: Rev,
    pub(super) loads: u64,
    pub(super) objects: Vec<(KindId, Arc<Entry>)>,
    /// The objects of each value of a hot field.
    pub(super) indexed: Vec<(KindId, Box<str>, Vec<Arc<Entry>>)>,
    pub(super) system: Vec<Kv>,
    pub(super) unreadable: Vec<(Bytes, Rev)>,
}

/// One change, read before the state is locked.
pub(super) enum Prepared {
    Object { kind: KindId, path: Arc<str>, version: Version, now: Found },
    System { key: Bytes, now: Option<Kv> },
}

/// What a revision left at the key of an object.
pub(super) enum Found {
    Readable(Arc<Entry>),
    /// A value that cannot be read, written in this revision: as if the object had been removed.
    Unreadable(Rev),
    Absent,
}

impl Kind {
    fn new(window: usize, start: Version) -> Self {
        Self {
            objects: BTreeMap::new(),
            by_hot: HashMap::new(),
            window: Window::new(window, start),
            watchers: Watchers::default(),
        }
    }

    /// One object.
    pub fn get(&self, path: &str) -> Option<&Arc<Entry>> {
        self.objects.get(path)
    }

    /// The objects after `after`, in the order of their keys; all of them or those of one namespace.
    pub fn range<'s>(
        &'s self,
        namespace: Option<&str>,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'s Arc<Entry>> {
        let prefix = namespace.map(|namespace| format!("{namespace}/")).unwrap_or_default();
        let from = after.filter(|after| *after >= prefix.as_str()).unwrap_or(&prefix);
        let bound = if after == Some(from) { Bound::Excluded(from) } else { Bound::Included(from) };
        let range = self.objects.range::<str, _>((bound, Bound::Unbounded));
        range.map(|(_, entry)| entry).take_while(move |entry| entry.path.starts_with(&prefix))
    }

    /// The objects after `after` whose hot field has a value, in the order of their keys.
    pub fn with_hot(&self, value: &str, after: Option<&str>) -> impl Iterator<Item = &Arc<Entry>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let set = self.by_hot.get(value).into_iter();
        set.flat_map(move |set| set.range::<str, _>((from, Bound::Unbounded))).map(|(_, entry)| entry)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    fn put(&mut self, row: &Row, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let before = self.remove(row, &entry.path);
        if let Some(hot) = row.hot_field {
            let set = self.by_hot.entry(entry.fields[hot].clone()).or_default();
            set.insert(entry.path.clone(), entry.clone());
        }
        self.objects.insert(entry.path.clone(), entry);
        before
    }

    fn remove(&mut self, row: &Row, path: &str) -> Option<Arc<Entry>> {
        let before = self.objects.remove(path)?;
        if let Some(hot) = row.hot_field
            && let Some(set) = self.by_hot.get_mut(&before.fields[hot])
        {
            set.remove(path);
            if set.is_empty() {
                self.by_hot.remove(&before.fields[hot]);
                self.by_hot.give_back();
            }
        }
        Some(before)
    }
}

impl State {
    /// Nothing at all, at revision `rev`.
    pub(super) fn empty(table: &Table, window: usize, rev: Rev) -> Self {
        let start = Version::all_of(rev);
        let kinds = table.rows().map(|_| Kind::new(window, start)).collect();
        Self { rev, loads: 0, kinds, system: BTreeMap::new(), unreadable: BTreeMap::new() }
    }

    /// The revision that is wholly applied.
    pub fn rev(&self) -> Rev {
        self.rev
    }

    /// How often everything was read anew before this state.
    pub(super) fn loads(&self) -> u64 {
        self.loads
    }

    /// The objects of one kind.
    pub fn kind(&self, id: KindId) -> &Kind {
        &self.kinds[id]
    }

    pub(super) fn kind_mut(&mut self, id: KindId) -> &mut Kind {
        &mut self.kinds[id]
    }

    /// One of the system's own keys.
    pub fn system(&self, key: &[u8]) -> Option<&Kv> {
        self.system.get(key)
    }

    /// Takes over what was read at the revision of this state, without telling anybody.
    pub(super) fn load(&mut self, table: &Table, kv: Kv) {
        if keys::is_system(&kv.key) {
            self.put_system(kv);
            return;
        }
        let Some((kind, _)) = table.of_key(&kv.key) else { return };
        match Entry::read(table.row(kind), &kv) {
            Some(entry) => drop(self.kinds[kind].put(table.row(kind), Arc::new(entry))),
            None => self.leave_out(kv.key, kv.mod_rev),
        }
    }

    /// Only the revision of such a key counts for conditions, so it is held even when its value cannot be read.
    fn put_system(&mut self, kv: Kv) {
        if Value::parse(kv.value.clone()).is_ok() {
            self.unreadable.remove(&kv.key);
        } else {
            let shown = String::from_utf8_lossy(&kv.key);
            tracing::error!(key = %shown, rev = kv.mod_rev, "a value of the system in the store cannot be read");
            self.unreadable.insert(kv.key.clone(), kv.mod_rev);
        }
        self.system.insert(kv.key.clone(), kv);
    }

    fn leave_out(&mut self, key: Bytes, rev: Rev) {
        let shown = String::from_utf8_lossy(&key);
        tracing::error!(key = %shown, rev, "an object is left out, because its value in the store cannot be read");
        self.unreadable.insert(key, rev);
    }

    /// Keys whose value cannot be read.
    pub fn unreadable(&self) -> impl ExactSizeIterator<Item = &Bytes> {
        self.unreadable.keys()
    }

    /// Applies one whole revision and tells the watchers.
    pub(super) fn apply(&mut self, table: &Table, rev: Rev, prepared: Vec<Prepared>) {
        for change in prepared {
            match change {
                Prepared::System { key: _, now: Some(kv) } => self.put_system(kv),
                Prepared::System { key, now: None } => {
                    self.system.remove(&key);
                    self.unreadable.remove(&key);
                }
                Prepared::Object { kind, path, version, now } => {
                    self.apply_object(table.row(kind), kind, &path, version, now);
                }
            }
        }
        self.rev = rev;
    }

    /// Nothing of ours happened up to `rev`.
    pub(super) fn pass(&mut self, rev: Rev) {
        self.rev = rev;
    }

    fn apply_object(&mut self, row: &Row, id: KindId, path: &str, version: Version, now: Found) {
        if let Found::Unreadable(rev) = now {
            self.leave_out(row.key(path), rev);
        } else if !self.unreadable.is_empty() {
            self.unreadable.remove(&row.key(path));
        }
        let kind = &mut self.kinds[id];
        let (before, now) = match now {
            Found::Readable(entry) => (kind.put(row, entry.clone()), Now::There(entry)),
            Found::Unreadable(_) | Found::Absent => {
                let Some(before) = kind.remove(row, path) else { return };
                let gone = before.served.at(version);
                (Some(before), Now::Gone(gone))
            }
        };
        let event = Arc::new(Event { version, before, now });
        kind.watchers.tell(&event, row.hot_field);
        kind.window.push(event);
    }

    /// Lets go of events that came before `then`, of each kind at most `most`; whether there may be more.
    pub(super) fn drop_before(&mut self, then: Instant, most: usize) -> bool {
        let mut more = false;
        for kind in &mut self.kinds {
            more |= kind.window.drop_before(then, most);
        }
        more
    }

    /// Everything that it holds of the store.
    pub(super) fn held(&self) -> Held {
        let kinds = || self.kinds.iter().enumerate();
        let objects =
            kinds().flat_map(|(id, kind)| kind.objects.values().map(move |entry| (id, entry.clone())));
        let indexed = kinds().flat_map(|(id, kind)| {
            kind.by_hot
                .iter()
                .map(move |(value, entries)| (id, value.clone(), entries.values().cloned().collect()))
        });
        Held {
            rev: self.rev,
            loads: self.loads,
            objects: objects.collect(),
            indexed: indexed.collect(),
            system: self.system.values().cloned().collect(),
            unreadable: self.unreadable.iter().map(|(key, rev)| (key.clone(), *rev)).collect(),
        }
    }

    /// Replaces everything by `fresh`, and ends every stream: what happened between is not known.
    pub(super) fn replace(&mut self, mut fresh: State) {
        fresh.loads = self.loads + 1;
        for (old, new) in self.kinds.iter_mut().zip(&mut fresh.kinds) {
            new.watchers = std::mem::take(&mut old.watchers).after_all_are_cut(Cut::Rebuilt);
        }
        *self = fresh;
    }
}

/// Reads the changes of one revision.
pub(super) fn prepare(table: &Table, mut changes: Changes) -> Result<Vec<Prepared>, StoreError> {
    // A value of another program has no position: it takes that of a removal.
    let unreadable: Vec<Option<Kv>> = changes
        .changes
        .iter_mut()
        .map(|change| change.now.take_if(|kv| Value::parse(kv.value.clone()).is_err()))
        .collect();
    let positions = positions(&changes)?;
    let rev = changes.rev;
    // Told in the order of their positions: who resumes in the middle of a revision names the last one that it saw.
    let mut placed: Vec<_> = changes.changes.into_iter().zip(unreadable).zip(positions).collect();
    placed.sort_by_key(|(_, position)| *position);
    let read = placed.into_iter().filter_map(|((change, unreadable), position)| {
        if keys::is_system(&change.key) {
            return Some(Prepared::System { key: change.key, now: change.now.or(unreadable) });
        }
        let (kind, path) = table.of_key(&change.key)?;
        let now = match change.now.or(unreadable) {
            Some(kv) => match Entry::read(table.row(kind), &kv) {
                Some(entry) => Found::Readable(Arc::new(entry)),
                None => Found::Unreadable(kv.mod_rev),
            },
            None => Found::Absent,
        };
        Some(Prepared::Object { kind, path: path.into(), version: Version::of_write(rev, position), now })
    });
    Ok(read.collect())
}

#[cfg(test)]
mod tests;
