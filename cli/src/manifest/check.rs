//! What can be said about an object without a server.

use std::collections::BTreeMap;

use berth_types::fault::Rule;
use berth_types::kinds::Kind;
use berth_types::{Fault, short};
use serde_json::Value;

use super::document::{Document, Reading};
use super::marks::Mark;
use super::values;

/// The kind of a faultless object, or its faults.
pub fn object(value: &Value, mark: &Mark) -> Result<&'static Kind, Vec<Fault>> {
    let kind = Kind::of_manifest(value)?;
    let mut faults = kind.validate_typed(value, &|path| mark.typed(path));
    for (path, text) in values::unstorable(mark) {
        if faults.iter().all(|fault| fault.path != path) {
            let message = format!("`{}` is not a number that can be stored", short(&text));
            faults.push(Fault::new(path, Rule::Invalid, message));
        }
    }
    if faults.is_empty() { Ok(kind) } else { Err(faults) }
}

/// As `app/web`; as much of it as the object tells.
pub fn name_of(value: &Value) -> String {
    let kind = value["kind"].as_str().unwrap_or_default().to_lowercase();
    match value["metadata"]["name"].as_str() {
        Some(name) if !kind.is_empty() => format!("{kind}/{name}"),
        _ => kind,
    }
}

/// Rejects an object that an earlier document gives too: which one is meant?
pub fn twice(reading: &mut Reading) {
    let mut seen: BTreeMap<(&str, String, String), String> = BTreeMap::new();
    let (mut once, mut again) = (Vec::new(), Vec::new());
    for document in std::mem::take(&mut reading.documents) {
        let text = |name: &str| document.value["metadata"][name].as_str().unwrap_or_default().to_owned();
        let key = (document.kind.kind, text("namespace"), text("name"));
        match seen.get(&key) {
            Some(first) => again.push((document, first.clone())),
            None => {
                seen.insert(key, document.origin.line());
                once.push(document);
            }
        }
    }
    reading.documents = once;
    for (document, first) in again {
        let message = format!("{} is given twice, first at {first}", document.name());
        reject(reading, &document, &message);
    }
}

fn reject(reading: &mut Reading, document: &Document, message: &str) {
    reading.reject(vec![document.origin.mistake("", message)]);
}
