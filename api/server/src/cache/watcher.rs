//! Fan-out: each watcher has a bounded queue. Whoever lets it run over loses its own stream, nobody else's.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use berth_failpoint::seeded_bug;
use berth_proto::v1::watch_event::Type;
use bytes::Bytes;
use tokio::sync::Notify;

use crate::cache::window::{Event, Now};
use crate::selection::Selection;
use crate::version::Version;

/// Events that may wait for one watcher.
const MOST_EVENTS: usize = 20_000;
/// Bytes that may wait for one watcher.
const MOST_BYTES: usize = 32 << 20;

/// What one watcher is told of one event.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The write.
    pub version: Version,
    /// What it is to this watcher's selection.
    pub kind: Type,
    /// The object.
    pub json: Bytes,
}

impl Delivery {
    /// What an event is to a selection: an object that enters it is added, one that leaves it is deleted.
    pub fn of(event: &Event, selection: &Selection) -> Option<Self> {
        let before = event.before.as_ref().filter(|entry| selection.takes(entry));
        let (kind, json) = match &event.now {
            Now::There(now) if selection.takes(now) => {
                let kind = if before.is_some() { Type::Modified } else { Type::Added };
                (kind, now.served.json().clone())
            }
            Now::There(_) if seeded_bug("watch-keeps-who-left") => return None,
            Now::There(_) => (Type::Deleted, before?.served.at(event.version)),
            Now::Gone(bytes) => {
                before?;
                (Type::Deleted, bytes.clone())
            }
        };
        Some(Self { version: event.version, kind, json })
    }
}

/// What waits for one watcher.
#[derive(Debug)]
pub struct Queue {
    selection: Selection,
    waiting: Mutex<Waiting>,
    /// Rung when something was put in.
    pub bell: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    deliveries: VecDeque<Delivery>,
    bytes: usize,
    cut: Option<Cut>,
}

/// Why a watcher was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// It did not take its events in time.
    Slow,
    /// The server lost track of the store.
    Rebuilt,
}

impl Queue {
    fn offer(&self, event: &Event) {
        let Some(delivery) = Delivery::of(event, &self.selection) else { return };
        if seeded_bug("watch-drops-an-event") && event.version.rev() % 10 == 0 {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.cut.is_some() {
            return;
        }
        waiting.bytes += delivery.json.len();
        waiting.deliveries.push_back(delivery);
        if waiting.deliveries.len() > MOST_EVENTS || waiting.bytes > MOST_BYTES {
            *waiting = Waiting { cut: Some(Cut::Slow), ..Waiting::default() };
        }
        self.bell.notify_one();
    }

    fn cut(&self, why: Cut) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting = Waiting { cut: Some(why), ..Waiting::default() };
        self.bell.notify_one();
    }

    /// Everything that waits, oldest first.
    pub fn take(&self) -> Result<VecDeque<Delivery>, Cut> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.bytes = 0;
        match waiting.cut {
            Some(why) => Err(why),
            None => Ok(std::mem::take(&mut waiting.deliveries)),
        }
    }
}

/// The watchers of one kind.
#[derive(Debug, Default)]
pub struct Watchers {
    next: u64,
    broad: HashMap<u64, Arc<Queue>>,
    /// By the value of the hot field that they ask for.
    narrow: HashMap<Box<str>, HashMap<u64, Arc<Queue>>>,
}

impl Watchers {
    /// Adds a watcher; `hot` is the value of the hot field that it asks for.
    pub fn add(&mut self, selection: Selection, hot: Option<&str>) -> (u64, Arc<Queue>) {
        let queue = Arc::new(Queue { selection, waiting: Mutex::default(), bell: Notify::new() });
        self.next += 1;
        let set = match hot {
            Some(value) => self.narrow.entry(value.into()).or_default(),
            None => &mut self.broad,
        };
        set.insert(self.next, queue.clone());
        (self.next, queue)
    }

    /// Forgets a watcher.
    pub fn remove(&mut self, id: u64, hot: Option<&str>) {
        let Some(value) = hot else {
            self.broad.remove(&id);
            return;
        };
        let Some(set) = self.narrow.get_mut(value) else { return };
        set.remove(&id);
        if set.is_empty() {
            self.narrow.remove(value);
        }
    }

    /// Tells everybody whom an event concerns.
    pub fn tell(&self, event: &Event, hot_field: Option<usize>) {
        for queue in self.broad.values() {
            queue.offer(event);
        }
        let Some(hot) = hot_field else { return };
        let value_before = event.before.as_ref().map(|entry| &entry.fields[hot]);
        let value_now = match &event.now {
            Now::There(entry) => Some(&entry.fields[hot]),
            Now::Gone(_) => None,
        };
        let moved = value_before.filter(|before| Some(*before) != value_now);
        for value in value_now.into_iter().chain(moved) {
            for queue in self.narrow.get(value).into_iter().flat_map(HashMap::values) {
                queue.offer(event);
            }
        }
    }

    /// Ends every stream. Numbers go on, so that who leaves late takes nobody else's place away.
    pub fn after_all_are_cut(self, why: Cut) -> Self {
        for queue in self.broad.values().chain(self.narrow.values().flat_map(HashMap::values)) {
            queue.cut(why);
        }
        Self { next: self.next, ..Self::default() }
    }
}
