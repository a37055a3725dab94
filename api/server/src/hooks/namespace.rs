//! Namespace: it goes only when it is empty. Its finalizer is there from the start; a deletion makes it `Terminating`,
//! which refuses new objects; whoever empties it takes the finalizer off, and is refused while anything is left.

use berth_types::{NAMESPACE_FINALIZER, Reason};
use serde_json::{Value, json};

use super::{Act, Beside, Change, Hooks, World};
use crate::refuse::{Answer, about, forbidden_field};
use crate::tree;

/// What a Namespace needs.
pub struct NamespaceHooks;

/// Namespaces that the cluster itself needs.
const KEPT: [&str; 2] = ["default", "berth-system"];

impl Hooks for NamespaceHooks {
    fn admit(&self, change: Change<'_>, world: &World<'_>) -> Answer<Beside> {
        match change.act {
            Act::Create => {
                tree::add_finalizer(change.new, NAMESPACE_FINALIZER);
                set_phase(change.new, "Active");
            }
            Act::Update => return Ok(update(&change, world)),
            Act::UpdateStatus => {
                let phase =
                    change.old.map(|old| tree::text(old, "status.phase")).unwrap_or_default().to_owned();
                set_phase(change.new, &phase);
            }
            Act::MarkDeleted => {
                refuse_kept(change.name)?;
                set_phase(change.new, "Terminating");
            }
        }
        Ok(Beside::default())
    }

    fn removed(&self, _namespace: &str, name: &str, _old: &Value, _world: &World<'_>) -> Answer<Beside> {
        refuse_kept(name)?;
        Ok(Beside::default())
    }
}

fn set_phase(namespace: &mut Value, phase: &str) {
    tree::fields(namespace).insert("status".into(), json!({ "phase": phase }));
}

fn refuse_kept(name: &str) -> Answer<()> {
    if !KEPT.contains(&name) {
        return Ok(());
    }
    let message = format!("Namespace `{name}` belongs to the cluster and cannot be deleted");
    Err(about(Reason::Forbidden, "Namespace", name, message))
}

fn update(change: &Change<'_>, world: &World<'_>) -> Beside {
    let had = change.old.is_some_and(|old| tree::has_finalizer(old, NAMESPACE_FINALIZER));
    if !had || tree::has_finalizer(change.new, NAMESPACE_FINALIZER) {
        return Beside::default();
    }
    let left = world.table.rows().find_map(|(id, row)| {
        let mut objects = world.state.kind(id).range(Some(change.name), None);
        row.kind.namespaced.then(|| objects.next()).flatten().map(|entry| (row, entry.name()))
    });
    let fault = if !tree::is_deleting(change.new) {
        Some(format!("`{NAMESPACE_FINALIZER}` stays until the Namespace is deleted"))
    } else {
        left.map(|(row, name)| {
            format!("`{NAMESPACE_FINALIZER}` stays while {} `{name}` is there", row.name())
        })
    };
    Beside::faults(fault.map(|why| forbidden_field("metadata.finalizers", why)).into_iter().collect())
}
