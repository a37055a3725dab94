//! The last events of one kind, bounded by bytes and by age: what a watch resumes from.

use std::collections::VecDeque;
use std::sync::Arc;

use berth_failpoint::seeded_bug;
use berth_store::{Rev, WriteId};
use berth_types::slack::Slack;
use bytes::Bytes;
use tokio::time::Instant;

use crate::cache::entry::Entry;
use crate::version::Version;

/// What happened to one object in one write.
#[derive(Debug)]
pub struct Event {
    /// The write.
    pub version: Version,
    /// The object before; none when it came to be.
    pub before: Option<Arc<Entry>>,
    /// The object now.
    pub now: Now,
}

/// The object after a write.
#[derive(Debug)]
pub enum Now {
    /// It is there.
    There(Arc<Entry>),
    /// It is gone: the bytes of its last state under the version of its removal.
    Gone(Bytes),
}

impl Event {
    /// The object, or what it was when it went.
    pub fn entry(&self) -> &Arc<Entry> {
        match (&self.now, &self.before) {
            (Now::There(entry), _) | (Now::Gone(_), Some(entry)) => entry,
            (Now::Gone(_), None) => unreachable!("what goes was there"),
        }
    }

    fn weight(&self) -> usize {
        let before = self.before.as_ref().map_or(0, |entry| entry.weight());
        match &self.now {
            Now::There(entry) => entry.weight() + before,
            Now::Gone(bytes) => bytes.len() + before,
        }
    }
}

/// Events of one kind, oldest first.
#[derive(Debug)]
pub struct Window {
    /// Each with when it came.
    events: VecDeque<(Instant, Arc<Event>)>,
    weight: usize,
    most: usize,
    /// Every event after this version is in the window.
    complete_after: Version,
}

impl Window {
    /// An empty window that keeps at most `most` bytes of what happens after `start`.
    pub fn new(most: usize, start: Version) -> Self {
        Self { events: VecDeque::new(), weight: 0, most, complete_after: start }
    }

    /// Adds the newest event, and lets go of the oldest ones that no longer fit.
    pub fn push(&mut self, event: Arc<Event>) {
        self.weight += event.weight();
        self.events.push_back((Instant::now(), event));
        while self.weight > self.most && self.drop_oldest() {}
    }

    /// Lets go of at most `most` events that came before `then`; whether there may be more of them.
    pub fn drop_before(&mut self, then: Instant, most: usize) -> bool {
        let old = self.events.iter().take(most).take_while(|(came, _)| *came < then).count();
        for _ in 0..old {
            self.drop_oldest();
        }
        self.events.give_back();
        old == most
    }

    fn drop_oldest(&mut self) -> bool {
        let Some((_, oldest)) = self.events.pop_front() else { return false };
        self.weight -= oldest.weight();
        self.complete_after = oldest.version;
        true
    }

    /// All events after `version`, oldest first; none when some of them are no longer here.
    pub fn after(&self, version: Version) -> Option<impl Iterator<Item = &Arc<Event>>> {
        if version < self.complete_after && !seeded_bug("watch-resumes-after-a-gap") {
            return None;
        }
        if seeded_bug("watch-repeats-on-resuming") {
            let first = self.events.partition_point(|(_, event)| event.version.rev() < version.rev());
            return Some(self.from(first));
        }
        let first = self.events.partition_point(|(_, event)| event.version <= version);
        Some(self.from(first))
    }

    /// Whether the window shows everything that happened after `rev`.
    pub fn shows_after(&self, rev: Rev) -> bool {
        self.complete_after <= Version::all_of(rev)
    }

    fn from(&self, first: usize) -> impl Iterator<Item = &Arc<Event>> {
        self.events.range(first..).map(|(_, event)| event)
    }

    /// The version in which the object of a uid was removed from `path`; none when the window does not show that.
    pub fn removed(&self, path: &str, uid: &str) -> Option<Version> {
        let removal = self.events.iter().rev().map(|(_, event)| event).find(|event| {
            let entry = event.entry();
            matches!(event.now, Now::Gone(_)) && *entry.path == *path && *entry.uid == *uid
        });
        removal.map(|event| event.version)
    }

    /// The object at `path` as a group wrote it; none when the window does not show that.
    pub fn written_by(&self, path: &str, write_id: WriteId) -> Option<&Arc<Entry>> {
        self.events.iter().rev().find_map(|(_, event)| match &event.now {
            Now::There(entry) => (*entry.path == *path && entry.write_id == write_id).then_some(entry),
            Now::Gone(_) => None,
        })
    }
}
