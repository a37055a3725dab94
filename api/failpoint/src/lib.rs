//! Named places between two steps, where a test ends, stops, slows or fails the process that reaches them, and
//! deliberate defects that prove the tests' own eyes. Only test builds (with debug assertions) have any of it: in a
//! release build each call is nothing.
//!
//! `BERTH_FAILPOINTS` names a file of lines `PLACE ACTION [NTH]`. ACTION is `kill` (SIGKILL to itself), `stop`
//! (SIGSTOP to itself), `fail` or `sleep:MILLISECONDS`; NTH counts the hits since the line appeared, 1 when left out,
//! `3+` from the third on. The file is read again when it is replaced, so a running process can be armed.
//! `BERTH_FAILPOINT_HITS` names a folder in which each process counts its hits; the counts outlive a kill.
//! `BERTH_SEEDED_BUG` names the defect that is on, or several with commas: where one protection stands behind another,
//! both must be out before anything goes wrong.

#[cfg(debug_assertions)]
mod armed;
#[cfg(debug_assertions)]
mod hits;
mod names;
#[cfg(debug_assertions)]
mod process;

pub use names::{PLACES, SEEDED_BUGS};

/// A place was reached: the hit is counted, and what is armed here happens.
///
/// # Panics
/// When `place` is not among `PLACES`, in test builds.
#[inline(always)]
pub fn reach(place: &'static str) {
    // A `fail` armed where nothing can fail would be a test that tests nothing.
    assert!(!fails(place), "`fail` is armed at {place}, where nothing can fail");
}

/// A place was reached where a step can be made to fail: whether it must pretend that it did.
///
/// # Panics
/// When `place` is not among `PLACES`, in test builds.
#[inline(always)]
#[must_use]
pub fn fails(place: &'static str) -> bool {
    #[cfg(debug_assertions)]
    return process::reached(place);
    #[cfg(not(debug_assertions))]
    {
        let _ = place;
        false
    }
}

/// Whether the deliberate defect `name` is on.
///
/// # Panics
/// When `name` is not among `SEEDED_BUGS`, in test builds.
#[inline(always)]
#[must_use]
pub fn seeded_bug(name: &'static str) -> bool {
    #[cfg(debug_assertions)]
    return process::has_bug(name);
    #[cfg(not(debug_assertions))]
    {
        let _ = name;
        false
    }
}
