//! Which labels a list or watch asks for, as terms: the text is made from them, so nothing here reads a selector.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// All terms must hold; without any, everything is selected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Selector(pub Vec<Term>);

/// What is asked of one label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Term {
    /// It is there.
    Exists(String),
    /// It is not there.
    Absent(String),
    /// It is there, with one of these values.
    In(String, Vec<String>),
    /// It is not there, or has none of these values.
    NotIn(String, Vec<String>),
}

impl Selector {
    /// One term.
    pub fn one(term: Term) -> Self {
        Self(vec![term])
    }

    /// Whether an object is selected.
    pub fn takes(&self, object: &Value) -> bool {
        self.0.iter().all(|term| term.holds(object))
    }
}

impl Term {
    /// The label `key` is there, with one of `values`.
    pub fn any_of(key: &str, values: &[&str]) -> Self {
        Self::In(key.into(), values.iter().map(ToString::to_string).collect())
    }

    /// The label `key` is not there, or has none of `values`.
    pub fn none_of(key: &str, values: &[&str]) -> Self {
        Self::NotIn(key.into(), values.iter().map(ToString::to_string).collect())
    }

    fn holds(&self, object: &Value) -> bool {
        let label = |key: &String| object["metadata"]["labels"].get(key).and_then(Value::as_str);
        let among = |values: &[String], value: &str| values.iter().any(|wanted| wanted == value);
        match self {
            Self::Exists(key) => label(key).is_some(),
            Self::Absent(key) => label(key).is_none(),
            Self::In(key, values) => label(key).is_some_and(|value| among(values, value)),
            Self::NotIn(key, values) => label(key).is_none_or(|value| !among(values, value)),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, term) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{term}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists(key) => write!(f, "{key}"),
            Self::Absent(key) => write!(f, "!{key}"),
            Self::In(key, values) => match &values[..] {
                [value] => write!(f, "{key}={value}"),
                _ => write!(f, "{key} in ({})", values.join(",")),
            },
            Self::NotIn(key, values) => match &values[..] {
                [value] => write!(f, "{key}!={value}"),
                _ => write!(f, "{key} notin ({})", values.join(",")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn terms_hold_of_labels_and_read_as_a_selector() {
        let gold = json!({"metadata": {"labels": {"tier": "gold"}}});
        let bare = json!({"metadata": {}});
        let table = [
            (Term::Exists("tier".into()), "tier", [true, false]),
            (Term::Absent("tier".into()), "!tier", [false, true]),
            (Term::any_of("tier", &["gold"]), "tier=gold", [true, false]),
            (Term::any_of("tier", &["iron", "gold"]), "tier in (iron,gold)", [true, false]),
            (Term::none_of("tier", &["gold"]), "tier!=gold", [false, true]),
            (Term::none_of("tier", &["iron", "tin"]), "tier notin (iron,tin)", [true, true]),
        ];
        for (term, text, expected) in table {
            let selector = Selector::one(term);
            assert_eq!([selector.takes(&gold), selector.takes(&bare)], expected, "{text}");
            assert_eq!(selector.to_string(), text);
        }
        let both = Selector(vec![Term::Exists("a".into()), Term::Absent("b".into())]);
        assert_eq!((both.to_string().as_str(), both.takes(&bare)), ("a,!b", false));
        assert!(Selector::default().takes(&bare));
    }
}
