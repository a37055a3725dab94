//! A fault found in an object: where, which rule, and what stood there.

use std::fmt;

use crate::parcel::cut_text;
use crate::path::At;
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
    /// A fault at `path`; a message that quotes a long value is cut.
    pub fn new(path: impl Into<String>, rule: Rule, message: impl Into<String>) -> Self {
        let mut message = message.into();
        cut_text(&mut message);
        Self { path: path.into(), rule, message }
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

/// The most faults of one object that are told; more only fill the screen.
const TOLD: usize = 100;

/// Gathers the faults of one object.
#[derive(Debug, Default)]
pub struct Faults {
    found: Vec<Fault>,
    untold: usize,
}

impl Faults {
    /// A fault at `at`.
    pub fn add(&mut self, at: &At, rule: Rule, message: impl Into<String>) {
        self.add_with(at, rule, || message);
    }

    /// A fault at `at` whose message costs something: it is made only if it is shown.
    pub fn add_with<M: Into<String>>(&mut self, at: &At, rule: Rule, message: impl FnOnce() -> M) {
        if self.found.len() == TOLD {
            self.untold += 1;
            return;
        }
        self.found.push(Fault::new(at.to_string(), rule, message()));
    }

    /// Checks one text by a rule of [`crate::name`].
    pub fn text(&mut self, at: &At, text: &str, rule: impl Fn(&str) -> Result<(), String>) {
        if let Err(message) = rule(text) {
            self.add(at, Rule::Invalid, message);
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Adds what `later` found, but for places that a fault is known of already (there, above or below).
    pub fn add_fresh(&mut self, later: Faults) {
        let known: Vec<String> = self.found.iter().map(|fault| fault.path.clone()).collect();
        let fresh =
            |fault: &Fault| !known.iter().any(|path| within(path, &fault.path) || within(&fault.path, path));
        self.found.extend(later.found.into_iter().filter(fresh));
        self.untold += later.untold;
    }

    /// All of them in the order of their paths.
    pub fn into_vec(mut self) -> Vec<Fault> {
        self.found.sort();
        self.found.dedup();
        if self.untold > 0 {
            let message = format!("has {} more faults, not listed here", self.untold);
            self.found.push(Fault::new("", Rule::Invalid, message));
        }
        self.found
    }
}

/// Whether the place `inner` is `outer` or below it.
fn within(outer: &str, inner: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parcel::MOST_TEXT;

    #[test]
    fn a_message_that_is_not_shown_is_not_made() {
        let (mut faults, mut made) = (Faults::default(), 0);
        for _ in 0..3 * TOLD {
            faults.add_with(&At::ROOT, Rule::Unknown, || {
                made += 1;
                format!("unknown field {made}")
            });
        }
        assert_eq!(made, TOLD);
        assert_eq!(
            faults.into_vec().last().unwrap().message,
            format!("has {} more faults, not listed here", 2 * TOLD)
        );
    }

    #[test]
    fn a_fault_that_quotes_a_long_value_is_cut() {
        let fault =
            Fault::new("spec", Rule::Invalid, format!("must be short, got `{}`", "x".repeat(100_000)));
        assert!(
            fault.message.len() <= MOST_TEXT && fault.message.ends_with("..."),
            "{}",
            fault.message.len()
        );
    }
}
