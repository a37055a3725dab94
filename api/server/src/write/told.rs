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
        let value =
            |value: &Option<Value>| value.as_ref().map_or_else(String::new, |value| brief(value, VALUE));
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
            after: value(&row.kind.stand_in(after, &removed.field)),
        });
        self.changes = taken.chain(removed).collect();
        let untold = self.changes.len().saturating_sub(CHANGES);
        if untold > 0 {
            self.changes.truncate(CHANGES);
            self.warnings.push(format!("{untold} more fields were taken or removed, not listed here"));
        }
    }
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
