//! Label selectors in Kubernetes' string syntax: `app=web,tier in (front, back),!canary`.

mod parse;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Requirements on labels, all of which must hold; without any, everything matches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

/// One requirement on one label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// Key of the label.
    pub key: String,
    /// What must hold of it.
    pub test: Test,
}

/// What must hold of a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Test {
    /// It is there.
    Exists,
    /// It is not there.
    Absent,
    /// It is there with this value.
    Is(String),
    /// It is absent, or has another value.
    IsNot(String),
    /// It is there with one of these values.
    In(BTreeSet<String>),
    /// It is absent, or has none of these values.
    NotIn(BTreeSet<String>),
}

/// A text that is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bad selector `{text}`, at character {at}: {message}")]
pub struct BadSelector {
    /// The whole text.
    pub text: String,
    /// Where it goes wrong, counted in characters from 1.
    pub at: usize,
    /// What was expected there.
    pub message: String,
}

impl Selector {
    /// Selects everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Reads a selector; at most 64 requirements.
    pub fn parse(text: &str) -> Result<Self, BadSelector> {
        parse::selector(text)
    }

    /// Whether `labels` fulfil every requirement.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|wanted| wanted.test.holds(labels.get(&wanted.key).map(String::as_str)))
    }

    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The requirements.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
}

impl Test {
    /// Whether it holds of a label with `value`, or without the label.
    pub fn holds(&self, value: Option<&str>) -> bool {
        match self {
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::Is(wanted) => value == Some(wanted),
            Test::IsNot(unwanted) => value != Some(unwanted),
            Test::In(wanted) => value.is_some_and(|value| wanted.contains(value)),
            Test::NotIn(unwanted) => !value.is_some_and(|value| unwanted.contains(value)),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list =
            |values: &BTreeSet<String>| values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        let key = &self.key;
        match &self.test {
            Test::Exists => write!(f, "{key}"),
            Test::Absent => write!(f, "!{key}"),
            Test::Is(value) => write!(f, "{key}={value}"),
            Test::IsNot(value) => write!(f, "{key}!={value}"),
            Test::In(values) => write!(f, "{key} in ({})", list(values)),
            Test::NotIn(values) => write!(f, "{key} notin ({})", list(values)),
        }
    }
}

#[cfg(test)]
mod tests;
