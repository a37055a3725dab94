//! The entries of `metadata.managedFields`: which manager owns which fields.

use berth_types::Timestamp;
use serde_json::{Map, Value, json};

use super::Part;
use super::fields::FieldSet;

/// Owns, from an object's first Apply on, what was there before.
pub const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// Owns what the oldest updates wrote when there are too many.
const ANCIENT: &str = "ancient-changes";
/// The most entries of updates.
const UPDATES: usize = 10;

/// How a manager came to own its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// It applied them, and loses those it no longer applies.
    Apply,
    /// It wrote them otherwise.
    Update,
}

/// The fields of one manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub manager: String,
    pub operation: Operation,
    pub subresource: String,
    pub api_version: String,
    pub fields: FieldSet,
    /// As written; it is never computed with.
    pub time: String,
}

impl Entry {
    /// An entry without fields, not written yet.
    pub fn new(manager: &str, operation: Operation, part: Part, api_version: &str) -> Self {
        Self {
            manager: manager.into(),
            operation,
            subresource: part.subresource().into(),
            api_version: api_version.into(),
            fields: FieldSet::default(),
            time: String::new(),
        }
    }

    /// Whether both are the entry of the same writer.
    pub fn same_writer(&self, other: &Entry) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.subresource == other.subresource
    }

    fn read(tree: &Value) -> Self {
        let text = |field: &str| tree[field].as_str().unwrap_or_default().to_string();
        let operation = if tree["operation"] == "Apply" { Operation::Apply } else { Operation::Update };
        Self {
            manager: text("manager"),
            operation,
            subresource: text("subresource"),
            api_version: text("apiVersion"),
            fields: FieldSet::of_fields_v1(&tree["fieldsV1"]),
            time: text("time"),
        }
    }

    fn write(&self) -> Value {
        let operation = match self.operation {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        };
        let mut tree = json!({
            "manager": self.manager,
            "operation": operation,
            "apiVersion": self.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.fields.to_fields_v1(),
        });
        for (field, text) in [("subresource", &self.subresource), ("time", &self.time)] {
            if !text.is_empty() {
                tree[field] = json!(text);
            }
        }
        tree
    }
}

/// The entries of an object; none when its managers are not tracked.
pub fn read(object: &Value) -> Vec<Entry> {
    object["metadata"]["managedFields"].as_array().into_iter().flatten().map(Entry::read).collect()
}

/// `after` with the very entries that `before` has.
pub fn copied(before: &Value, mut after: Value) -> Value {
    let entries = before["metadata"].get("managedFields");
    if let Some(metadata) = after.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        metadata.extend(entries.map(|entries| ("managedFields".to_string(), entries.clone())));
    }
    after
}

/// Whether both say the same, whatever the order.
pub fn same(some: &[Entry], others: &[Entry]) -> bool {
    some.len() == others.len() && some.iter().all(|entry| others.contains(entry))
}

/// `object` with these entries in Kubernetes' order: applies by manager, then updates by time.
pub fn write(object: &mut Value, mut entries: Vec<Entry>) {
    entries.sort_by(|a, b| order(a).cmp(&order(b)));
    let Some(metadata) = object.as_object_mut().map(|object| object.entry("metadata")) else { return };
    let metadata = metadata.or_insert_with(|| Value::Object(Map::new()));
    let Some(metadata) = metadata.as_object_mut() else { return };
    if entries.is_empty() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".into(), entries.iter().map(Entry::write).collect());
    }
}

fn order(entry: &Entry) -> (Operation, &str, &str, &str) {
    let time = if entry.operation == Operation::Update { entry.time.as_str() } else { "" };
    (entry.operation, time, &entry.manager, &entry.subresource)
}

/// The entry of the same writer as `like`, taken out of `entries`.
pub fn take(entries: &mut Vec<Entry>, like: &Entry) -> Option<Entry> {
    entries.iter().position(|entry| entry.same_writer(like)).map(|index| entries.remove(index))
}

/// Takes `fields` from every entry. An update that owns nothing any more is forgotten.
pub fn disown(entries: &mut Vec<Entry>, fields: &FieldSet) {
    for entry in entries.iter_mut() {
        entry.fields = entry.fields.minus(fields);
    }
    entries.retain(|entry| entry.operation == Operation::Apply || !entry.fields.is_empty());
}

/// Folds the oldest updates into one when there are too many, as Kubernetes does.
pub fn bound(entries: &mut Vec<Entry>) {
    let updates = entries.iter().filter(|entry| entry.operation == Operation::Update).count();
    let Some(surplus) = updates.checked_sub(UPDATES).filter(|surplus| *surplus > 0) else { return };
    entries.sort_by(|a, b| order(a).cmp(&order(b)));
    let first = entries.len() - updates;
    let oldest: Vec<Entry> = entries.drain(first..=first + surplus).collect();
    for old in oldest {
        let folded = Entry { manager: ANCIENT.into(), fields: FieldSet::default(), ..old.clone() };
        let mut folded = take(entries, &folded).unwrap_or(folded);
        folded.time = folded.time.max(old.time);
        folded.fields = folded.fields.union(old.fields);
        entries.push(folded);
    }
}

/// A time as entries carry it.
pub fn stamp(now: Timestamp) -> String {
    now.whole_seconds().to_string()
}
