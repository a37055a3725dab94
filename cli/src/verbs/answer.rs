//! What the answer to a write says beside the object, in words for a person.

use std::collections::BTreeMap;

use berth_client::{FieldChange, Written};

use crate::manifest::visible;
use crate::output::print;

/// Our own interactive verbs: what a person changed by hand, a manifest takes back.
pub const TAKE_FROM: [&str; 2] = ["ctl-scale", "ctl-rollout"];

/// Writes to standard error what an apply to `name` took from others and removed, and what the server warns of.
pub fn report(name: &str, written: &Written) {
    taken(&written.changes).iter().for_each(|line| print::note(&visible(&format!("{name}: {line}"))));
    removed(&written.changes).iter().for_each(|line| print::note(&visible(&format!("{name}: {line}"))));
    for warning in &written.warnings {
        print::note(&visible(&format!("warning: {name}: {warning}")));
    }
}

/// A line for each manager that lost fields.
fn taken(changes: &[FieldChange]) -> Vec<String> {
    let mut by_manager: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for change in changes.iter().filter(|change| !change.manager.is_empty()) {
        let FieldChange { field, before, after, .. } = change;
        let single = |value: &str| !value.is_empty() && !value.starts_with(['{', '[']);
        let values = single(before) && single(after) && before != after;
        let values = if values { format!(" ({before} -> {after})") } else { String::new() };
        by_manager.entry(&change.manager).or_default().push(format!("{field}{values}"));
    }
    let line = |(manager, fields): (&str, Vec<String>)| {
        let fields = fields.join(", ");
        match TAKE_FROM.contains(&manager) {
            true => format!("took back from `{}`: {fields}", manager.replace('-', " ")),
            false => format!("took over from `{manager}`: {fields}"),
        }
    };
    by_manager.into_iter().map(line).collect()
}

/// A line for each field that is gone because the manifest does not have it any more, with its default.
fn removed(changes: &[FieldChange]) -> Vec<String> {
    let own = changes.iter().filter(|change| change.manager.is_empty());
    own.map(|FieldChange { field, before, after, .. }| {
        let after = if after.is_empty() { "none" } else { after };
        let lines = if before.starts_with(['{', '[']) { "lines were" } else { "line was" };
        format!("{field} {before} -> {after}: the {lines} removed")
    })
    .collect()
}
