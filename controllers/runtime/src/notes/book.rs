//! What was told and what of it is written: when the next write is due. Without clock or network.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_types::core::{Event, EventSource};
use berth_types::{ObjectMeta, Timestamp};
use sha2::{Digest, Sha256};

use super::{Note, Weight};

/// Notes kept in mind, written or not: of a burst, what would be written after more than 100 s is dropped.
const KEPT: usize = 500;
/// A note that repeats is written again no sooner than this.
const REPEATED: Duration = Duration::from_secs(10);
/// A note is forgotten when it did not repeat for so long; if it does later, its Event is read first.
const FORGOTTEN: Duration = Duration::from_secs(120);
/// Writes that may be made at once,
const BURST: u32 = 50;
/// and the time in which one more may be made.
const REFILL: Duration = Duration::from_millis(200);
/// Bytes of a message, within what an Event may have.
const MESSAGE: usize = 1000;
/// Bytes of the object's name in an Event's name.
const NAME: usize = 200;

/// The notes of one writer.
#[derive(Debug)]
pub struct Book {
    source: EventSource,
    entries: BTreeMap<String, Entry>,
    /// Writes that may be made now.
    allowed: u32,
    refilled: Timestamp,
}

#[derive(Debug)]
struct Entry {
    event: Event,
    /// Times told since the last write.
    unsaid: u32,
    /// When it was written last; none when it never was by us.
    written: Option<Timestamp>,
}

/// One Event to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Name of the Event.
    pub name: String,
    /// As it is to be made, when it is new.
    pub event: Event,
    /// How many times more it happened.
    pub more: u32,
    /// Whether an Event of this name is expected to be there.
    pub expected: Expected,
}

/// What a writer knows of an Event's presence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Never written by this writer.
    Absent,
    /// Written by this writer, which then counted so many.
    Counting(u32),
}

impl Book {
    /// An empty book of this source.
    pub fn new(source: EventSource) -> Self {
        Self { source, entries: BTreeMap::new(), allowed: BURST, refilled: Timestamp::from_millis(0) }
    }

    /// Takes a note in; drops it when there are too many others.
    pub fn note(&mut self, note: Note, now: Timestamp) {
        let name = name(&note);
        if let Some(entry) = self.entries.get_mut(&name) {
            entry.unsaid += 1;
            entry.event.last_timestamp = Some(now);
            return;
        }
        if self.entries.len() >= KEPT {
            let needed =
                |entry: &Entry| entry.unsaid > 0 || entry.written.is_some_and(|at| now.since(at) < REPEATED);
            self.entries.retain(|_, entry| needed(entry));
        }
        if self.entries.len() < KEPT {
            let event = self.event(&name, note, now);
            self.entries.insert(name, Entry { event, unsaid: 1, written: None });
        }
    }

    fn event(&self, name: &str, note: Note, now: Timestamp) -> Event {
        let namespace = match note.about.namespace.as_str() {
            "" => "default",
            namespace => namespace,
        };
        Event {
            metadata: ObjectMeta::named(namespace, name),
            reason: note.reason,
            message: cut(note.message, MESSAGE),
            type_: match note.weight {
                Weight::Normal => "Normal".into(),
                Weight::Warning => "Warning".into(),
            },
            count: 0,
            first_timestamp: Some(now),
            last_timestamp: Some(now),
            source: self.source.clone(),
            involved_object: note.about,
            ..Event::default()
        }
    }

    /// The Event to be written now, if one is due and the rate allows it.
    pub fn take_due(&mut self, now: Timestamp) -> Option<Page> {
        self.refill(now);
        self.entries
            .retain(|_, entry| entry.unsaid > 0 || entry.written.is_none_or(|at| now.since(at) < FORGOTTEN));
        if self.allowed == 0 {
            return None;
        }
        let due = |entry: &Entry| entry.due().filter(|at| *at <= now);
        let (name, entry) = self
            .entries
            .iter_mut()
            .filter(|(_, entry)| due(entry).is_some())
            .min_by_key(|(_, entry)| entry.due())?;
        self.allowed -= 1;
        let more = std::mem::take(&mut entry.unsaid);
        let expected = match entry.written {
            None => Expected::Absent,
            Some(_) => Expected::Counting(entry.event.count),
        };
        let event = Event { count: more, ..entry.event.clone() };
        Some(Page { name: name.clone(), event, more, expected })
    }

    /// Takes in what became of a page: the count its Event has now, or none when it could not be written.
    pub fn written(&mut self, name: &str, count: Option<u32>, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        match count {
            Some(count) => {
                entry.event.count = count;
                entry.written = Some(now);
            }
            // Nobody waits for it: a note that cannot be written is lost.
            None if entry.written.is_none() && entry.unsaid == 0 => {
                self.entries.remove(name);
            }
            None => {}
        }
    }

    /// When there may be something to write, or to forget.
    pub fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let due = self.entries.values().filter_map(Entry::due).min();
        let due = if self.allowed > 0 { due } else { due.map(|at| at.max(now.plus(REFILL))) };
        let said = self.entries.values().filter(|entry| entry.unsaid == 0);
        let forgotten = said.filter_map(|entry| Some(entry.written?.plus(FORGOTTEN))).min();
        due.into_iter().chain(forgotten).min()
    }

    /// How many notes are kept in mind.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.entries.len()
    }

    fn refill(&mut self, now: Timestamp) {
        let passed = now.since(self.refilled).as_millis() / REFILL.as_millis();
        if passed > 0 {
            let more = u32::try_from(passed).unwrap_or(u32::MAX);
            self.allowed = self.allowed.saturating_add(more).min(BURST);
            self.refilled = now;
        }
    }
}

impl Entry {
    /// When it is to be written; none when nothing is unsaid.
    fn due(&self) -> Option<Timestamp> {
        if self.unsaid == 0 {
            return None;
        }
        let first = self.event.first_timestamp.unwrap_or(Timestamp::from_millis(0));
        Some(self.written.map_or(first, |at| at.plus(REPEATED)))
    }
}

/// Computed from the object's uid, the reason and the message: who tells the same again, after a restart too, finds the
/// Event that is there.
fn name(note: &Note) -> String {
    let mut hash = Sha256::new();
    for part in [&note.about.uid, &note.reason, &note.message] {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let object = cut(note.about.name.clone(), NAME);
    format!("{}.{hex}", object.trim_end_matches(['.', '-']))
}

/// The text, at most so many bytes of it.
fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}
