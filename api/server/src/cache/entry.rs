//! One object in the cache: its bytes as served, and what it is looked up by. No tree is kept.

use std::sync::Arc;

use berth_store::{Kv, Rev, Value, WriteId};
use serde_json::Value as Tree;

use crate::encoded::Served;
use crate::room::Charge;
use crate::table::Row;
use crate::tree;
use crate::version::Version;

/// One object.
#[derive(Debug, Hash)]
pub struct Entry {
    /// `<namespace or ->/<name>`: the end of its key in the store.
    pub path: Arc<str>,
    /// Length of the namespace within `path`.
    namespace: usize,
    /// Revision of its last write.
    pub rev: Rev,
    /// Its resourceVersion.
    pub version: Version,
    /// The group that wrote it.
    pub write_id: WriteId,
    /// Its bytes.
    pub served: Served,
    /// Its uid.
    pub uid: Box<str>,
    /// Sorted by name.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// Values of the fields that its kind lets select by, in the order of the row.
    pub fields: Box<[Box<str>]>,
    /// uids of its owners.
    pub owners: Box<[Box<str>]>,
    /// What it takes of a node while it is there; none for what takes nothing.
    pub charge: Option<Box<Charge>>,
}

impl Entry {
    /// What the cache keeps of a stored object; none when it cannot be read as one.
    pub fn read(row: &Row, kv: &Kv) -> Option<Self> {
        let value = Value::parse(kv.value.clone()).ok()?;
        let json = value.json();
        let tree: Tree = serde_json::from_slice(&json).ok()?;
        let path = std::str::from_utf8(kv.key.get(row.folder.len()..)?).ok()?;
        let version = Version::of_write(kv.mod_rev, value.position());
        let fields = row.fields.iter().map(|field| tree::scalar(&tree, field).into()).collect();
        Some(Self {
            path: path.into(),
            namespace: path.find('/')?,
            rev: kv.mod_rev,
            version,
            write_id: value.write_id(),
            served: Served::new(&json, version)?,
            uid: tree::text(&tree, "metadata.uid").into(),
            labels: labels(&tree),
            fields,
            owners: owners(&tree),
            charge: row.hooks.charge(&tree).map(Box::new),
        })
    }

    /// Its namespace; empty for kinds without.
    pub fn namespace(&self) -> &str {
        match &self.path[..self.namespace] {
            "-" => "",
            namespace => namespace,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.path[self.namespace + 1..]
    }

    /// The object as a tree, with its resourceVersion.
    pub fn tree(&self) -> Tree {
        serde_json::from_slice(self.served.json()).expect("was read as JSON before it came here")
    }

    /// Bytes that it keeps in memory, about.
    pub fn weight(&self) -> usize {
        self.served.json().len() + 400
    }
}

fn labels(tree: &Tree) -> Box<[(Box<str>, Box<str>)]> {
    let labels = tree::at(tree, "metadata.labels").and_then(Tree::as_object);
    let mut found: Vec<(Box<str>, Box<str>)> = labels
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.as_str().into(), value.as_str()?.into())))
        .collect();
    found.sort_unstable();
    found.into()
}

fn owners(tree: &Tree) -> Box<[Box<str>]> {
    let owners = tree::at(tree, "metadata.ownerReferences").and_then(Tree::as_array);
    owners.into_iter().flatten().map(|owner| tree::text(owner, "uid").into()).collect()
}
