//! Revisions of an App: their names, their numbers, and which are kept.

use std::collections::BTreeSet;

use berth_types::app::{MOST_GENERATION, TaskTemplate};
use berth_types::revision::Revision;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::observed::{Life, Observed, Wanted};
use super::plan::Action;

/// `<app>-<10 hex>`, computed from what makes Tasks differ: a template that means the same has the same name again.
pub fn revision_name(app: &str, template: &TaskTemplate, restart_generation: i64) -> String {
    let tree = serde_json::to_value(template.meaning()).expect("a template is a tree with text keys");
    let mut hash = Sha256::new();
    hash.update(without_empty(tree).to_string());
    hash.update(restart_generation.to_le_bytes());
    let digest = hash.finalize();
    let hex: String = digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    format!("{app}-{hex}")
}

/// The Revision that means what the App asks for under a name that is computed no more, as an earlier version of Berth
/// gave it: its Tasks must not be replaced for that.
pub fn known_by_another_name<'a>(app: &Wanted, revisions: &'a [Revision]) -> Option<&'a str> {
    if revisions.is_empty() || revisions.iter().any(|revision| revision.metadata.name == app.revision) {
        return None;
    }
    let meaning = app.template.meaning();
    let same = revisions.iter().filter(|revision| {
        let Revision { metadata, spec, .. } = revision;
        spec.restart_generation == app.restart_generation
            && !metadata.deleting()
            && spec.template.meaning() == meaning
    });
    Some(&same.max_by_key(|revision| revision.spec.number)?.metadata.name)
}

/// The tree without empty lists and maps: a field that a newer version of Berth adds must not give every App of an older
/// one a new name, and so a rollout.
fn without_empty(tree: Value) -> Value {
    let fields = match tree {
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, without_empty(value))),
        Value::Array(items) => return items.into_iter().map(without_empty).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return tree,
    };
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    fields.filter(|(_, value)| !is_empty(value)).collect()
}

/// Makes the Revision asked for the one with the highest number, with the template as the App has it now, and drops the
/// oldest beyond the limit.
pub fn keep_history(seen: &Observed) -> Vec<Action> {
    let current = seen.app.revision.as_str();
    let newest = seen.revisions.iter().map(|revision| revision.spec.number).max().unwrap_or(0);
    // Numbers end at the largest; revisions that share it are not ordered.
    let next = newest.saturating_add(1).min(MOST_GENERATION);
    let mut actions = Vec::new();
    match seen.revisions.iter().find(|revision| revision.metadata.name == current) {
        None => actions.push(Action::SaveRevision { name: current.into(), number: next }),
        Some(revision) if revision.spec.number < newest.min(MOST_GENERATION) => {
            actions.push(Action::RaiseRevision { name: current.into(), number: next });
        }
        Some(revision) if revision.spec.template != seen.app.template => {
            actions.push(Action::RaiseRevision { name: current.into(), number: newest.min(MOST_GENERATION) });
        }
        Some(_) => {}
    }
    actions.extend(surplus(seen).into_iter().map(|name| Action::DropRevision { name }));
    actions
}

/// Old Revisions beyond the limit, oldest first, that no living Task was made from and none may be made from again.
fn surplus(seen: &Observed) -> Vec<String> {
    let living = seen.tasks.iter().filter(|task| !matches!(task.life, Life::Succeeded | Life::Failed(_)));
    let stable = seen.app.status.stable_revision.as_str();
    let used: BTreeSet<&str> = living.map(|task| task.revision.as_str()).chain([stable]).collect();
    let mut old: Vec<&Revision> =
        seen.revisions.iter().filter(|revision| revision.metadata.name != seen.app.revision).collect();
    old.sort_by_key(|revision| (revision.spec.number, revision.metadata.name.as_str()));
    let beyond = old.len().saturating_sub(seen.app.history);
    let oldest = old.iter().take(beyond).filter(|revision| !revision.metadata.deleting());
    oldest
        .map(|revision| revision.metadata.name.as_str())
        .filter(|name| !used.contains(name))
        .map(str::to_owned)
        .collect()
}
