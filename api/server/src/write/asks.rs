//! What must hold for a write beside its own decision: versions, epochs, other objects, the Namespace.

use berth_failpoint::seeded_bug;
use berth_store::Condition;
use berth_types::Reason;
use serde_json::Value;

use super::plan::{Ask, By, Sight};
use super::request::{Precondition, Request, Verb, Wanted};
use crate::cache::Entry;
use crate::refuse::{self, Answer, about, conflict};
use crate::table::Row;
use crate::tree;

/// The decision holds for the object as it was seen; refuses what the caller did not mean.
pub fn own(request: &Request, seen: &Sight<'_>) -> Answer<Ask> {
    let key = seen.row(request).key(&request.path);
    let condition = match &seen.current {
        Some(entry) => {
            be_the_one_meant(request, seen)?;
            Condition::unchanged(key, entry.rev)
        }
        None => Condition::absent(key),
    };
    Ok(Ask { condition, by: By::Own })
}

fn be_the_one_meant(request: &Request, seen: &Sight<'_>) -> Answer<()> {
    let row = seen.row(request);
    let Some(entry) = seen.current.as_ref().filter(|_| request.verb != Verb::Create) else { return Ok(()) };
    if !request.uid.is_empty() && *entry.uid != *request.uid {
        let why = format!("is another object now: its uid is {}, not {}", entry.uid, request.uid);
        return Err(conflict(row.name(), &request.name, why));
    }
    if request.version.is_some_and(|version| version != entry.version) {
        return Err(conflict(row.name(), &request.name, "has been modified"));
    }
    if request.generation.is_some_and(|generation| generation != generation_of(entry)) {
        return Err(conflict(row.name(), &request.name, "has a different spec now"));
    }
    Ok(())
}

fn generation_of(entry: &Entry) -> i64 {
    tree::at(&entry.tree(), "metadata.generation").and_then(Value::as_i64).unwrap_or(0)
}

/// Conditions on anything but the object itself.
pub fn outside(request: &Request, seen: &Sight<'_>) -> Answer<Vec<Ask>> {
    let mut asks = Vec::new();
    if let Some(fence) = request.fence.as_ref().filter(|_| !seeded_bug("fence-not-asked")) {
        asks.push(Ask { condition: Condition::unchanged(fence.key(), fence.epoch), by: By::Fence });
    }
    for (number, wanted) in request.preconditions.iter().enumerate() {
        asks.push(ask_other(number, wanted, seen)?);
    }
    let creates = matches!(request.verb, Verb::Create | Verb::Apply(_)) && seen.current.is_none();
    if creates && seen.world.table.row(request.kind).kind.namespaced {
        asks.push(ask_namespace(&request.namespace, seen)?);
    }
    Ok(asks)
}

fn ask_other(number: usize, wanted: &Precondition, seen: &Sight<'_>) -> Answer<Ask> {
    let row = seen.world.table.row(wanted.kind);
    let key = row.key(&wanted.path);
    let (uid, version) = match &wanted.wanted {
        Wanted::Absent => {
            return Ok(Ask { condition: Condition::absent(key), by: By::Precondition(number) });
        }
        Wanted::There { uid, version } => (uid, *version),
    };
    let entry = seen.world.state.kind(wanted.kind).get(&wanted.path);
    let Some(entry) = entry.filter(|entry| uid.is_empty() || *entry.uid == **uid) else {
        return Err(broken_precondition(row, wanted));
    };
    match version {
        Some(version) if version != entry.version => Err(broken_precondition(row, wanted)),
        Some(version) => {
            Ok(Ask { condition: Condition::unchanged(key, version.rev()), by: By::Precondition(number) })
        }
        None => Ok(Ask { condition: Condition::unchanged(key, entry.rev), by: By::Sight }),
    }
}

/// The refusal for a precondition that does not hold.
pub fn broken_precondition(row: &Row, wanted: &Precondition) -> Box<berth_types::Status> {
    let name = wanted.path.rsplit('/').next().unwrap_or_default();
    let why = match &wanted.wanted {
        Wanted::Absent => "exists, but the write requires that it does not",
        Wanted::There { .. } => "is not what the write was decided on",
    };
    conflict(row.name(), name, why)
}

fn ask_namespace(namespace: &str, seen: &Sight<'_>) -> Answer<Ask> {
    let id = seen.world.table.namespaces();
    let row = seen.world.table.row(id);
    let path = row.path("", namespace);
    let Some(entry) = seen.world.state.kind(id).get(&path) else {
        let message = format!("Namespace `{namespace}` was not found; create it first");
        return Err(about(Reason::NotFound, row.name(), namespace, message));
    };
    if entry.fields.iter().any(|phase| &**phase == "Terminating") {
        return Err(refuse::terminating(namespace));
    }
    Ok(Ask { condition: Condition::unchanged(row.key(&path), entry.rev), by: By::Sight })
}
