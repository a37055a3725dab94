//! Time that never goes back: waits and windows of a plan must not follow a clock that somebody sets.

use std::time::Instant;

use berth_types::{Clock, SystemClock, Timestamp};

/// The wall clock at the start, and what passed since.
#[derive(Debug, Clone, Copy)]
pub struct SteadyClock {
    began: Instant,
    wall: Timestamp,
}

impl SteadyClock {
    /// A clock that begins now.
    pub fn start() -> Self {
        Self { began: Instant::now(), wall: SystemClock.now() }
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        self.wall.plus(self.began.elapsed())
    }
}
