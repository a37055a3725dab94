//! Waiting for a state, never for a time: a wait that runs out says what it saw last.

use std::time::{Duration, Instant};

/// How often a state is looked at.
const INTERVAL: Duration = Duration::from_millis(50);

/// Looks until `look` says `Ok`, at most for `limit`.
///
/// # Panics
/// When the time is over: with `what` and the last thing that `look` saw instead.
pub fn eventually<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + limit;
    loop {
        let seen = match look() {
            Ok(reached) => return reached,
            Err(seen) => seen,
        };
        assert!(Instant::now() < end, "waited {limit:?} until {what}; last seen: {seen}");
        std::thread::park_timeout(INTERVAL);
    }
}

/// Looks for `time` and lets nothing but `Ok` pass.
///
/// # Panics
/// At the first `Err`, with what was seen.
pub fn always(what: &str, time: Duration, mut look: impl FnMut() -> Result<(), String>) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        if let Err(seen) = look() {
            panic!("expected all along that {what}; seen: {seen}");
        }
        std::thread::park_timeout(INTERVAL);
    }
}
