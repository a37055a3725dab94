//! When a world is settled: in the end, unless its test says why not, and whenever its test says.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::World;
use crate::history::{Settled, unsettled};
use crate::monotonic;
use crate::record::Follower;

/// How long a world may take to become what was asked for, once nothing is in its way: a pause between failures of a
/// Task and a node given up among the longest things that it may have to wait for.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often it is looked at.
const INTERVAL: Duration = Duration::from_millis(100);
/// At so many looks in a row everything must be done: what is undone again was never.
const STAYS: u32 = 3;
/// How much sooner a process is missed while there is time to look again: nanoseconds.
const EAGER: u64 = 2_000_000_000;

impl World {
    /// This world is not settled in the end, and need not be: `why`, for who reads the test.
    pub fn ends_in_mid_air(&mut self, why: &'static str) {
        self.mid_air = Some(why);
    }

    /// Waits until everything that was asked for is done. When it never is, the judge says what is missing.
    pub fn settles(&self) {
        self.settles_within(PATIENCE);
    }

    /// The same with less patience.
    pub fn settles_within(&self, patience: Duration) {
        let Some(recorder) = &self.recorder else { return };
        // What keeps it from that is told when the world ends, and the judge sees what is there.
        drop(recorder.catch_up());
        let end = Instant::now() + patience;
        let mut follower = Follower::default();
        let mut in_a_row = 0;
        loop {
            let at = monotonic::now();
            let processes = recorder.sightings();
            follower.follow(recorder.tape());
            let settled = Settled { rev: follower.rev(), at, probed: recorder.nodes() };
            // A process that was not seen just now may be gone: to say so the judge waits longer.
            let soon = Settled { at: at + EAGER, ..settled.clone() };
            let done = unsettled(follower.state(), &soon, &processes).is_empty();
            in_a_row = if done { in_a_row + 1 } else { 0 };
            if in_a_row == STAYS || Instant::now() > end {
                self.settled.lock().unwrap_or_else(PoisonError::into_inner).push(settled);
                return;
            }
            std::thread::park_timeout(INTERVAL);
        }
    }

    /// The moments at which it was.
    pub(super) fn settled_so_far(&self) -> Vec<Settled> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Settles before it is taken down, if its test lets it and something of it is there to be taken down.
    pub(super) fn settles_in_the_end(&self) {
        let in_force = self.faults.all().iter().any(|fault| fault.until.is_none());
        if self.mid_air.is_none() && !in_force && !self.parts.is_empty() {
            self.settles();
        }
    }
}
