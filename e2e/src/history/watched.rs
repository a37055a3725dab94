//! The watch log: what watchers asked for and were told, one stream a line. Times are nanoseconds of the machine's
//! monotonic clock.

use serde::{Deserialize, Serialize};

use super::content::Seen;
use super::selector::Selector;

/// One stream of a watcher, from its request to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// The watcher, and which of its streams it is.
    pub name: String,
    /// The stream that it goes on from.
    pub resumes: Option<String>,
    /// Whom it asked.
    pub server: String,
    /// The folder of the kind, as `/berth/core/configmaps/`.
    pub folder: String,
    /// Empty is all.
    pub namespace: String,
    /// Which labels.
    pub selector: Selector,
    /// The version after which events are asked for; none asks for the present objects first.
    pub after: Option<u64>,
    /// When it was asked for.
    pub asked: u64,
    /// What came, in order.
    pub got: Vec<Message>,
    /// When it ended.
    pub ended: u64,
    /// How it ended.
    pub end: End,
}

/// One message of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// When it came.
    pub at: u64,
    /// Everything up to here was told; 0 in the beginning, before all present objects were.
    pub version: u64,
    /// Whether it is the last of the beginning.
    #[serde(default)]
    pub initial_end: bool,
    /// What happened; nothing in a bookmark.
    pub events: Vec<Told>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// What it is to the watcher.
    pub what: What,
    /// The object.
    pub seen: Seen,
}

/// What an event is to a watcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum What {
    /// The object came to be, or into the selection.
    Added,
    /// It changed.
    Modified,
    /// It is gone, or left the selection.
    Deleted,
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum End {
    /// The server told that events are lost to this watcher: 410, with the reason.
    Expired(String),
    /// The server refused or ended it for another reason.
    Refused(String),
    /// The connection broke, or was never there.
    Cut(String),
    /// The server ended it without a word.
    Silent,
    /// The watcher went, to come back.
    Left,
    /// The run was over; the stream had been given the time to reach this version.
    Over(u64),
}
