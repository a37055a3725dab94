//! Which part of an object a call may write, and the fields of its metadata that only the server writes.

use serde_json::{Map, Value};

/// The part of an object that a call writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Everything but the status.
    Main,
    /// The status alone.
    Status,
}

/// Metadata that no write of a user changes.
const SERVERS_OWN: [&str; 9] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
];

impl Part {
    /// The name of the subresource; empty for the object itself.
    pub fn subresource(self) -> &'static str {
        match self {
            Part::Main => "",
            Part::Status => "status",
        }
    }

    /// What of `object` a write of this part is about.
    pub fn of(self, object: &Value) -> Value {
        let mut part = Map::new();
        for (name, value) in object.as_object().into_iter().flatten() {
            match (self, name.as_str()) {
                (Part::Status, "status") => drop(part.insert(name.clone(), value.clone())),
                (Part::Status, _) | (Part::Main, "apiVersion" | "kind" | "status") => {}
                (Part::Main, "metadata") => {
                    let metadata = users_metadata(value);
                    if !metadata.is_empty() {
                        part.insert(name.clone(), Value::Object(metadata));
                    }
                }
                (Part::Main, _) => drop(part.insert(name.clone(), value.clone())),
            }
        }
        Value::Object(part)
    }

    /// `object` with this part of it replaced by `part`.
    pub fn replaced(self, object: &Value, part: Value) -> Value {
        let Value::Object(mut part) = part else { return object.clone() };
        let mut whole = Map::new();
        let old = object.as_object();
        for (name, value) in old.into_iter().flatten() {
            match (self, name.as_str()) {
                (Part::Main, "apiVersion" | "kind" | "status") => {
                    drop(whole.insert(name.clone(), value.clone()))
                }
                (Part::Main, "metadata") => drop(whole.insert(name.clone(), servers_metadata(value))),
                (Part::Status, name) if name != "status" => drop(whole.insert(name.into(), value.clone())),
                (Part::Main | Part::Status, _) => {}
            }
        }
        if let (Some(Value::Object(users)), Some(Value::Object(whole))) =
            (part.remove("metadata"), whole.get_mut("metadata"))
        {
            whole.extend(users);
        }
        whole.extend(part);
        Value::Object(whole)
    }
}

fn users_metadata(metadata: &Value) -> Map<String, Value> {
    let entries = metadata.as_object().into_iter().flatten();
    let users = entries.filter(|(name, _)| !SERVERS_OWN.contains(&name.as_str()));
    users.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn servers_metadata(metadata: &Value) -> Value {
    let entries = metadata.as_object().into_iter().flatten();
    let servers = entries.filter(|(name, _)| SERVERS_OWN.contains(&name.as_str()));
    Value::Object(servers.map(|(name, value)| (name.clone(), value.clone())).collect())
}
