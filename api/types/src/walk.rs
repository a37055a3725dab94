//! Compares an object with the shape of its kind and finds every fault at once: unknown fields, wrong types, words
//! that are no choice, amounts and times that do not read, missing keys, doubles, and sizes beyond reason.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::fault::{Faults, Rule};
use crate::path::At;
use crate::scalar::{self, shown};
use crate::shape::{Fields, ListType, Scalar, Shape};
use crate::spelling;

/// The deepest nesting of an object.
pub const DEPTH: usize = 64;
/// The most entries of one map.
pub const MAP_ENTRIES: usize = 1000;
/// The most items of one list.
pub const LIST_ITEMS: usize = 10_000;
/// The most bytes of one text.
pub const TEXT_BYTES: usize = 256 << 10;

/// How much of an object a tree holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// What one manager applies: fields that must be there may be somebody else's.
    Part,
}

/// The text of the unquoted scalar at a path of a manifest; `None` where there is none.
pub type AsTyped<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Adds every fault of `tree` against `shape`.
pub fn walk(shape: &Shape, tree: &Value, extent: Extent, faults: &mut Faults) {
    walk_typed(shape, tree, extent, &|_| None, faults);
}

/// Adds every fault of `tree` against `shape`, and shows scalars as they were typed.
pub fn walk_typed(shape: &Shape, tree: &Value, extent: Extent, typed: AsTyped<'_>, faults: &mut Faults) {
    Walk { root: shape, extent, typed, faults }.place(shape, tree, &At::ROOT, 0);
}

struct Walk<'a> {
    root: &'a Shape,
    extent: Extent,
    typed: AsTyped<'a>,
    faults: &'a mut Faults,
}

