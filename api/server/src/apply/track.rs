//! Ownership of what is written by calls that are no apply.

use berth_types::Timestamp;
use berth_types::shape::Shape;
use serde_json::Value;

use super::entries::{self, Entry, Operation};
use super::parts::Part;
use super::tree::{changed, removed};

/// `after`, written over `before` by a call that is no apply, with the fields that the call changed owned by `manager`.
/// Nothing is tracked before an object's first apply; what `after` itself says of managers does not count.
pub fn track_update(
    before: &Value,
    after: Value,
    shape: &Shape,
    manager: &str,
    part: Part,
    now: Timestamp,
) -> Value {
    let old = entries::read(before);
    if old.is_empty() {
        return entries::copied(before, after);
    }
    let (had, has) = (part.of(before), part.of(&after));
    if had == has {
        return entries::copied(before, after);
    }
    let changed = changed(shape, &had, &has);
    let removed = removed(shape, &had, &has);

    let manager = if manager.is_empty() { "unknown" } else { manager };
    let version = after["apiVersion"].as_str().unwrap_or_default();
    let fresh = Entry::new(manager, Operation::Update, part, version);
    let mut entries = old;
    let mut own = entries::take(&mut entries, &fresh).unwrap_or(fresh);
    entries::disown(&mut entries, &changed.clone().union(removed.clone()));
    own.fields = own.fields.minus(&removed).union(changed);
    own.time = entries::stamp(now);
    if !own.fields.is_empty() {
        entries.push(own);
    }
    entries::bound(&mut entries);
    let mut after = after;
    entries::write(&mut after, entries);
    after
}
