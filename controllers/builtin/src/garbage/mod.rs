//! Garbage: deletes what nobody needs any more.
//! Reads every kind. Deletes dependents without owners, old finished Tasks and Events, what is in a dying Namespace;
//! takes off the finalizers of Namespaces that are empty and of Tasks whose Node is gone. Wakes on any change.
//! Promises: nothing is deleted for want of an owner that the server still knows. Safe to kill at any point.
//! Leaves alone: old Revisions of an App that is there (app), and what stops a Task (node agent).

mod ages;
mod due;
mod execute;
mod observed;
mod plan;

use berth_client::Client;
use berth_runtime::{Delta, StepController, Stepper};
use berth_types::{Resource, Timestamp};

use crate::caches::Caches;
use execute::Hands;
use observed::Item;
use plan::{Action, Event, State, step};

pub use plan::Limits;

/// The collector's name, in logs, as manager of fields and as its Lease.
pub const NAME: &str = "garbage-collector";

/// Actions that are sent together.
const BATCH: usize = 100;

/// The collector, and what it is about to have done.
pub struct Collector {
    state: State,
    pending: Vec<Action>,
    begun: Begun,
}

/// Whether the first whole state of every cache was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    NotYet,
    Yes,
}

/// The collector over these caches.
pub fn controller(client: Client, caches: &Caches, limits: Limits) -> StepController<Collector> {
    let begin = move || Collector { state: State::new(limits), pending: Vec::new(), begun: Begun::NotYet };
    StepController::new(NAME, client, begin, Hands)
        .feeds(&caches.namespaces(), |change| Some(event(&change, Item::plain)))
        .feeds(&caches.nodes(), |change| Some(event(&change, Item::plain)))
        .feeds(&caches.apps(), |change| Some(event(&change, Item::plain)))
        .feeds(&caches.revisions().all, |change| Some(event(&change, Item::plain)))
        .feeds(&caches.tasks().all, |change| Some(event(&change, Item::task)))
        .feeds(&caches.events(), |change| Some(event(&change, Item::event)))
        .feeds(&caches.leases(), |change| Some(event(&change, Item::plain)))
}

fn event<K: Resource>(change: &Delta<K>, read: fn(&K) -> Item) -> Event {
    match change {
        Delta::Modified { old, new } if old.meta().uid != new.meta().uid => {
            Event::Replaced(read(old).identity(), Box::new(read(new)))
        }
        Delta::Added(object) | Delta::Modified { new: object, .. } => Event::Seen(Box::new(read(object))),
        Delta::Deleted(object) => Event::Gone(read(object).identity()),
    }
}

impl Stepper for Collector {
    type Event = Event;
    type Action = Vec<Action>;

    fn step(&mut self, event: Event, now: Timestamp) -> Vec<Vec<Action>> {
        self.pending.extend(step(&mut self.state, event, now));
        Vec::new()
    }

    fn rest(&mut self, now: Timestamp) -> Vec<Vec<Action>> {
        if self.begun == Begun::NotYet {
            self.begun = Begun::Yes;
            self.pending.extend(step(&mut self.state, Event::Synced, now));
        }
        self.pending.extend(step(&mut self.state, Event::Tick, now));
        let pending = std::mem::take(&mut self.pending);
        pending.chunks(BATCH).map(<[Action]>::to_vec).collect()
    }

    fn wake_at(&self) -> Option<Timestamp> {
        self.state.next_due()
    }
}
