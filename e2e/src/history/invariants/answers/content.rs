//! What a write makes of an object, as far as a client can foretell it.

use serde_json::{Map, Value};

use crate::history::answers::{Verb, Write};

/// Fields of the metadata that are the server's.
const SERVERS: [&str; 6] =
    ["resourceVersion", "uid", "generation", "creationTimestamp", "managedFields", "deletionTimestamp"];

/// Whether the object `now` is what `write` makes of `was`; else, what is wrong.
pub(super) fn follows(write: &Write, was: Option<&Value>, now: Option<&Value>) -> Result<(), String> {
    match (write.verb, was, now) {
        (Verb::Delete, _, None) => Ok(()),
        (Verb::Delete, _, Some(_)) | (_, _, None) => Err("happened as a change of another sort".into()),
        (Verb::Create, Some(_), _) => Err("made an object that was there".into()),
        (Verb::Create, None, Some(now)) => replaced(&write.sent, &Value::Null, now),
        (Verb::Apply, was, Some(now)) => {
            contains(now, &asked_for(&write.sent), "")?;
            same_status(was.unwrap_or(&Value::Null), now)
        }
        (Verb::Update | Verb::Patch | Verb::PatchStatus, None, _) => {
            Err("changed an object that was not there".into())
        }
        (Verb::Update, Some(was), Some(now)) => replaced(&write.sent, was, now),
        (Verb::Patch, Some(was), Some(now)) => {
            same(&asked_for(&merged(was, &write.sent)), &asked_for(now)).and_then(|()| same_status(was, now))
        }
        (Verb::PatchStatus, Some(was), Some(now)) => {
            same(&asked_for(was), &asked_for(now))?;
            same(&merged(&was["status"], &write.sent["status"]), &now["status"])
        }
    }
}

/// All of an object but its status was replaced: nothing of the old one is left in what a client alone writes. Where
/// there is a status, controllers work, and the spec may have been filled up with defaults.
fn replaced(sent: &Value, was: &Value, now: &Value) -> Result<(), String> {
    contains(now, &asked_for(sent), "")?;
    if !now["status"].is_object() {
        same(&sent["spec"], &now["spec"])?;
    }
    for field in ["labels", "annotations"] {
        same(&sent["metadata"][field], &now["metadata"][field])?;
    }
    same_status(was, now)
}

fn same_status(was: &Value, now: &Value) -> Result<(), String> {
    same(&was["status"], &now["status"])
}

fn same(expected: &Value, found: &Value) -> Result<(), String> {
    if expected == found {
        return Ok(());
    }
    Err(format!("was to make {expected}, and made {found}"))
}

/// The object without its status and without what is the server's.
fn asked_for(object: &Value) -> Value {
    let mut tree = object.clone();
    if let Some(fields) = tree.as_object_mut() {
        fields.remove("status");
    }
    if let Some(meta) = tree.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.retain(|field, _| !SERVERS.contains(&field.as_str()));
    }
    tree
}

/// Whether every field of `part` is in `whole`.
fn contains(whole: &Value, part: &Value, path: &str) -> Result<(), String> {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part.iter().try_for_each(|(field, value)| {
            contains(whole.get(field).unwrap_or(&Value::Null), value, &format!("{path}.{field}"))
        }),
        _ if whole == part => Ok(()),
        _ => Err(format!("asked for {path} = {part}, and made {whole}")),
    }
}

/// A merge patch, by RFC 7386.
fn merged(target: &Value, patch: &Value) -> Value {
    let Some(patch) = patch.as_object() else { return patch.clone() };
    let mut fields: Map<String, Value> = target.as_object().cloned().unwrap_or_default();
    for (field, value) in patch {
        if value.is_null() {
            fields.remove(field);
        } else {
            let old = fields.remove(field).unwrap_or_default();
            fields.insert(field.clone(), merged(&old, value));
        }
    }
    Value::Object(fields)
}
