//! What a controller wants done: waves of deeds, then the status that says why.

use berth_client::Write;
use berth_types::Timestamp;

use crate::notes::Note;

/// One write, or several that stand and fall together; with words for the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Deed {
    /// What is done, as `create`.
    pub action: &'static str,
    /// To which object, as `shop/web-4`.
    pub object: String,
    /// Why.
    pub why: String,
    /// In one revision when there are several.
    pub writes: Vec<Write>,
    /// Told to people once it is done.
    pub notes: Vec<Note>,
}

impl Deed {
    /// A single write.
    pub fn one(
        action: &'static str,
        object: impl Into<String>,
        why: impl Into<String>,
        write: Write,
    ) -> Self {
        Self::together(action, object, why, vec![write])
    }

    /// Several writes in one revision, or none of them.
    pub fn together(
        action: &'static str,
        object: impl Into<String>,
        why: impl Into<String>,
        writes: Vec<Write>,
    ) -> Self {
        Self { action, object: object.into(), why: why.into(), writes, notes: Vec::new() }
    }

    /// Tells people, once it is done.
    pub fn noting(mut self, notes: impl IntoIterator<Item = Note>) -> Self {
        self.notes.extend(notes);
        self
    }
}

/// Deeds that do not depend on each other: any part of them may have happened when the process dies.
pub type Wave = Vec<Deed>;

/// What one look at one key comes to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Work {
    /// In order: the next wave waits for all outcomes of the one before, and is not sent when one of them failed.
    pub waves: Vec<Wave>,
    /// Written last; none when it would change nothing.
    pub status: Option<Write>,
    /// Told to people once the status is written.
    pub notes: Vec<Note>,
    /// Look again then, even if nothing changes.
    pub wake_at: Option<Timestamp>,
}

impl Work {
    /// Nothing to do.
    pub fn none() -> Self {
        Self::default()
    }

    /// These waves, empty ones left out.
    pub fn waves(waves: impl IntoIterator<Item = Wave>) -> Self {
        let waves = waves.into_iter().filter(|wave| !wave.is_empty()).collect();
        Self { waves, ..Self::default() }
    }

    /// With a write of the status that says why.
    pub fn status(mut self, status: Option<Write>) -> Self {
        self.status = status;
        self
    }

    /// Tells people, once the status is written.
    pub fn noting(mut self, notes: impl IntoIterator<Item = Note>) -> Self {
        self.notes.extend(notes);
        self
    }

    /// Looks again at this time.
    pub fn wake_at(mut self, at: Option<Timestamp>) -> Self {
        self.wake_at = at;
        self
    }
}
