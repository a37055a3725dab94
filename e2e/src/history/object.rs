//! An object as the checker reads it: the few fields that promises are about, everything else as text.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;

use super::amounts::{Amounts, Listed};
use super::key::Key;
use super::log::{Event, Stored};
use super::spec::Spec;
use super::text;

/// What lies at a key.
#[derive(Debug, Clone)]
pub struct Object {
    /// The revision of its last write.
    pub rev: i64,
    /// When the recorder saw that write.
    pub at: u64,
    /// The value.
    pub stored: Stored,
    /// Its metadata.
    pub meta: Arc<Meta>,
    /// What is asked for.
    pub spec: Arc<Spec>,
    /// What is there.
    pub status: Status,
    /// Why it cannot be read, if it cannot.
    pub unreadable: Option<Box<str>>,
    parts: Vec<(Range<usize>, Range<usize>)>,
}

/// Metadata.
#[derive(Debug, Clone, Default)]
pub struct Meta {
    /// Unique over all objects and all time.
    pub uid: Box<str>,
    /// Generation of the spec; 0 is none.
    pub generation: i64,
    /// When it was created.
    pub created: Box<str>,
    /// When its deletion was asked for.
    pub deleted: Option<Box<str>>,
    /// Who must agree before it goes.
    pub finalizers: Box<[Box<str>]>,
    /// Its owners.
    pub owners: Box<[Owner]>,
    /// Labels; read of Nodes alone.
    pub labels: BTreeMap<Box<str>, Box<str>>,
}

/// An object that another belongs to.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Owner {
    /// Its kind.
    pub kind: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its uid.
    pub uid: Box<str>,
    controller: bool,
}

/// The status, of whatever kind.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// As it is written; empty is none.
    pub phase: Box<str>,
    /// Of a Task: it may get requests. Of a Node: it is present.
    pub ready: Truth,
    /// Of a Task: its node is heard.
    pub reachable: Truth,
    /// Of a Task: it is given up with its node.
    pub given_up: bool,
    /// Of a Task: it says that it fits nowhere.
    pub unplaced: bool,
    /// What a Task was given.
    pub allocated: Amounts,
    /// What Tasks may have of a Node.
    pub allocatable: Amounts,
    /// The generation that it speaks of; the newest of all that are named.
    pub observed: i64,
}

/// The status of a condition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody can say, or the condition is not there.
    #[default]
    Unknown,
}

/// apiVersion, kind, metadata, spec, status.
const USUAL_PARTS: usize = 5;

impl Object {
    /// What an event puts, of which `was` lay there before; none for a delete.
    pub(super) fn of(event: Event, was: Option<&Object>) -> (String, Option<Self>) {
        let Event { rev, at, key, now } = event;
        let object = now.map(|stored| Self::read(rev, at, &key, stored, was));
        (key, object)
    }

    fn read(rev: i64, at: u64, key: &str, stored: Stored, was: Option<&Object>) -> Self {
        let Key::Object { kind, .. } = Key::read(key) else {
            return Self::system(rev, at, stored);
        };
        let mut parts = Vec::with_capacity(USUAL_PARTS);
        parts.extend(text::fields(&stored.json));
        let part = |name: &str| part(&stored.json, &parts, name);
        // What is the same text as before is not read again.
        let same = |name: &str, text: &str| was.filter(|was| was.part(name) == Some(text));
        let read = || {
            let metadata = part("metadata").ok_or("no metadata")?;
            let meta = match same("metadata", metadata) {
                Some(was) => was.meta.clone(),
                None => Arc::new(Meta::read(kind, metadata)?),
            };
            let spec = part("spec").unwrap_or("{}");
            let spec = match same("spec", spec) {
                Some(was) => was.spec.clone(),
                None => Arc::new(Spec::read(kind, spec)?),
            };
            let status = part("status").map_or(Ok(Status::default()), Status::read)?;
            Ok((meta, spec, status))
        };
        let (read, unreadable) = match read() {
            Ok(read) => (read, None),
            Err(Problem(why)) => (Default::default(), Some(why)),
        };
        let (meta, spec, status) = read;
        Self { rev, at, meta, spec, status, unreadable, stored, parts }
    }

    fn system(rev: i64, at: u64, stored: Stored) -> Self {
        let (meta, spec, status) = Default::default();
        Self { rev, at, stored, meta, spec, status, unreadable: None, parts: Vec::new() }
    }

