//! What a document says and where: a tree of its shape that keeps the text, line and column of every value. Aliases
//! and merges are resolved: their parts stand where the anchor has them.

use std::collections::BTreeMap;
use std::rc::Rc;

/// A stretch of one line of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 0.
    pub column: usize,
    /// Characters; 0 means to the end of the line.
    pub width: usize,
}

/// Where one value stands, and its parts.
#[derive(Debug, Clone)]
pub struct Mark {
    /// The key that leads to it, for a value of a mapping.
    pub key: Option<Place>,
    /// The value itself; of an alias the alias.
    pub value: Place,
    /// What is inside.
    pub parts: Parts,
}

/// The parts of a value; those of an anchor are shared with its aliases.
#[derive(Debug, Clone)]
pub enum Parts {
    /// A scalar as written.
    Scalar(Rc<Scalar>),
    /// Values by key.
    Mapping(Rc<BTreeMap<String, Mark>>),
    /// Values in order.
    List(Rc<Vec<Mark>>),
}

/// A scalar as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    /// Its text, without quotes.
    pub text: String,
    /// Whether it stands there without quotes.
    pub style: Style,
}

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Without quotes: the text decides the type.
    Plain,
    /// In quotes or as a block: always a text.
    Quoted,
}

/// The value that a path leads to, or the last one on the way that is there.
#[derive(Debug)]
pub struct Found<'a> {
    /// The deepest value on the path.
    pub mark: &'a Mark,
    /// What of the path is not there.
    pub missing: Option<String>,
}

impl Mark {
    /// Follows a path as the server writes it: `spec.containers[0].env[name=A].value`, `metadata.labels[a/b]`.
    pub fn find(&self, path: &str) -> Found<'_> {
        let steps = steps(path);
        let mut mark = self;
        for (n, step) in steps.iter().enumerate() {
            // A key may contain dots: then as many steps as are needed make one key.
            let whole = rest_as_key(&steps[n..]);
            match mark.part(step).or_else(|| whole.and_then(|key| mark.part(&Step::Key(key)))) {
                Some(part) if mark.part(step).is_some() => mark = part,
                Some(part) => return Found { mark: part, missing: None },
                None => return Found { mark, missing: Some(step.to_string()) },
            }
        }
        Found { mark, missing: None }
    }

    /// The item `n` of a list.
    pub fn item(&self, n: usize) -> Option<&Mark> {
        self.part(&Step::Item(n))
    }

    /// The text of the scalar at a path if it stands there without quotes.
    pub fn typed(&self, path: &str) -> Option<String> {
        let found = self.find(path);
        let scalar = found.mark.scalar().filter(|scalar| scalar.style == Style::Plain)?;
        found.missing.is_none().then(|| scalar.text.clone())
    }

    /// The place to point at: the key where there is one, else the value.
    pub fn key_or_value(&self) -> Place {
        self.key.unwrap_or(self.value)
    }

    /// The scalar that stands there.
    pub fn scalar(&self) -> Option<&Scalar> {
        match &self.parts {
            Parts::Scalar(scalar) => Some(scalar),
            Parts::Mapping(_) | Parts::List(_) => None,
        }
    }

    fn part(&self, step: &Step) -> Option<&Mark> {
        match (&self.parts, step) {
            (Parts::Mapping(parts), Step::Key(key)) => parts.get(key),
            (Parts::List(parts), Step::Item(n)) => parts.get(*n),
            (Parts::List(parts), Step::With(pairs)) => parts.iter().find(|item| item.has(pairs)),
            _ => None,
        }
    }

    fn has(&self, pairs: &[(String, String)]) -> bool {
        pairs.iter().all(|(key, value)| {
            let part = self.part(&Step::Key(key.clone()));
            part.and_then(Mark::scalar).is_some_and(|scalar| scalar.text == *value)
        })
    }
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Item(usize),
    With(Vec<(String, String)>),
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Step::Key(key) => f.write_str(key),
            Step::Item(n) => write!(f, "[{n}]"),
            Step::With(pairs) => {
                let pairs: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect();
                write!(f, "[{}]", pairs.join(","))
            }
        }
    }
}

fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let (step, after) = inside.split_once(']').unwrap_or((inside, ""));
            steps.push(bracket(step));
            rest = after;
        } else {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            if end > 0 {
                steps.push(Step::Key(rest[..end].into()));
            }
            rest = &rest[end..];
        }
    }
    steps
}

fn bracket(inside: &str) -> Step {
    if let Ok(n) = inside.parse() {
        return Step::Item(n);
    }
    if !inside.contains('=') {
        return Step::Key(unquoted(inside));
    }
    let pair = |pair: &str| pair.split_once('=').map(|(k, v)| (unquoted(k), unquoted(v)));
    Step::With(inside.split(',').filter_map(pair).collect())
}

fn unquoted(text: &str) -> String {
    text.trim_matches(['"', '\'', '`']).into()
}

fn rest_as_key(steps: &[Step]) -> Option<String> {
    let keys: Option<Vec<&str>> = steps
        .iter()
        .map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Item(_) | Step::With(_) => None,
        })
        .collect();
    keys.filter(|keys| keys.len() > 1).map(|keys| keys.join("."))
}
