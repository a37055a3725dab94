//! What every kind's metadata keeps.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::fault::{Faults, Rule};
use crate::meta::{ObjectMeta, OwnerReference};
use crate::name;
use crate::path::At;
use crate::resource::Resource;

use super::{Rules, at_most};

/// The most labels of one object.
const LABELS: usize = 64;
/// The most bytes of all annotations of one object, keys included.
const ANNOTATION_BYTES: usize = 256 << 10;
/// The most bytes of each word that names an owner: no name, kind or uid is longer,
const OWNER_WORD: usize = 253;
/// and no `apiVersion`, a group and a version.
const OWNER_API_VERSION: usize = OWNER_WORD + 1 + 63;
/// The most finalizers or owners of one object.
const REFERENCES: usize = 64;

/// `apiVersion` and `kind` are those of `K`.
pub(super) fn kind_words<K: Resource>(tree: &Value, faults: &mut Faults) {
    for (field, expected) in [("apiVersion", K::API_VERSION), ("kind", K::KIND)] {
        match tree[field].as_str() {
            Some(word) if word == expected => {}
            None | Some("") => faults.add(
                &At::ROOT.field(field),
                Rule::Required,
                format!("is needed, as `{field}: {expected}`"),
            ),
            Some(word) => faults.add(
                &At::ROOT.field(field),
                Rule::Invalid,
                format!("must be `{expected}`, got `{word}`"),
            ),
        }
    }
}

/// Metadata of an object of `K`.
pub(super) fn check<K: Resource + Rules>(meta: &ObjectMeta, faults: &mut Faults) {
    let at = At::ROOT.field("metadata");
    match meta.name.as_str() {
        "" => faults.add(&at.field("name"), Rule::Required, "is needed"),
        name => faults.text(&at.field("name"), name, K::name),
    }
    if !K::NAMESPACED && !meta.namespace.is_empty() {
        let message = format!("a {} belongs to no namespace: take the line out", K::KIND);
        faults.add(&at.field("namespace"), Rule::Forbidden, message);
    } else if !meta.namespace.is_empty() {
        faults.text(&at.field("namespace"), &meta.namespace, name::dns_label);
    }
    labels(&meta.labels, &at.field("labels"), faults);
    annotations(&meta.annotations, &at.field("annotations"), faults);
    finalizers(&meta.finalizers, &at.field("finalizers"), faults);
    owners(&meta.owner_references, &at.field("ownerReferences"), faults);
}

/// Labels: at most 64, keys qualified names, values short words.
pub(super) fn labels(labels: &BTreeMap<String, String>, at: &At, faults: &mut Faults) {
    let remedy = |fault| format!("{fault}; an annotation may hold anything");
    pairs(labels, at, faults, |value| name::label_value(value).map_err(remedy));
}

/// Labels that somebody else is to have.
pub(super) fn wanted_labels(labels: &BTreeMap<String, String>, at: &At, faults: &mut Faults) {
    pairs(labels, at, faults, name::label_value);
}

fn pairs(
    labels: &BTreeMap<String, String>,
    at: &At,
    faults: &mut Faults,
    value_rule: impl Fn(&str) -> Result<(), String>,
) {
    at_most(faults, at, labels.len(), LABELS);
    for (key, value) in labels {
        let here = at.entry(key);
        faults.text(&here, key, |key| name::qualified(key).map_err(|fault| format!("the key {fault}")));
        faults.text(&here, value, &value_rule);
    }
}

/// Annotations: keys qualified names, 256 KiB together.
pub(super) fn annotations(annotations: &BTreeMap<String, String>, at: &At, faults: &mut Faults) {
    let bytes: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > ANNOTATION_BYTES {
        let message = format!("must be at most {ANNOTATION_BYTES} bytes together, got {bytes}");
        faults.add(at, Rule::Invalid, message);
    }
    for key in annotations.keys() {
        // Kubernetes lets the keys of annotations be written in either case.
        let rule =
            |key: &str| name::qualified(&key.to_lowercase()).map_err(|fault| format!("the key {fault}"));
        faults.text(&at.entry(key), key, rule);
    }
}

fn finalizers(finalizers: &[String], at: &At, faults: &mut Faults) {
    at_most(faults, at, finalizers.len(), REFERENCES);
    for (index, finalizer) in finalizers.iter().enumerate() {
        faults.text(&at.item(index), finalizer, name::qualified);
    }
}

fn owners(owners: &[OwnerReference], at: &At, faults: &mut Faults) {
    at_most(faults, at, owners.len(), REFERENCES);
    for (index, owner) in owners.iter().enumerate() {
        let here = at.item(index);
        let words = [
            ("apiVersion", &owner.api_version, OWNER_API_VERSION),
            ("kind", &owner.kind, OWNER_WORD),
            ("name", &owner.name, OWNER_WORD),
            ("uid", &owner.uid, OWNER_WORD),
        ];
        for (field, word, most) in words {
            if word.is_empty() {
                faults.add(&here.field(field), Rule::Required, "is needed");
            } else if word.len() > most {
                let message = format!("must be at most {most} bytes, got {}", word.len());
                faults.add(&here.field(field), Rule::Invalid, message);
            }
        }
    }
    let mut controllers =
        owners.iter().enumerate().filter(|(_, owner)| owner.controller == Some(true)).map(|(index, _)| index);
    if let (Some(first), Some(second)) = (controllers.next(), controllers.next()) {
        let message = format!("only one owner may be the controller, `{}` already is", at.item(first));
        faults.add(&at.item(second).field("controller"), Rule::Invalid, message);
    }
}
