//! Revisions of an App: their names, their numbers, and which are kept.

use std::collections::BTreeSet;

use berth_types::app::TaskTemplate;
use berth_types::revision::Revision;
use sha2::{Digest, Sha256};

use super::observed::{Life, Observed};
use super::plan::Action;

/// `<app>-<10 hex>`, computed from what makes Tasks differ: the same template has the same name again.
pub fn revision_name(app: &str, template: &TaskTemplate, restart_generation: i64) -> String {
    let tree = serde_json::to_value(template).expect("a template is a tree with text keys");
    let mut hash = Sha256::new();
    hash.update(tree.to_string());
    hash.update(restart_generation.to_le_bytes());
    let digest = hash.finalize();
    let hex: String = digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    format!("{app}-{hex}")
}

/// Makes the Revision asked for the one with the highest number, and drops the oldest beyond the limit.
pub fn keep_history(seen: &Observed) -> Vec<Action> {
    let current = seen.app.revision.as_str();
    let newest = seen.revisions.iter().map(|revision| revision.spec.number).max().unwrap_or(0);
    let mut actions = Vec::new();
    match seen.revisions.iter().find(|revision| revision.metadata.name == current) {
        None => actions.push(Action::SaveRevision { name: current.into(), number: newest + 1 }),
        Some(revision) if revision.spec.number < newest => {
            actions.push(Action::RaiseRevision { name: current.into(), number: newest + 1 });
        }
        Some(_) => {}
    }
    actions.extend(surplus(seen).into_iter().map(|name| Action::DropRevision { name }));
    actions
}

/// Old Revisions beyond the limit that no living Task was made from, oldest first.
fn surplus(seen: &Observed) -> Vec<String> {
    let living = seen.tasks.iter().filter(|task| !matches!(task.life, Life::Succeeded | Life::Failed(_)));
    let used: BTreeSet<&str> = living.map(|task| task.revision.as_str()).collect();
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
