//! How an invariant is tried: a good history passes, and each way of breaking it gives what is expected, with its
//! witness.

use std::fmt::Write;

use expect_test::Expect;

use crate::history::evidence::Run;
use crate::history::judge::{Judge, judge};
use crate::history::log::Event;
use crate::history::story::Story;
use crate::history::violation::Violation;
use crate::history::witness::explain;

/// A promise, a beginning that keeps it, and what was found so far of ways to break it.
pub struct Trial {
    invariant: &'static str,
    before: fn() -> Story,
    forced: Vec<String>,
    found: String,
}

impl Trial {
    /// The promise of this name, after this beginning.
    pub fn of(invariant: &'static str, before: fn() -> Story) -> Self {
        Self { invariant, before, forced: Vec::new(), found: String::new() }
    }

    /// The story's controllers act without Leases.
    pub fn forcing(mut self, controllers: &[&str]) -> Self {
        self.forced = controllers.iter().map(ToString::to_string).collect();
        self
    }

    /// What keeps every promise.
    pub fn keeps(self, tell: impl FnOnce(&mut Story) -> &mut Story) -> Self {
        let mut story = (self.before)();
        tell(&mut story);
        let run = Run { events: story.events(), forced: self.forced.clone(), ..Run::default() };
        let violations = judge(&run);
        assert!(violations.is_empty(), "{}", violations[0]);
        self
    }

    /// A way to break the promise.
    pub fn breaks(self, name: &str, tell: impl FnOnce(&mut Story) -> &mut Story) -> Self {
        let mut story = (self.before)();
        tell(&mut story);
        self.breaks_log(name, story.events(), |_| {})
    }

    /// A log that breaks the promise.
    pub fn breaks_log(self, name: &str, mut events: Vec<Event>, spoil: impl FnOnce(&mut Vec<Event>)) -> Self {
        spoil(&mut events);
        self.breaks_run(name, &Run { events, ..Run::default() })
    }

    /// A run that breaks the promise.
    pub fn breaks_run(mut self, name: &str, run: &Run) -> Self {
        let violations = self.violations(run);
        assert!(!violations.is_empty(), "{name}: nothing is found");
        writeln!(self.found, "{name}").unwrap();
        for Violation { rev, what, witness, .. } in violations {
            let shown: Vec<String> = witness.iter().map(|step| step.event.rev.to_string()).collect();
            writeln!(self.found, "  {rev}: {what} (shown by {})", shown.join(" ")).unwrap();
        }
        self
    }

    fn violations(&self, run: &Run) -> Vec<Violation> {
        let mut judge = Judge::new(super::named(self.invariant, run));
        run.events.iter().for_each(|event| judge.on_event(event.clone()));
        judge.finish().into_iter().map(|(name, breach)| explain(run, name, breach)).collect()
    }

    /// Compares all that was found.
    pub fn shows(self, expected: Expect) {
        expected.assert_eq(&self.found);
    }
}
