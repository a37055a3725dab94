//! How the API says no: `metav1.Status`.

use serde::{Deserialize, Serialize};

use crate::fault::Fault;

/// Why a call was refused, in the words of the Kubernetes API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Reason {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    AlreadyExists,
    Conflict,
    /// The version asked for is no longer (or not yet) known: list again.
    Expired,
    RequestEntityTooLarge,
    Invalid,
    TooManyRequests,
    InternalError,
    /// The store or a needed part is away: try again.
    Unavailable,
    /// The outcome is unknown or the deadline passed.
    Timeout,
    /// The store is full: reads and deletes only.
    StorageFull,
}

impl Reason {
    /// The HTTP code that goes with it.
    pub fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::AlreadyExists | Self::Conflict => 409,
            Self::Expired => 410,
            Self::RequestEntityTooLarge => 413,
            Self::Invalid => 422,
            Self::TooManyRequests => 429,
            Self::InternalError => 500,
            Self::Unavailable => 503,
            Self::Timeout => 504,
            Self::StorageFull => 507,
        }
    }
}

/// A refused call: what, why, and where in the object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error("{message}")]
pub struct Status {
    /// Always `v1`.
    pub api_version: String,
    /// Always `Status`.
    pub kind: String,
    /// Always `Failure`.
    pub status: String,
    /// For a person: names the step and the object, lower case, no full stop.
    pub message: String,
    /// For a program.
    pub reason: Reason,
    /// HTTP code of the reason.
    pub code: u16,
    /// About which object, and which fields.
    #[serde(default, skip_serializing_if = "Details::is_empty")]
    pub details: Details,
    /// Where a list that expired may go on.
    #[serde(default, skip_serializing_if = "ListMeta::is_empty")]
    pub metadata: ListMeta,
}

/// Metadata of a refused list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListMeta {
    /// Goes on at the newest state, which is no longer one snapshot; empty when the list cannot go on.
    #[serde(rename = "continue", skip_serializing_if = "String::is_empty")]
    pub continue_token: String,
}

impl ListMeta {
    fn is_empty(&self) -> bool {
        self.continue_token.is_empty()
    }
}

/// What a refusal is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Details {
    /// Name of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// API group of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Kind of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Each fault with its field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// Seconds to wait before the next try; 0 says nothing.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

impl Details {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// One fault of a refused object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// `FieldValueInvalid`, `FieldValueRequired`, `FieldManagerConflict`, ...
    pub reason: String,
    /// The rule and the value.
    pub message: String,
    /// The path, as `spec.template.spec.containers[0].image`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// The reason of a cause: the version is of another past than the store's, which was put back from a backup.
pub const ANOTHER_HISTORY: &str = "AnotherHistory";

/// The reason of a cause: another manager owns the field.
pub const FIELD_MANAGER_CONFLICT: &str = "FieldManagerConflict";

/// The reason of a cause: the Namespace of a new object is being deleted.
pub const NAMESPACE_TERMINATING: &str = "NamespaceTerminating";

impl Status {
    /// Whether a cause of the refusal has this reason.
    pub fn has_cause(&self, reason: &str) -> bool {
        self.details.causes.iter().any(|cause| cause.reason == reason)
    }

    /// Whether a version was refused because it is of another past than the store's.
    pub fn is_of_another_history(&self) -> bool {
        self.reason == Reason::Expired && self.has_cause(ANOTHER_HISTORY)
    }

    /// A refusal without details.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            api_version: "v1".into(),
            kind: "Status".into(),
            status: "Failure".into(),
            message: message.into(),
            reason,
            code: reason.code(),
            details: Details::default(),
            metadata: ListMeta::default(),
        }
    }

    /// A refusal of an object for its faults: `Invalid`, one cause each.
    pub fn invalid(kind: &str, name: &str, faults: &[Fault]) -> Self {
        let listed: Vec<String> = faults.iter().map(Fault::to_string).collect();
        let mut status =
            Self::new(Reason::Invalid, format!("{kind} `{name}` is invalid: {}", listed.join("; ")))
                .about(kind, name);
        status.details.causes = faults.iter().map(Fault::cause).collect();
        status
    }

    /// The same refusal, naming its object.
    pub fn about(mut self, kind: &str, name: &str) -> Self {
        self.details.kind = kind.into();
        self.details.name = name.into();
        self
    }
}
