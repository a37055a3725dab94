//! Objects seen through the list types of their shape: which fields a tree has, which of them differ between two
//! trees, one tree merged into another, and fields taken out of a tree.

use std::collections::{BTreeMap, BTreeSet};

use berth_types::shape::{ListType, Shape};
use serde_json::{Map, Value};

use super::fields::{FieldSet, Place, Step};

/// What a value is for ownership.
enum View<'a> {
    /// One value, owned as a whole.
    Whole,
    /// Fields or entries, owned each by itself.
    Entries(&'a Map<String, Value>, Owned),
    /// Items of a list, owned each by itself.
    Items(Vec<(Step, &'a Value)>, &'a Shape),
}

/// Whether the name of an entry is owned beside what is in it.
#[derive(Clone, Copy, PartialEq)]
enum Owned {
    /// A field that the kind has: no.
    Content,
    /// An entry whose name the user chose: yes.
    NameToo,
}

fn view<'a>(shape: &'a Shape, value: &'a Value) -> View<'a> {
    match (shape, value) {
        (Shape::Object(_), Value::Object(entries)) => View::Entries(entries, Owned::Content),
        (Shape::Map(_), Value::Object(entries)) => View::Entries(entries, Owned::NameToo),
        (Shape::List(inner, list_type), Value::Array(items)) => match steps(list_type, items) {
            Some(steps) => View::Items(steps.into_iter().zip(items).collect(), inner),
            None => View::Whole,
        },
        _ => View::Whole,
    }
}

/// The step to each item; none for a list that is one value, or whose items cannot be told apart.
fn steps(list_type: &ListType, items: &[Value]) -> Option<Vec<Step>> {
    let steps: Option<Vec<Step>> = match list_type {
        ListType::Atomic => None,
        ListType::Set => Some(items.iter().map(Step::value).collect()),
        ListType::Keyed(names) => items.iter().map(|item| key_step(names, item)).collect(),
    };
    let steps = steps?;
    let distinct: BTreeSet<&Step> = steps.iter().collect();
    (distinct.len() == steps.len()).then_some(steps)
}

fn key_step(names: &[String], item: &Value) -> Option<Step> {
    let pair = |name: &String| Some((name.clone(), item.get(name)?.clone()));
    names.iter().map(pair).collect::<Option<Map<_, _>>>().map(Step::key)
}

/// The shape of the field or entry `name`; what the shape does not know is one value.
fn inner<'a>(shape: &'a Shape, name: &str) -> &'a Shape {
    shape.field(name).unwrap_or(&Shape::Any)
}

/// The fields that an object (or a part of it) has; the object itself is none.
pub fn fields_of(shape: &Shape, value: &Value) -> FieldSet {
    fields_in(shape, value).of_object()
}

fn fields_in(shape: &Shape, value: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    match view(shape, value) {
        View::Whole => return FieldSet::leaf(),
        View::Entries(entries, owned) => {
            for (name, entry) in entries {
                let mut below = fields_in(inner(shape, name), entry);
                below.member |= owned == Owned::NameToo;
                set.put(Step::field(name), below);
            }
        }
        View::Items(items, item_shape) => {
            for (step, item) in items {
                let mut below = fields_in(item_shape, item);
                below.member = true;
                set.put(step, below);
            }
        }
    }
    // An empty map or list has no field that could be owned, so it is owned itself.
    set.member = set.is_empty();
    set
}

/// The fields of the object `new` that `old` does not have, or has with another value. The order of items is nobody's.
pub fn changed(shape: &Shape, old: &Value, new: &Value) -> FieldSet {
    changed_in(shape, Some(old), new).of_object()
}

fn changed_in(shape: &Shape, old: Option<&Value>, new: &Value) -> FieldSet {
    let Some(old) = old else { return fields_in(shape, new) };
    if old == new {
        return FieldSet::default();
    }
    let mut set = FieldSet::default();
    match (view(shape, old), view(shape, new)) {
        (View::Entries(before, _), View::Entries(after, owned)) => {
            for (name, entry) in after {
                let was = before.get(name);
                let mut below = changed_in(inner(shape, name), was, entry);
                below.member |= owned == Owned::NameToo && was.is_none();
                set.put(Step::field(name), below);
            }
        }
        (View::Items(before, _), View::Items(after, item_shape)) => {
            let before: BTreeMap<Step, &Value> = before.into_iter().collect();
            for (step, item) in after {
                let was = before.get(&step).copied();
                let mut below = changed_in(item_shape, was, item);
                below.member |= was.is_none();
                set.put(step, below);
            }
        }
        _ => return fields_in(shape, new),
    }
    set
}

/// The fields of the object `old` that `new` does not have any more, with the maps and lists that are gone: somebody may
/// own one of those as an empty one. One that was empty and is not any more is still there.
pub fn removed(shape: &Shape, old: &Value, new: &Value) -> FieldSet {
    fields_of(shape, old).closed().minus(&fields_of(shape, new).closed()).of_object()
}

