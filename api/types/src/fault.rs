//! A fault found in an object: where, which rule, and what stood there.

use std::fmt;

use crate::status::Cause;

/// Which kind of rule an object breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A field that must be there is not.
    Required,
    /// The value has the right type and breaks a rule.
    Invalid,
    /// The value has the wrong type.
    Type,
    /// The value is not one of those allowed.
    NotSupported,
    /// Two entries that must differ are the same.
    Duplicate,
    /// The kind has no such field.
    Unknown,
    /// The field may not be set (or changed) by this call.
    Forbidden,
}

impl Rule {
    /// The cause's reason in the words of the Kubernetes API.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::Type => "FieldValueTypeInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Unknown => "FieldUnknown",
            Self::Forbidden => "FieldValueForbidden",
        }
    }
}

/// One fault of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The path, as `spec.template.spec.containers[0].image`; empty for the whole document.
    pub path: String,
    /// Which rule.
    pub rule: Rule,
    /// The rule and the value, as `must be at most 1000, got 4000`.
    pub message: String,
}

impl Fault {
    /// A fault at `path`.
    pub fn new(path: impl Into<String>, rule: Rule, message: impl Into<String>) -> Self {
        Self { path: path.into(), rule, message: message.into() }
    }

    /// The fault as a cause of a refusal.
    pub fn cause(&self) -> Cause {
        Cause { reason: self.rule.reason().into(), message: self.message.clone(), field: self.path.clone() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}
