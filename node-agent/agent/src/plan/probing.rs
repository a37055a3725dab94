//! A probe of a running container: when the next check is due, and what its results so far amount to.

use std::time::Duration;

use berth_types::Timestamp;

use crate::assignment::ProbePlan;

/// The first checks of a probe that was never good come this soon, doubled up to its period: a container that is
/// ready at once does not wait for a whole period.
const FIRST_PERIOD: Duration = Duration::from_millis(50);

/// One probe of one running container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probing {
    due: Timestamp,
    taken: Timestamp,
    in_flight: bool,
    good: Option<bool>,
    streak: Streak,
    early_checks: u32,
    last_failure: String,
}

/// Results in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Streak {
    good: bool,
    length: u32,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// As asked.
    Good,
    /// Not as asked, and how.
    Bad(String),
    /// A process outside the Task answered.
    PortHeld {
        /// On this port of the Task.
        port: u16,
        /// For a person.
        message: String,
    },
}

impl Probing {
    /// A probe of a container that started at `started`.
    pub fn since(started: Timestamp, plan: &ProbePlan) -> Self {
        Self {
            due: started.plus(plan.initial_delay),
            taken: started,
            in_flight: false,
            good: None,
            streak: Streak { good: false, length: 0 },
            early_checks: 0,
            last_failure: String::new(),
        }
    }

    /// When the next check is due; none while one is under way.
    pub fn due(&self) -> Option<Timestamp> {
        (!self.in_flight).then_some(self.due)
    }

    /// Takes the check that is due at `now`, if one is.
    pub fn take_due(&mut self, now: Timestamp) -> bool {
        if self.in_flight || now < self.due {
            return false;
        }
        self.in_flight = true;
        self.taken = now;
        true
    }

    fn wait(&self, plan: &ProbePlan) -> Duration {
        if self.good.is_some() || self.streak.good {
            return plan.period;
        }
        (FIRST_PERIOD * 2u32.pow(self.early_checks.min(16))).min(plan.period)
    }

    /// Counts a finding of the check under way.
    pub fn count(&mut self, plan: &ProbePlan, finding: Finding) {
        self.in_flight = false;
        let good = match finding {
            Finding::Good => true,
            Finding::Bad(how) | Finding::PortHeld { message: how, .. } => {
                self.last_failure = how;
                false
            }
        };
        // Early checks come faster than the period, so only those after them may turn a probe bad.
        let early = !good && self.wait(plan) < plan.period;
        let length = if self.streak.good == good { self.streak.length.saturating_add(1) } else { 1 };
        self.streak = Streak { good, length: if early { 0 } else { length } };
        let needed = if good { plan.successes } else { plan.failures };
        if !early && length >= needed {
            self.good = Some(good);
        }
        self.due = self.taken.plus(self.wait(plan));
        self.early_checks = self.early_checks.saturating_add(1);
    }

    /// Whether it is good, bad, or not known yet.
    pub fn good(&self) -> Option<bool> {
        self.good
    }

    /// What the last bad check found.
    pub fn last_failure(&self) -> &str {
        &self.last_failure
    }
}
