//! What a run of kills did last: told when a check fails, for the panic speaks of the state alone.

use berth_e2e::soak::{self, Counted};

/// The kills so far.
#[derive(Debug, Default)]
pub struct Story {
    kills: usize,
    last: String,
}

impl Story {
    /// One more kill fell at `place`.
    pub fn killed(&mut self, place: impl Into<String>) {
        self.kills += 1;
        self.last = place.into();
        soak::tally(Counted::Faults, 1);
    }

    /// How many fell.
    pub fn kills(&self) -> usize {
        self.kills
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- kill {} fell at {}; seed {} ---", self.kills, self.last, soak::seed());
        }
    }
}