impl Walk<'_> {
    fn place(&mut self, shape: &Shape, value: &Value, at: &At, depth: usize) {
        if depth > DEPTH {
            return self.faults.add(at, Rule::Invalid, format!("must not be nested deeper than {DEPTH}"));
        }
        self.size(shape, value, at);
        match (shape, value) {
            (Shape::Scalar(scalar), value) => {
                let typed = || (self.typed)(&at.to_string());
                if let Err((rule, message)) = scalar::judge(scalar, value, &typed) {
                    self.faults.add(at, rule, message);
                }
            }
            (_, Value::Null) => self.faults.add(at, Rule::Type, scalar::NO_VALUE),
            (Shape::Any, value) => self.anything(value, at, depth),
            (Shape::Object(fields), Value::Object(entries)) => self.object(fields, entries, at, depth),
            (Shape::Map(inner), Value::Object(entries)) => {
                for (key, entry) in entries {
                    self.place(inner, entry, &at.entry(key), depth + 1);
                }
            }
            (Shape::List(inner, list_type), Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    self.place(inner, item, &at.item(index), depth + 1);
                }
                self.told_apart(list_type, items, at);
            }
            (Shape::Object(_) | Shape::Map(_), other) => {
                let message = format!("must be a map of `name: value` lines, got {}", shown(other));
                self.faults.add(at, Rule::Type, message);
            }
            (Shape::List(..), other) => {
                let message = format!("must be a list (each item begins with `- `), got {}", shown(other));
                self.faults.add(at, Rule::Type, message);
            }
        }
    }

    fn object(&mut self, fields: &Fields, entries: &serde_json::Map<String, Value>, at: &At, depth: usize) {
        for (name, value) in entries {
            let here = at.field(name);
            match fields.known.get(name) {
                Some(_) if value.is_null() && name == "creationTimestamp" => {}
                Some(shape) => self.place(shape, value, &here, depth + 1),
                None => {
                    let root = self.root;
                    self.faults.add_with(&here, Rule::Unknown, || unknown(root, fields, name));
                }
            }
        }
        if self.extent == Extent::Part {
            return;
        }
        for name in fields.required.iter().filter(|name| !entries.contains_key(*name)) {
            self.faults.add(&at.field(name), Rule::Required, "is needed");
        }
    }

    /// Under `Any` only sizes are looked at.
    fn anything(&mut self, value: &Value, at: &At, depth: usize) {
        match value {
            Value::Object(entries) => {
                for (key, entry) in entries.iter().filter(|(_, entry)| !entry.is_null()) {
                    self.place(&Shape::Any, entry, &at.entry(key), depth + 1);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate().filter(|(_, item)| !item.is_null()) {
                    self.place(&Shape::Any, item, &at.item(index), depth + 1);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn size(&mut self, shape: &Shape, value: &Value, at: &At) {
        let (length, most, unit) = match value {
            // A set of fields has an entry for each item of the longest list.
            Value::Object(entries) if *shape == Shape::Any => (entries.len(), LIST_ITEMS, "entries"),
            Value::Object(entries) => (entries.len(), MAP_ENTRIES, "entries"),
            Value::Array(items) => (items.len(), LIST_ITEMS, "items"),
            Value::String(text) => (text.len(), TEXT_BYTES, "bytes"),
            Value::Null | Value::Bool(_) | Value::Number(_) => return,
        };
        if length > most {
            self.faults.add(at, Rule::Invalid, format!("must have at most {most} {unit}, got {length}"));
        }
    }

    /// Finds doubles in a set, and missing or double keys in a keyed list.
    fn told_apart(&mut self, list_type: &ListType, items: &[Value], at: &At) {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for (index, item) in items.iter().enumerate() {
            let here = at.item(index);
            let (key, at_key) = match list_type {
                ListType::Atomic => return,
                ListType::Set => (item.to_string(), here),
                ListType::Keyed(names) => {
                    let Some(key) = self.key(names, item, &here) else { continue };
                    (key, here.field(&names[0]))
                }
            };
            if let Some(first) = seen.get(&key) {
                let first = at.item(*first).to_string();
                self.faults.add(&at_key, Rule::Duplicate, format!("is already used by `{first}`"));
                continue;
            }
            seen.insert(key, index);
        }
    }

    fn key(&mut self, names: &[String], item: &Value, at: &At) -> Option<String> {
        let entries = item.as_object()?;
        let mut key = String::new();
        for name in names {
            match entries.get(name) {
                Some(value) => key.push_str(&format!("{value},")),
                None => {
                    let message = format!("is required: {name} is the key of this list");
                    self.faults.add(&at.field(name), Rule::Required, message);
                    return None;
                }
            }
        }
        Some(key)
    }
}

/// What to say of the field `name` that `fields`, somewhere in `root`, does not have.
fn unknown(root: &Shape, fields: &Fields, name: &str) -> String {
    let known = || fields.known.keys().map(String::as_str);
    if let Some(same) = known().find(|known| known.eq_ignore_ascii_case(name)) {
        return format!("unknown field `{name}`, did you mean `{same}`?");
    }
    if let Some(place) = place_of(root, name) {
        return format!("unknown field `{name}` here, it belongs in `{place}`");
    }
    if fields.known.is_empty() {
        return format!("unknown field `{name}`; no fields are allowed here");
    }
    let hint = spelling::hint(name, known());
    if hint.is_empty() && fields.known.len() <= 12 {
        return format!("unknown field `{name}`, known here: {}", known().collect::<Vec<_>>().join(", "));
    }
    format!("unknown field `{name}`{hint}")
}

/// The shallowest place under `spec` whose object has a field `name`, as `spec.template.spec.containers[]`.
fn place_of(root: &Shape, name: &str) -> Option<String> {
    let mut level = vec![("spec".to_string(), root.field("spec")?)];
    while !level.is_empty() {
        let mut below = Vec::new();
        for (path, shape) in level {
            match shape {
                Shape::Object(fields) if fields.known.contains_key(name) => return Some(path),
                Shape::Object(fields) => {
                    below
                        .extend(fields.known.iter().map(|(field, shape)| (format!("{path}.{field}"), shape)));
                }
                Shape::List(inner, _) => below.push((format!("{path}[]"), inner)),
                Shape::Any | Shape::Scalar(_) | Shape::Map(_) => {}
            }
        }
        level = below;
    }
    None
}

/// A copy of `tree` without what does not fit `shape`, so that it reads as the kind's type.
pub fn fitting(shape: &Shape, tree: &Value) -> Value {
    match (shape, tree) {
        (Shape::Any, value) => value.clone(),
        (Shape::Scalar(scalar), value) if fits(scalar, value) => value.clone(),
        (Shape::Scalar(scalar), _) => scalar::neutral(scalar),
        (Shape::Map(inner), value) => {
            // A stand-in among entries that fit would be compared with them: what a limit of 0 says is no fault.
            let good = |entry: &Value| match &**inner {
                Shape::Scalar(scalar) => fits(scalar, entry),
                Shape::Any | Shape::Object(_) | Shape::Map(_) | Shape::List(..) => true,
            };
            let entries = value.as_object().into_iter().flatten().filter(|(_, entry)| good(entry));
            Value::Object(entries.map(|(key, entry)| (key.clone(), fitting(inner, entry))).collect())
        }
        (Shape::List(inner, _), value) => {
            value.as_array().into_iter().flatten().map(|item| fitting(inner, item)).collect()
        }
        (Shape::Object(fields), value) => {
            let mut out = serde_json::Map::new();
            for (name, shape) in &fields.known {
                match value.get(name) {
                    Some(value) if !value.is_null() => out.insert(name.clone(), fitting(shape, value)),
                    _ if fields.required.contains(name) => {
                        out.insert(name.clone(), fitting(shape, &Value::Null))
                    }
                    _ => None,
                };
            }
            Value::Object(out)
        }
    }
}

fn fits(scalar: &Scalar, value: &Value) -> bool {
    scalar::judge(scalar, value, &|| None).is_ok()
}

/// `tree` with each amount that is a number replaced by the text that was typed: `1e9` is judged by that, not by its
/// value.
pub fn with_amounts_as_typed(shape: &Shape, tree: &Value, typed: AsTyped<'_>) -> Value {
    let mut tree = tree.clone();
    retype(shape, &mut tree, typed, &At::ROOT);
    tree
}

fn retype(shape: &Shape, value: &mut Value, typed: AsTyped<'_>, at: &At) {
    match (shape, value) {
        (Shape::Scalar(Scalar::Quantity), value @ Value::Number(_)) => {
            if let Some(text) = typed(&at.to_string()) {
                *value = text.into();
            }
        }
        (Shape::Object(fields), Value::Object(entries)) => {
            for (name, entry) in entries {
                if let Some(shape) = fields.known.get(name) {
                    retype(shape, entry, typed, &at.field(name));
                }
            }
        }
        (Shape::Map(inner), Value::Object(entries)) => {
            entries.iter_mut().for_each(|(key, entry)| retype(inner, entry, typed, &at.entry(key)));
        }
        (Shape::List(inner, _), Value::Array(items)) => {
            for (index, item) in items.iter_mut().enumerate() {
                retype(inner, item, typed, &at.item(index));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
