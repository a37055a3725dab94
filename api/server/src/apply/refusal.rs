//! Why an apply is refused.

use berth_types::fault::Fault;
use berth_types::status::{Cause, FIELD_MANAGER_CONFLICT, Reason, Status};
use serde_json::Value;

/// Why an apply is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// What is applied has faults of its own.
    #[error("what is applied is invalid")]
    Invalid(Vec<Fault>),
    /// It changes fields that other managers own.
    #[error("{} owned by others", counted(.0.len()))]
    Conflicts(Vec<Conflict>),
}

/// A field that one manager owns and another's apply changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    /// The owner.
    pub manager: String,
    /// The field, as `spec.template.spec.containers[name="web"].image`.
    pub field: String,
    /// Its value; none for an item or entry that only the apply has.
    pub present: Option<Value>,
    /// What it was to become; none when it goes.
    pub wanted: Option<Value>,
}

impl Conflict {
    /// The conflict as a cause of a refusal.
    pub fn cause(&self) -> Cause {
        let message = format!(
            "conflict with `{}`, which has it as {}, this apply wants {}",
            self.manager,
            shown(&self.present),
            shown(&self.wanted)
        );
        Cause { reason: FIELD_MANAGER_CONFLICT.into(), message, field: self.field.clone() }
    }
}

impl Refusal {
    /// The refusal as the API says it of the object `name`.
    pub fn status(&self, kind: &str, name: &str) -> Status {
        match self {
            Refusal::Invalid(faults) => Status::invalid(kind, name, faults),
            Refusal::Conflicts(conflicts) => {
                let owned = |conflict: &Conflict| format!("{} by `{}`", conflict.field, conflict.manager);
                let listed: Vec<String> = conflicts.iter().map(owned).collect();
                let counted = counted(listed.len());
                let message = format!(
                    "could not apply {kind} `{name}`: {counted} owned by others: {}",
                    listed.join(", ")
                );
                let mut status = Status::new(Reason::Conflict, message).about(kind, name);
                status.details.causes = conflicts.iter().map(Conflict::cause).collect();
                status
            }
        }
    }
}

fn counted(fields: usize) -> String {
    if fields == 1 { "1 field is".into() } else { format!("{fields} fields are") }
}

fn shown(value: &Option<Value>) -> String {
    value.as_ref().map_or_else(|| "absent".into(), |value| format!("`{}`", brief(value, 60)))
}

/// The first `most` characters of a value as JSON.
pub fn brief(value: &Value, most: usize) -> String {
    let text = value.to_string();
    match text.char_indices().nth(most) {
        None => text,
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}
