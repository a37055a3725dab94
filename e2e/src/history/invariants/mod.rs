//! One file for each promise. An invariant sees each revision with the store before it, keeps what it needs to judge
//! the next one, and works in proportion to what changed.

use super::evidence::Run;
use super::state::Revision;
use super::violation::Breach;

/// One promise.
pub trait Invariant {
    /// Its name in violations, as `I1 room`.
    fn name(&self) -> &'static str;

    /// Looks at one revision.
    fn on_revision(&mut self, seen: &Revision<'_>, broken: &mut Vec<Breach>);

    /// Looks back when the run is over.
    fn finish(&mut self, _broken: &mut Vec<Breach>) {}
}

/// All of them, for a run with this evidence beside its events.
pub fn all(_run: &Run) -> Vec<Box<dyn Invariant>> {
    Vec::new()
}
