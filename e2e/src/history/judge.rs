//! Runs every invariant over a history, in one pass, as it goes on or afterwards.

use super::evidence::Run;
use super::invariants::{self, Invariant};
use super::log::Event;
use super::state::{Change, Object, Revision, State};
use super::violation::{Breach, Violation};

/// All violations of a run, in the order of their revisions.
pub fn judge(run: &Run) -> Vec<Violation> {
    let mut judge = Judge::new(invariants::all(run));
    run.events.iter().for_each(|event| judge.on_event(event.clone()));
    let broken = judge.finish();
    broken
        .into_iter()
        .map(|(invariant, breach)| Violation {
            invariant,
            rev: breach.rev,
            what: breach.what,
            witness: Vec::new(),
            faults: Vec::new(),
            seed: run.seed,
        })
        .collect()
}

/// Judges a history while it goes on.
pub struct Judge {
    invariants: Vec<Box<dyn Invariant>>,
    state: State,
    pending: Vec<Event>,
    broken: Vec<(&'static str, Breach)>,
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
    pub fn broken(&self) -> &[(&'static str, Breach)] {
        &self.broken
    }

    /// The run is over: judges the last revision, and looks back.
    pub fn finish(mut self) -> Vec<(&'static str, Breach)> {
        self.close();
        for invariant in &mut self.invariants {
            let mut broken = Vec::new();
            invariant.finish(&mut broken);
            self.broken.extend(broken.into_iter().map(|breach| (invariant.name(), breach)));
        }
        self.broken.sort_by_key(|(_, breach)| breach.rev);
        self.broken
    }

    fn close(&mut self) {
        let Some(first) = self.pending.first() else { return };
        let (rev, at) = (first.rev, first.at);
        let objects: Vec<_> = self.pending.drain(..).map(Object::of).collect();
        let changes: Vec<_> = objects
            .iter()
            .map(|(key, now)| Change { key, was: self.state.get(key), now: now.as_ref() })
            .collect();
        let seen = Revision { rev, at, before: &self.state, changes: &changes };
        for invariant in &mut self.invariants {
            let mut broken = Vec::new();
            invariant.on_revision(&seen, &mut broken);
            self.broken.extend(broken.into_iter().map(|breach| (invariant.name(), breach)));
        }
        for (key, now) in objects {
            self.state.apply(key, now);
        }
    }
}
