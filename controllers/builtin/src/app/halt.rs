//! A Revision whose Tasks took down the agents of several nodes is sent to no further node until a user asks for another
//! one, by a new template or `rollout restart`. The Tasks that show it are collected in time, so the status remembers it.

use std::collections::BTreeSet;

use super::observed::Observed;

/// Agents of so many nodes are no accident.
const NODES: usize = 2;
/// The Namespace that `ctl` uses without `-n`.
const DEFAULT_NAMESPACE: &str = "default";

/// Whether no further Task of the Revision asked for may be created or placed.
pub fn is_halted(seen: &Observed) -> bool {
    let revision = &seen.app.revision;
    (!revision.is_empty() && seen.app.status.halted_revision == *revision) || nodes(seen).len() >= NODES
}

/// Why Tasks are missing for good, for a person.
pub fn why(seen: &Observed) -> String {
    let nodes: Vec<&str> = nodes(seen).into_iter().collect();
    let whose =
        if nodes.len() < NODES { "of several nodes".into() } else { format!("of {}", nodes.join(", ")) };
    let (revision, app) = (&seen.app.revision, &seen.app.name);
    let namespace = match seen.app.namespace.as_str() {
        DEFAULT_NAMESPACE => String::new(),
        namespace => format!(" -n {namespace}"),
    };
    format!(
        "revision {revision} took down the agents {whose} and is sent to no further node: apply another template, or \
         `ctl rollout restart app/{app}{namespace}` to try it again"
    )
}

/// The nodes whose agents Tasks of the Revision asked for took down.
fn nodes<'a>(seen: &'a Observed) -> BTreeSet<&'a str> {
    let own = seen.tasks.iter().filter(|task| task.revision == seen.app.revision);
    own.filter_map(|task| task.took_down.as_deref()).collect()
}
