//! What a write is warned of: it is carried out, and will not come to what its author expects.

use berth_types::{Reason, short};
use serde_json::Value;

use super::plan::Sight;
use super::request::{Request, Verb};
use crate::apply::Part;
use crate::refuse::{Answer, about};
use crate::table::Row;
use crate::tree;

/// Refuses a new spec for an object that is being deleted and stays: no controller would act on the spec.
pub fn refuse_spec_of_the_dying(row: &Row, request: &Request, old: &Value, new: &Value) -> Answer<()> {
    if !tree::is_deleting(old) || !tree::has_finalizers(new) {
        return Ok(());
    }
    let (kind, name) = (row.name(), &request.name);
    let held = waits_for(new);
    let message = format!(
        "{kind} `{name}` is being deleted and waits for {held}: its spec cannot be changed; write it again once it is \
         gone"
    );
    Err(about(Reason::Conflict, kind, name, message))
}

/// The warning about an apply to an object that is being deleted.
pub fn dying(request: &Request, old: Option<&Value>, new: Option<&Value>) -> Option<String> {
    old.filter(|old| request.verb == Verb::Apply(Part::Main) && tree::is_deleting(old))?;
    Some(match new {
        Some(new) => {
            let held = waits_for(new);
            format!("the object is being deleted and waits for {held}; apply it again once it is gone")
        }
        None => "the object was being deleted: this apply removed its last finalizer and so deleted it; apply again to \
                 recreate it"
            .into(),
    })
}

fn waits_for(object: &Value) -> String {
    let finalizers: Vec<&str> = tree::texts(object, "metadata.finalizers").collect();
    format!("`{}`", short(&finalizers.join("`, `")))
}

/// A warning for each owner that the write names first and that does not exist.
pub fn missing_owners(request: &Request, old: Option<&Value>, new: &Value, seen: &Sight<'_>) -> Vec<String> {
    let had = |owner: &Value| old.is_some_and(|old| owners(old).any(|known| known["uid"] == owner["uid"]));
    owners(new).filter(|owner| !had(owner)).filter_map(|owner| missing_owner(request, owner, seen)).collect()
}

fn owners(object: &Value) -> impl Iterator<Item = &Value> {
    tree::at(object, "metadata.ownerReferences").and_then(Value::as_array).into_iter().flatten()
}

fn missing_owner(request: &Request, owner: &Value, seen: &Sight<'_>) -> Option<String> {
    let text = |field: &str| owner[field].as_str().unwrap_or_default();
    let (kind, name, uid) = (text("kind"), text("name"), text("uid"));
    let Some(id) = seen.world.table.find(text("apiVersion"), kind) else {
        let version = short(text("apiVersion"));
        let (kind, name) = (short(kind), short(name));
        return Some(format!(
            "the owner {kind} `{name}` has the apiVersion `{version}`; this cluster has no such kind"
        ));
    };
    let row = seen.world.table.row(id);
    let found = seen.world.state.kind(id).get(&row.path(&request.namespace, name));
    if found.is_some_and(|entry| *entry.uid == *uid) {
        return None;
    }
    let place =
        if row.kind.namespaced { format!(" in Namespace `{}`", request.namespace) } else { String::new() };
    let why = match found {
        None => format!("was not found{place}"),
        Some(entry) => format!("has the uid {}, not {}", entry.uid, short(uid)),
    };
    Some(format!(
        "the owner {kind} `{}` {why}; an object is deleted when none of its owners exists: correct or \
         remove the entry in `metadata.ownerReferences`",
        short(name)
    ))
}