/// The value at `place` in `value`.
pub fn value_at<'a>(shape: &'a Shape, value: &'a Value, place: &Place) -> Option<&'a Value> {
    let (mut shape, mut value) = (shape, value);
    for step in &place.0 {
        (shape, value) = match view(shape, value) {
            View::Whole => return None,
            View::Entries(entries, _) => {
                let name = step.name()?;
                (inner(shape, name), entries.get(name)?)
            }
            View::Items(items, item_shape) => {
                (item_shape, items.into_iter().find(|(found, _)| found == step)?.1)
            }
        };
    }
    Some(value)
}

/// `config` merged into the object `live`: what `config` has wins, what it does not have stays.
pub fn merged(shape: &Shape, live: &Value, config: &Value) -> Value {
    merged_in(shape, Some(live), config)
}

fn merged_in(shape: &Shape, live: Option<&Value>, config: &Value) -> Value {
    let Some(live) = live else { return config.clone() };
    match (view(shape, live), view(shape, config)) {
        (View::Entries(have, _), View::Entries(want, _)) => {
            let mut all = have.clone();
            for (name, entry) in want {
                all.insert(name.clone(), merged_in(inner(shape, name), have.get(name), entry));
            }
            Value::Object(all)
        }
        (View::Items(have, item_shape), View::Items(want, _)) => {
            let order = woven(&have, &want);
            let have: BTreeMap<Step, &Value> = have.into_iter().collect();
            let want: BTreeMap<Step, &Value> = want.into_iter().collect();
            let item = |step: Step| match (have.get(&step), want.get(&step)) {
                (have, Some(want)) => Some(merged_in(item_shape, have.copied(), want)),
                (have, None) => have.map(|have| (*have).clone()),
            };
            order.into_iter().filter_map(item).collect()
        }
        _ => config.clone(),
    }
}

/// The items of both lists: those of `want` in its order, each other item behind the one it was behind. So an apply
/// moves nothing that is in order already, however many managers share the list.
fn woven(have: &[(Step, &Value)], want: &[(Step, &Value)]) -> Vec<Step> {
    let wanted: BTreeSet<&Step> = want.iter().map(|(step, _)| step).collect();
    let mut followers: BTreeMap<Option<&Step>, Vec<&Step>> = BTreeMap::new();
    let mut leader = None;
    for (step, _) in have {
        if wanted.contains(step) {
            leader = Some(step);
        } else {
            followers.entry(leader).or_default().push(step);
        }
    }
    let leaders = std::iter::once(None).chain(want.iter().map(|(step, _)| Some(step)));
    let mut order = Vec::new();
    for leader in leaders {
        order.extend(leader.cloned());
        order.extend(followers.remove(&leader).unwrap_or_default().into_iter().cloned());
    }
    order
}

/// The object `value` without the fields in `gone`. A map or list that this empties goes too, unless it is in `kept`.
pub fn without(shape: &Shape, value: &Value, gone: &FieldSet, kept: &FieldSet) -> Value {
    without_in(shape, value, gone, kept).unwrap_or_else(|| Value::Object(Map::new()))
}

fn without_in(shape: &Shape, value: &Value, gone: &FieldSet, kept: &FieldSet) -> Option<Value> {
    if gone.member {
        return None;
    }
    let nothing = FieldSet::default();
    let rest = match view(shape, value) {
        View::Whole => return Some(value.clone()),
        View::Entries(entries, owned) => {
            let mut left = Map::new();
            for (name, entry) in entries {
                let (step, shape) = (Step::field(name), inner(shape, name));
                let stays = match gone.at(&step) {
                    None => Some(entry.clone()),
                    Some(gone) => {
                        let gone = if owned == Owned::Content {
                            emptiness(shape, entry, gone)
                        } else {
                            gone.clone()
                        };
                        without_in(shape, entry, &gone, kept.at(&step).unwrap_or(&nothing))
                    }
                };
                left.extend(stays.map(|entry| (name.clone(), entry)));
            }
            Value::Object(left)
        }
        View::Items(items, item_shape) => items
            .into_iter()
            .filter_map(|(step, item)| match gone.at(&step) {
                None => Some(item.clone()),
                Some(gone) => without_in(item_shape, item, gone, kept.at(&step).unwrap_or(&nothing)),
            })
            .collect(),
    };
    let emptied = rest == Value::Object(Map::new()) || rest == Value::Array(Vec::new());
    let drop = emptied && rest != *value && !kept.member;
    (!drop).then_some(rest)
}

/// What goes of the field `value`. Who owned a map or list as an empty one owns nothing of what is in it now.
fn emptiness(shape: &Shape, value: &Value, gone: &FieldSet) -> FieldSet {
    let filled = match view(shape, value) {
        View::Whole => false,
        View::Entries(entries, _) => !entries.is_empty(),
        View::Items(items, _) => !items.is_empty(),
    };
    if filled { gone.clone().of_object() } else { gone.clone() }
}

/// `value` without entries that are null, at any depth: to an apply they are absent.
pub fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(entries) => {
            let there = entries.iter().filter(|(_, entry)| !entry.is_null());
            Value::Object(there.map(|(name, entry)| (name.clone(), without_nulls(entry))).collect())
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}
