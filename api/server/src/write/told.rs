//! What the answer to a write says beside the object: what the write did, what it took or removed, and warnings.

use berth_proto::v1 as wire;
use bytes::Bytes;
use serde_json::Value;

use crate::apply::{Conflict, Removed, brief};
use crate::table::Row;

/// The most changes of fields that one answer lists.
const CHANGES: usize = 50;
/// The most characters of a value that an answer shows.
const VALUE: usize = 100;

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The object is new.
    Created,
    /// The object is another than before.
    Configured,
    /// Nothing was written.
    Unchanged,
    /// The object is gone.
    Deleted,
}

/// What the caller should know beside the object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Told {
    /// Warnings that rest on objects which the cache does not have.
    pub missing: Vec<String>,
    /// Other warnings.
    pub warnings: Vec<String>,
    /// What an apply took or removed.
    pub changes: Vec<wire::FieldChange>,
}

/// The answer to a write.
#[derive(Debug)]
pub struct Written {
    /// The object as it is now; of one that is gone its last state.
    pub json: Bytes,
    /// What the write did.
    pub effect: Effect,
    /// What else to know.
    pub told: Told,
}

impl Told {
    /// Lists what an apply took from others and what it removed of its manager's own; `after` is the object afterwards.
    pub fn list(&mut self, row: &Row, taken: &[Conflict], removed: &[Removed], after: &Value) {
        self.changes = changes(taken, removed, |field| row.kind.stand_in(after, field));
        let untold = (taken.len() + removed.len()).saturating_sub(self.changes.len());
        if untold > 0 {
            self.warnings.push(format!("{untold} more fields were taken or removed, not listed here"));
        }
    }
}

/// The first changes. The default of a field that is not listed is not computed: each one costs as much as the object is
/// large.
fn changes(
    taken: &[Conflict],
    removed: &[Removed],
    default: impl Fn(&str) -> Option<Value>,
) -> Vec<wire::FieldChange> {
    let value = |value: &Option<Value>| value.as_ref().map_or_else(String::new, |value| brief(value, VALUE));
    let taken = taken.iter().map(|taken| wire::FieldChange {
        field: taken.field.clone(),
        manager: taken.manager.clone(),
        before: value(&taken.present),
        after: value(&taken.wanted),
    });
    let removed = removed.iter().map(|removed| wire::FieldChange {
        field: removed.field.clone(),
        manager: String::new(),
        before: value(&removed.before),
        after: value(&default(&removed.field)),
    });
    taken.chain(removed).take(CHANGES).collect()
}

impl Written {
    /// The answer on the wire, beside the object.
    pub fn wire(self) -> (Bytes, wire::Written) {
        let effect = match self.effect {
            Effect::Created => wire::written::Effect::Created,
            Effect::Configured => wire::written::Effect::Configured,
            Effect::Unchanged => wire::written::Effect::Unchanged,
            Effect::Deleted => wire::written::Effect::Deleted,
        };
        let Told { missing: mut warnings, warnings: others, changes } = self.told;
        warnings.extend(others);
        (self.json, wire::Written { effect: effect.into(), warnings, changes })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn no_default_is_computed_for_a_field_that_is_not_listed() {
        let removed =
            |number: usize| Removed { field: format!("spec.field-{number}"), before: Some(number.into()) };
        for (fields, listed) in [(3, 3), (CHANGES + 100, CHANGES)] {
            let removed: Vec<Removed> = (0..fields).map(removed).collect();
            let computed = Cell::new(0);
            let changes = changes(&[], &removed, |_| {
                computed.set(computed.get() + 1);
                Some(Value::from("the default"))
            });
            assert_eq!((changes.len(), computed.get()), (listed, listed), "{fields} fields");
            assert!(changes.iter().all(|change| change.after.contains("the default")), "{changes:?}");
        }
    }
}
