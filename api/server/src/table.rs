//! The table of kinds: everything that the handlers know of a kind. They name none; what one kind alone needs
//! is a hook in its row.

use std::collections::HashMap;

use berth_proto::v1 as wire;
use berth_types::Resource;
use berth_types::app::App;
use berth_types::core::{Event, Namespace};
use berth_types::kinds::Kind;
use berth_types::lease::Lease;
use berth_types::node::Node;
use berth_types::revision::Revision;
use berth_types::status::{Reason, Status};
use berth_types::task::Task;

use crate::hooks::{AppHooks, Hooks, LeaseHooks, NamespaceHooks, NodeHooks, Plain, TaskHooks};
use crate::keys;
use crate::refuse::Answer;

/// Index of a row in the table.
pub type KindId = usize;

/// Everything that the handlers know of one kind.
pub struct Row {
    /// Names, schema and rules.
    pub kind: &'static Kind,
    /// Start of the keys of its objects.
    pub folder: String,
    /// Fields, beside name and namespace, that one can select by.
    pub fields: &'static [&'static str],
    /// The one of `fields`, by its place, that many watchers select by at once: each event goes only to those it concerns.
    pub hot_field: Option<usize>,
    /// What this kind alone needs.
    pub hooks: Box<dyn Hooks>,
}

impl Row {
    /// The row of a built-in kind.
    pub fn of<K: Resource>(fields: &'static [&'static str], hooks: impl Hooks + 'static) -> Self {
        let kind = Kind::of::<K>();
        let folder = keys::folder(kind.group(), kind.plural);
        Self { kind, folder, fields, hot_field: None, hooks: Box::new(hooks) }
    }

    /// The same row, where many watch one value of the field at `place` of its fields.
    pub fn hot(self, place: usize) -> Self {
        Self { hot_field: Some(place), ..self }
    }

    /// The word in messages, as `App`.
    pub fn name(&self) -> &'static str {
        self.kind.kind
    }

    /// The key of an object.
    pub fn key(&self, path: &str) -> bytes::Bytes {
        format!("{}{path}", self.folder).into()
    }

    /// `<namespace or ->/<name>`.
    pub fn path(&self, namespace: &str, name: &str) -> String {
        if self.kind.namespaced { format!("{namespace}/{name}") } else { format!("-/{name}") }
    }
}

/// Every built-in kind.
fn builtin() -> Vec<Row> {
    const EVENT_FIELDS: &[&str] = &[
        "involvedObject.name",
        "involvedObject.namespace",
        "involvedObject.kind",
        "involvedObject.uid",
        "reason",
        "type",
    ];
    vec![
        Row::of::<App>(&[], AppHooks),
        Row::of::<Revision>(&[], Plain),
        Row::of::<Task>(&["spec.nodeName", "spec.nodeUid", "spec.revision", "status.phase"], TaskHooks)
            .hot(0),
        Row::of::<Node>(&["spec.unschedulable"], NodeHooks),
        Row::of::<Namespace>(&["status.phase"], NamespaceHooks),
        Row::of::<Event>(EVENT_FIELDS, Plain),
        Row::of::<Lease>(&["spec.holderIdentity"], LeaseHooks),
    ]
}

/// All kinds.
pub struct Table {
    rows: Vec<Row>,
    by_name: HashMap<(&'static str, &'static str), KindId>,
    by_folder: HashMap<String, KindId>,
}

impl Table {
    /// A table of these rows.
    pub fn new(rows: Vec<Row>) -> Self {
        let each = || rows.iter().enumerate();
        let by_name = each().map(|(id, row)| ((row.kind.api_version, row.kind.kind), id)).collect();
        let by_folder = each().map(|(id, row)| (row.folder.clone(), id)).collect();
        Self { by_name, by_folder, rows }
    }

    /// The built-in kinds.
    pub fn builtin() -> Self {
        Self::new(builtin())
    }

    /// The kind whose objects are the scopes of the others.
    pub fn namespaces(&self) -> KindId {
        self.of::<Namespace>()
    }

    /// The row of a Rust type.
    pub fn of<K: Resource>(&self) -> KindId {
        self.find(K::API_VERSION, K::KIND).expect("every Resource has a row")
    }

    /// The row of a kind.
    pub fn row(&self, id: KindId) -> &Row {
        &self.rows[id]
    }

    /// All rows.
    pub fn rows(&self) -> impl Iterator<Item = (KindId, &Row)> {
        self.rows.iter().enumerate()
    }

    /// The kind of that name.
    pub fn find(&self, api_version: &str, kind: &str) -> Option<KindId> {
        self.by_name.get(&(api_version, kind)).copied()
    }

    /// The kind that a request names.
    pub fn named(&self, kind: Option<&wire::Kind>) -> Answer<KindId> {
        let kind = kind.cloned().unwrap_or_default();
        self.find(&kind.api_version, &kind.kind).ok_or_else(|| {
            let message = format!(
                "there is no kind `{}` in `{}`; kinds: {}",
                kind.kind,
                kind.api_version,
                self.rows.iter().map(|row| row.name()).collect::<Vec<_>>().join(", ")
            );
            Box::new(Status::new(Reason::NotFound, message).about(&kind.kind, ""))
        })
    }

    /// The kind whose objects lie at a key, with the rest of the key.
    pub fn of_key<'k>(&self, key: &'k [u8]) -> Option<(KindId, &'k str)> {
        let place = keys::place(key)?;
        let id = *self.by_folder.get(place.folder)?;
        std::str::from_utf8(&key[place.folder.len()..]).ok().map(|path| (id, path))
    }
}
