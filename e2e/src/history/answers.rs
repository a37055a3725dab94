//! The operation log: what clients asked and were told, one JSON object a line. Times are nanoseconds of the machine's
//! monotonic clock.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::content::Seen;
use super::key::told;
use super::selector::Selector;

/// The annotation that a write leaves in the object: which operation it was.
pub const MARKER: &str = "load.berth.dev/op";
/// The type of the condition whose message is the marker of a write of the status.
pub const STATUS_MARKER: &str = "Load";

/// One operation of a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Who asked; also the field manager of its writes.
    pub client: String,
    /// Counts the client's operations.
    pub number: u64,
    /// Whom it asked.
    pub server: String,
    /// What it asked.
    pub asked: Asked,
    /// When it asked.
    pub invoked: u64,
    /// When it was told, or gave up.
    pub returned: u64,
    /// What it was told.
    pub told: Told,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Asked {
    /// To write an object.
    Write(Write),
    /// For the object at a key.
    Get(String),
    /// For objects, page by page.
    List(List),
}

/// A write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Write {
    /// How.
    pub verb: Verb,
    /// Where the object lies in the store.
    pub key: String,
    /// The object or the patch; null for a delete.
    pub sent: Value,
    /// What the write leaves in the object; empty for one that leaves nothing, for it changes nothing or deletes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub marker: String,
    /// The version that the object must have had; none is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The uid that the object must have had; empty is any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The call that it was one of many writes of: all of them or none happen. None when it stands for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub atomic: Option<u64>,
}

/// How an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verb {
    /// Made; it must not be there.
    Create,
    /// Replaced, but for the status.
    Update,
    /// Merged with a patch, but for the status.
    Patch,
    /// Its status merged with a patch.
    PatchStatus,
    /// Applied by the server.
    Apply,
    /// Removed.
    Delete,
}

/// A list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// The folder of the kind, as `/berth/core/configmaps/`.
    pub folder: String,
    /// Empty is all.
    pub namespace: String,
    /// Which labels.
    pub selector: Selector,
    /// The most objects of a page; 0 is no limit.
    pub limit: usize,
}

/// What was told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Told {
    /// The object.
    Object(Value),
    /// The pages so far; what ended a list before its last page.
    Pages(Vec<Page>, Option<String>),
    /// That nothing happened, nor will: the reason and a sentence.
    Refused(String, String),
    /// Nothing that tells whether it happened.
    Unknown(String),
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The version that it shows.
    pub version: u64,
    /// Its objects.
    pub items: Vec<Seen>,
    /// Whether there are more.
    pub more: bool,
    /// Whether the server had told before that the version of the earlier pages is gone, and let it go on at another.
    #[serde(default)]
    pub renewed: bool,
}

impl Write {
    /// Whether it changes something if it happens.
    pub fn changes(&self) -> bool {
        self.verb == Verb::Delete || !self.marker.is_empty()
    }
}

impl Operation {
    /// As `load-1#7 update of /berth/core/configmaps/load/c-3`.
    pub fn describe(&self) -> String {
        let what = match &self.asked {
            Asked::Write(write) => format!("{:?} of {}", write.verb, told(&write.key)),
            Asked::Get(key) => format!("get of {}", told(key)),
            Asked::List(list) => format!("list of {}{} {}", list.folder, list.namespace, list.selector),
        };
        format!("{}#{} {what}", self.client, self.number)
    }
}
