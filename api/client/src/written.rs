//! What a write did, as the server answers it.

use berth_proto::v1;
use berth_proto::v1::written::Effect as WireEffect;

use crate::failover::Earlier;

/// What a write did to its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The object is new.
    Created,
    /// The object changed.
    Configured,
    /// The object was as wanted before.
    Unchanged,
    /// The object is gone.
    Deleted,
    /// Created, configured or unchanged: the server does not say, or the object is as wanted and an earlier sending of the
    /// same write, whose answer was lost, may have made it so.
    Unknown,
}

/// A field that an apply took from another manager, or removed because its manager does not apply it any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldChange {
    /// As `spec.replicas`.
    pub field: String,
    /// The manager that owned it; empty: the applier itself.
    pub manager: String,
    /// JSON, possibly cut; empty: absent.
    pub before: String,
    /// The same; of a removed field its default, empty: it has none.
    pub after: String,
}

/// What a write did, and what its author should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// What it did to the object.
    pub effect: Effect,
    /// For a person.
    pub warnings: Vec<String>,
    /// What an apply took or removed.
    pub changes: Vec<FieldChange>,
}

impl Written {
    pub(crate) fn of(answered: Option<v1::Written>, earlier: Earlier) -> Self {
        let answered = answered.unwrap_or_default();
        let effect = match answered.effect() {
            WireEffect::Created => Effect::Created,
            WireEffect::Configured => Effect::Configured,
            WireEffect::Unchanged => match earlier {
                Earlier::NotDone => Effect::Unchanged,
                Earlier::InDoubt => Effect::Unknown,
            },
            WireEffect::Deleted => Effect::Deleted,
            WireEffect::Unspecified => Effect::Unknown,
        };
        let change = |change: v1::FieldChange| FieldChange {
            field: change.field,
            manager: change.manager,
            before: change.before,
            after: change.after,
        };
        Self {
            effect,
            warnings: answered.warnings,
            changes: answered.changes.into_iter().map(change).collect(),
        }
    }
}
