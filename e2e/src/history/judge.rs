//! Runs every invariant over a history, in one pass, as it goes on or afterwards.

use std::collections::HashMap;

use super::evidence::Run;
use super::invariants::{self, Invariant};
use super::key::Key;
use super::log::Event;
use super::object::Object;
use super::state::{Change, Revision, State};
use super::violation::{Breach, Violation};
use super::witness;

/// The most violations of one invariant that are explained: each more would say the same.
const MOST: usize = 5;

/// The violations of a run in the order of their revisions, each with its witness; of one invariant the first few.
pub fn judge(run: &Run) -> Vec<Violation> {
    let mut judge = Judge::new(invariants::all(run));
    run.events.iter().for_each(|event| judge.on_event(event.clone()));
    let mut told: HashMap<&str, usize> = HashMap::new();
    let mut broken = judge.finish();
    broken.retain(|(invariant, _)| {
        let count = told.entry(invariant).or_default();
        *count += 1;
        *count <= MOST
    });
    broken.into_iter().map(|(invariant, breach)| witness::explain(run, invariant, breach)).collect()
}

/// What was found: the invariant's name, and what broke it.
pub type Found = (&'static str, Breach);

/// Judges a history while it goes on.
pub struct Judge {
    invariants: Vec<Box<dyn Invariant>>,
    state: State,
    pending: Vec<Event>,
    broken: Vec<Found>,
}

impl Judge {
    /// A judge of these invariants, before the first revision.
    pub fn new(invariants: Vec<Box<dyn Invariant>>) -> Self {
        Self { invariants, state: State::default(), pending: Vec::new(), broken: Vec::new() }
    }

    /// Takes the next event. A revision is judged once an event of the next one comes.
    pub fn on_event(&mut self, event: Event) {
        if self.pending.first().is_some_and(|first| first.rev != event.rev) {
            self.close();
        }
        self.pending.push(event);
    }

    /// What was found so far.
    pub fn broken(&self) -> &[Found] {
        &self.broken
    }

    /// The run is over: judges the last revision, and looks back.
    pub fn finish(mut self) -> Vec<Found> {
        self.close();
        for invariant in &mut self.invariants {
            let mut broken = Vec::new();
            invariant.finish(&self.state, &mut broken);
            self.broken.extend(broken.into_iter().map(|breach| (invariant.name(), breach)));
        }
        self.broken.sort_by_key(|(_, breach)| breach.rev);
        self.broken
    }

    fn close(&mut self) {
        let Some(first) = self.pending.first() else { return };
        let (rev, at) = (first.rev, first.at);
        let state = &self.state;
        let read = |event: Event| {
            let was = state.get(&event.key);
            Object::of(event, was)
        };
        let objects: Vec<_> = self.pending.drain(..).map(read).collect();
        let mut changes: Vec<_> = objects
            .iter()
            .map(|(key, now)| Change { key, about: Key::read(key), was: state.get(key), now: now.as_ref() })
            .collect();
        changes.sort_by_key(|change| change.key);
        let seen = Revision { rev, at, before: state, changes: &changes };
        let mut broken = Vec::new();
        for invariant in &mut self.invariants {
            invariant.on_revision(&seen, &mut broken);
            self.broken.extend(broken.drain(..).map(|breach| (invariant.name(), breach)));
        }
        for (key, now) in objects {
            self.state.apply(key, now);
        }
    }
}