    /// The text of one of its parts, as `spec`.
    pub fn part(&self, name: &str) -> Option<&str> {
        part(&self.stored.json, &self.parts, name)
    }

    /// All parts with their names: metadata, spec, status and what else there is.
    pub fn parts(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        let json = &self.stored.json;
        self.parts.iter().map(|(name, value)| (&json[name.clone()], &json[value.clone()]))
    }

    /// Whether a part is known to be the same text in both.
    pub fn shares(&self, other: &Self, name: &str) -> bool {
        match name {
            "metadata" => Arc::ptr_eq(&self.meta, &other.meta),
            "spec" => Arc::ptr_eq(&self.spec, &other.spec),
            _ => false,
        }
    }

    /// Whether the deletion of it was asked for.
    pub fn is_deleting(&self) -> bool {
        self.meta.deleted.is_some()
    }
}

fn part<'a>(json: &'a str, parts: &[(Range<usize>, Range<usize>)], name: &str) -> Option<&'a str> {
    let found = parts.iter().find(|(known, _)| &json[known.clone()] == name);
    found.map(|(_, value)| &json[value.clone()])
}

/// Why a part cannot be read.
pub(super) struct Problem(pub Box<str>);

impl From<serde_json::Error> for Problem {
    fn from(why: serde_json::Error) -> Self {
        Self(why.to_string().into())
    }
}

impl From<&str> for Problem {
    fn from(why: &str) -> Self {
        Self(why.into())
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawMeta<'a> {
    #[serde(borrow)]
    uid: Cow<'a, str>,
    generation: i64,
    #[serde(borrow)]
    creation_timestamp: Cow<'a, str>,
    deletion_timestamp: Option<Box<str>>,
    finalizers: Box<[Box<str>]>,
    owner_references: Box<[Owner]>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawLabels {
    labels: BTreeMap<Box<str>, Box<str>>,
}

impl Meta {
    /// The owner whose controller manages it.
    pub fn owner(&self) -> Option<&Owner> {
        self.owners.iter().find(|owner| owner.controller)
    }

    fn read(kind: &str, text: &str) -> Result<Self, Problem> {
        let raw: RawMeta = serde_json::from_str(text)?;
        let labels = match kind {
            "berth.dev/nodes" => serde_json::from_str::<RawLabels>(text)?.labels,
            _ => BTreeMap::new(),
        };
        Ok(Self {
            uid: raw.uid.into(),
            generation: raw.generation,
            created: raw.creation_timestamp.into(),
            deleted: raw.deletion_timestamp,
            finalizers: raw.finalizers,
            owners: raw.owner_references,
            labels,
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawStatus<'a> {
    #[serde(borrow)]
    phase: Cow<'a, str>,
    #[serde(borrow)]
    conditions: Vec<RawCondition<'a>>,
    allocated: Listed,
    allocatable: Listed,
    observed_generation: i64,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawCondition<'a> {
    #[serde(borrow, rename = "type")]
    name: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    reason: Cow<'a, str>,
    observed_generation: i64,
}

impl RawCondition<'_> {
    fn truth(&self) -> Truth {
        match &*self.status {
            "True" => Truth::True,
            "False" => Truth::False,
            _ => Truth::Unknown,
        }
    }
}

/// A Node that lists no `tasks` takes any number.
const UNLIMITED_TASKS: Amounts = Amounts([0, 0, 0, i64::MAX]);

impl Status {
    fn read(text: &str) -> Result<Self, Problem> {
        let raw: RawStatus = serde_json::from_str(text)?;
        let mut status = Self {
            phase: raw.phase.into(),
            allocated: raw.allocated.or(Amounts::default()),
            allocatable: raw.allocatable.or(UNLIMITED_TASKS),
            observed: raw.observed_generation,
            ..Self::default()
        };
        for condition in &raw.conditions {
            status.observed = status.observed.max(condition.observed_generation);
            match &*condition.name {
                "Ready" => status.ready = condition.truth(),
                "Scheduled" => {
                    status.unplaced =
                        condition.truth() == Truth::False && condition.reason == "Unschedulable";
                }
                "Reachable" => {
                    status.reachable = condition.truth();
                    status.given_up = status.reachable == Truth::False && condition.reason == "GivenUp";
                }
                _ => {}
            }
        }
        Ok(status)
    }
}
