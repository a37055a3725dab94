//! Reading and changing objects as JSON trees.

use berth_types::Timestamp;
use serde_json::{Map, Value};

/// The value at a path of field names separated by dots.
pub fn at<'a>(tree: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(tree, |node, field| node.get(field))
}

/// The text at a path; empty when there is none.
pub fn text<'a>(tree: &'a Value, path: &str) -> &'a str {
    at(tree, path).and_then(Value::as_str).unwrap_or("")
}

/// A scalar at a path as text, as field selectors compare it; empty when there is none.
pub fn scalar(tree: &Value, path: &str) -> String {
    match at(tree, path) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(truth)) => truth.to_string(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => String::new(),
    }
}

/// The fields of an object's metadata, made when it has none.
pub fn metadata(tree: &mut Value) -> &mut Map<String, Value> {
    let fields = fields(tree).entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    self::fields(fields)
}

/// The fields of a tree, which becomes an object when it is none.
pub fn fields(tree: &mut Value) -> &mut Map<String, Value> {
    if !tree.is_object() {
        *tree = Value::Object(Map::new());
    }
    tree.as_object_mut().expect("made an object above")
}

/// Sets `field` of `fields` to `value`, or takes it out when there is none.
pub fn set(fields: &mut Map<String, Value>, field: &str, value: Option<Value>) {
    match value {
        Some(value) => fields.insert(field.into(), value),
        None => fields.remove(field),
    };
}

/// The texts of a list at a path.
pub fn texts<'a>(tree: &'a Value, path: &str) -> impl Iterator<Item = &'a str> {
    at(tree, path).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Whether deletion was asked for.
pub fn is_deleting(tree: &Value) -> bool {
    at(tree, "metadata.deletionTimestamp").is_some()
}

/// Whether somebody must still agree before the object goes.
pub fn has_finalizers(tree: &Value) -> bool {
    texts(tree, "metadata.finalizers").next().is_some()
}

/// Whether `finalizer` is among the object's finalizers.
pub fn has_finalizer(tree: &Value, finalizer: &str) -> bool {
    texts(tree, "metadata.finalizers").any(|present| present == finalizer)
}

/// Puts a finalizer on, once.
pub fn add_finalizer(tree: &mut Value, finalizer: &str) {
    if has_finalizer(tree, finalizer) {
        return;
    }
    let list = metadata(tree).entry("finalizers").or_insert_with(|| Value::Array(Vec::new()));
    match list {
        Value::Array(list) => list.push(finalizer.into()),
        _ => *list = Value::Array(vec![finalizer.into()]),
    }
}

/// Takes a finalizer off.
pub fn remove_finalizer(tree: &mut Value, finalizer: &str) {
    let meta = metadata(tree);
    let Some(list) = meta.get_mut("finalizers").and_then(Value::as_array_mut) else { return };
    list.retain(|present| present.as_str() != Some(finalizer));
    if list.is_empty() {
        meta.remove("finalizers");
    }
}

/// Sets condition `type_` in `status.conditions`; the time of the last transition stays while its status does.
pub fn set_condition(
    tree: &mut Value,
    type_: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let state = fields(fields(tree).entry("status").or_insert_with(|| Value::Object(Map::new())));
    let list = state.entry("conditions").or_insert_with(|| Value::Array(Vec::new()));
    if !list.is_array() {
        *list = Value::Array(Vec::new());
    }
    let list = list.as_array_mut().expect("made a list above");
    let mut condition = serde_json::json!({
        "type": type_, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": now.to_string(),
    });
    let Some(old) = list.iter_mut().find(|old| old["type"] == type_) else {
        list.push(condition);
        return;
    };
    if old["status"] == status {
        condition["lastTransitionTime"] = old["lastTransitionTime"].clone();
    }
    *old = condition;
}

/// How deep objects and lists lie in each other.
pub fn depth(tree: &Value) -> usize {
    match tree {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}
