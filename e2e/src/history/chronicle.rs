//! Every edition of the objects of some kinds, in the order of their versions: what answers and watches are held
//! against.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use serde_json::Value;

use super::content::{hash, rev_of, version_of};
use super::state::{Change, Revision};

/// The highest position of a write.
const LAST_POSITION: u64 = 1022;

/// An object in one version.
#[derive(Debug, PartialEq)]
pub struct Content {
    /// As it is stored.
    pub tree: Value,
    /// Of the tree.
    pub hash: u64,
    /// The version.
    pub version: u64,
    /// Who wrote it.
    pub writer: String,
}

/// One change of one object.
#[derive(Debug, Clone, PartialEq)]
pub struct Edition {
    /// The write.
    pub version: u64,
    /// The object's key.
    pub key: Arc<str>,
    /// The object before.
    pub was: Option<Arc<Content>>,
    /// The object after; none when it was removed.
    pub now: Option<Arc<Content>>,
    /// When the recorder saw it.
    pub at: u64,
}

/// The editions of all objects of some folders.
#[derive(Debug, Default)]
pub struct Chronicle {
    folders: BTreeMap<String, Vec<Edition>>,
    keys: BTreeMap<Arc<str>, Vec<Edition>>,
}

/// The folder of a key with namespace and name: `/berth/core/configmaps/` of `/berth/core/configmaps/load/x`.
pub fn folder(key: &str) -> Option<&str> {
    let end = key.match_indices('/').nth(3)?.0;
    Some(&key[..=end])
}

/// The namespace of an object's key; `-` for kinds without.
pub fn namespace(key: &str) -> Option<&str> {
    key[folder(key)?.len()..].split('/').next()
}

impl Chronicle {
    /// Nothing yet, of these folders.
    pub fn of(folders: impl IntoIterator<Item = String>) -> Self {
        let folders: BTreeSet<String> = folders.into_iter().collect();
        Self { folders: folders.into_iter().map(|folder| (folder, Vec::new())).collect(), ..Self::default() }
    }

    /// Takes the next revision in.
    pub fn take(&mut self, seen: &Revision<'_>) {
        if self.folders.is_empty() || !seen.changes.iter().any(|change| self.is_wanted(change.key)) {
            return;
        }
        let mut placed = positions(seen.changes);
        placed.retain(|(_, change)| self.is_wanted(change.key));
        placed.sort_by_key(|(position, _)| *position);
        for (position, change) in placed {
            self.add(version_of(seen.rev, position), change, seen.at);
        }
    }

    fn is_wanted(&self, key: &str) -> bool {
        folder(key).is_some_and(|folder| self.folders.contains_key(folder))
    }

    fn add(&mut self, version: u64, change: &Change<'_>, at: u64) {
        let editions = self.keys.entry(change.key.into()).or_default();
        let was = editions.last().and_then(|last| last.now.clone());
        let now = change.now.map(|object| {
            let tree: Value = serde_json::from_str(&object.stored.json).unwrap_or_default();
            let writer = object.stored.header.writer.clone();
            Arc::new(Content { hash: hash(&tree), tree, version, writer })
        });
        let edition = Edition { version, key: change.key.into(), was, now, at };
        editions.push(edition.clone());
        if let Some(of_folder) = folder(change.key).and_then(|folder| self.folders.get_mut(folder)) {
            of_folder.push(edition);
        }
    }

    /// What happened in a folder, in order.
    pub fn line(&self, folder: &str) -> &[Edition] {
        self.folders.get(folder).map(Vec::as_slice).unwrap_or_default()
    }

    /// The editions of one key, in order.
    pub fn editions(&self, key: &str) -> &[Edition] {
        self.keys.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    /// The write of a key in a version.
    pub fn edition(&self, key: &str, version: u64) -> Option<&Edition> {
        self.editions(key).iter().find(|edition| edition.version == version)
    }

    /// The object of a key as of a revision.
    pub fn object(&self, key: &str, rev: i64) -> Option<&Arc<Content>> {
        let editions = self.editions(key);
        let until = editions.partition_point(|edition| rev_of(edition.version) <= rev);
        editions[..until].last()?.now.as_ref()
    }

    /// The objects of a folder as of a revision, in the order of their keys; in one namespace, or (empty) in all.
    pub fn objects<'c>(
        &'c self,
        folder: &str,
        namespace: &str,
        rev: i64,
    ) -> impl Iterator<Item = (&'c str, &'c Arc<Content>)> {
        let prefix = if namespace.is_empty() { folder.to_string() } else { format!("{folder}{namespace}/") };
        let range = self.keys.range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded));
        let keys: Vec<&str> =
            range.map(|(key, _)| &**key).take_while(|key| key.starts_with(&prefix)).collect();
        keys.into_iter().filter_map(move |key| Some((key, self.object(key, rev)?)))
    }
}

/// The place of each change in its revision: a put's is stored with it, deletes follow the highest put in key order.
fn positions<'c, 'a>(changes: &'c [Change<'a>]) -> Vec<(u64, &'c Change<'a>)> {
    let position = |change: &Change<'_>| change.now.map(|object| u64::from(object.stored.header.position));
    let next = changes.iter().filter_map(position).max().map_or(0, |highest| highest + 1);
    let mut gone: Vec<&Change<'_>> = changes.iter().filter(|change| change.now.is_none()).collect();
    gone.sort_by_key(|change| change.key);
    let puts = changes.iter().filter_map(|change| Some((position(change)?, change)));
    let gone = (next..).zip(gone).map(|(position, change)| (position.min(LAST_POSITION), change));
    puts.chain(gone).collect()
}
