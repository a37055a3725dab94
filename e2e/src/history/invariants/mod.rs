//! One file for each promise. An invariant sees each revision with the store before it, keeps what it needs to judge
//! the next one, and works in proportion to what changed.

mod answers;
mod binding;
mod fences;
mod going;
mod placing;
mod processes;
mod rollouts;
mod room;
mod settled;
mod versions;
mod watches;
mod whole;

#[cfg(test)]
mod trial;

use super::evidence::Run;
use super::state::{Revision, State};
use super::violation::Breach;

pub use settled::unsettled;

/// One promise.
pub trait Invariant {
    /// Its name in violations, as `I1 room`.
    fn name(&self) -> &'static str;

    /// Looks at one revision.
    fn on_revision(&mut self, seen: &Revision<'_>, broken: &mut Vec<Breach>);

    /// Looks back when the run is over, at what the store holds then.
    fn finish(&mut self, _last: &State, _broken: &mut Vec<Breach>) {}
}

/// All of them, for a run with this evidence beside its events.
pub fn all(run: &Run) -> Vec<Box<dyn Invariant>> {
    let mut all: Vec<Box<dyn Invariant>> = vec![
        Box::new(whole::Whole::default()),
        Box::new(room::Room::default()),
        Box::new(placing::Placing),
        Box::new(rollouts::Rollouts::default()),
        Box::new(binding::Binding),
        Box::new(processes::Processes::new(&run.processes)),
        Box::new(fences::Fences::of(run)),
        Box::new(going::Going::default()),
        Box::new(versions::Versions::default()),
        Box::new(answers::Answers::of(run)),
        Box::new(watches::Watches::of(run)),
    ];
    all.extend(settled::AtRest::of(run).map(|promise| Box::new(promise) as Box<dyn Invariant>));
    all
}

/// The one of this name, as it is before the first revision.
pub fn named(name: &str, run: &Run) -> Vec<Box<dyn Invariant>> {
    all(run).into_iter().filter(|invariant| invariant.name() == name).collect()
}
