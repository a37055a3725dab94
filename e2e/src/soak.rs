//! How much is tested, and what a soak counts: little and fast by default, more under `.ci/soak`.
//!
//! `BERTH_SOAK` (its round) raises the counts and takes every duration in full, `BERTH_SEED` is where chance begins,
//! `BERTH_TALLY` names the file that the soak's table is made from: JSON lines, appended while the tests run, so that
//! a soak that is cut short still has its table. `BERTH_SOAK_UNTIL` is when it is over: what runs then is cut short.

use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::hits::Hits;

/// The environment variable that names the file of the tally.
pub const TALLY: &str = "BERTH_TALLY";

/// What the soak's table adds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Faults injected: kills, pauses, cuts, full disks.
    Faults,
    /// Events of the store's history that the checker judged.
    Events,
    /// Operations whose answers were compared with what must hold.
    Operations,
}

impl Counted {
    fn name(self) -> &'static str {
        match self {
            Self::Faults => "faults",
            Self::Events => "events",
            Self::Operations => "operations",
        }
    }
}

/// What a run in CI shortens its durations by; a set of configuration for it lies beside the scenarios.
const PACE: u32 = 5;

/// What runs now: a process runs one scenario at a time, on several threads.
static SCENARIO: Mutex<String> = Mutex::new(String::new());

/// Whether this run has the time for large counts and full durations.
pub fn soaking() -> bool {
    std::env::var_os("BERTH_SOAK").is_some()
}

/// How many times: `ci` in a run that must end soon, `soak` in a soak.
pub fn counts(ci: usize, soak: usize) -> usize {
    if soaking() { soak } else { ci }
}

/// How long: a fifth of `full`, all of it in a soak.
pub fn paced(full: Duration) -> Duration {
    if soaking() { full } else { full / PACE }
}

/// What is said of a test that is cut short; `.ci/soak` reads it.
pub const CUT: &str = "cut short: the soak is over";

/// How long the soak that this run is of goes on; `None` when it has no end.
///
/// # Panics
/// When `BERTH_SOAK_UNTIL` is not a number of seconds since 1970.
pub fn time_left() -> Option<Duration> {
    let text = std::env::var("BERTH_SOAK_UNTIL").ok()?;
    let until = text.parse().unwrap_or_else(|_| panic!("BERTH_SOAK_UNTIL is no number of seconds: {text}"));
    Some(Duration::from_secs(until).saturating_sub(since_1970()))
}

/// Where chance begins.
///
/// # Panics
/// When `BERTH_SEED` is no number: another seed than the one that was asked for shows nothing.
pub fn seed() -> u64 {
    match std::env::var("BERTH_SEED") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("BERTH_SEED is no number: {text}")),
        Err(_) => 1,
    }
}

/// Adds to what the soak's table says of the scenario that runs.
pub fn tally(counted: Counted, count: usize) {
    append(&json!({ "scenario": running(), "counted": counted.name(), "count": count }));
}

/// The scenario that runs; empty outside of one.
pub fn running() -> String {
    SCENARIO.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Adds hits of a failpoint to the soak's table.
pub fn tally_hits(place: &str, count: u64) {
    append(&json!({ "place": place, "counted": "hits", "count": count }));
}

/// The hits of failpoints that a tally tells of after its first `from` bytes, added up.
pub fn hits_told(tally: &Path, from: usize) -> std::io::Result<Hits> {
    let text = std::fs::read_to_string(tally)?;
    let mut hits = Hits::new();
    for line in text.get(from..).unwrap_or_default().lines() {
        let told: Value = serde_json::from_str(line)?;
        if let (Some(place), Some(count)) = (told["place"].as_str(), told["count"].as_u64()) {
            *hits.entry(place.into()).or_default() += count;
        }
    }
    Ok(hits)
}

/// Runs one scenario under its name in the table.
pub fn scenario(name: &str, run: impl FnOnce()) {
    *SCENARIO.lock().unwrap_or_else(PoisonError::into_inner) = name.to_string();
    let start = Instant::now();
    append(&json!({ "scenario": name, "counted": "begun", "count": 1 }));
    let ended = catch_unwind(AssertUnwindSafe(run));
    let (how, seconds) = (if ended.is_ok() { "passed" } else { "failed" }, start.elapsed().as_secs());
    append(&json!({
        "scenario": name, "counted": how, "count": 1, "seed": seed(), "seconds": seconds, "ended": unix_time()
    }));
    if let Err(panic) = ended {
        resume_unwind(panic);
    }
}

/// Seconds since 1970, for the table's reader.
fn unix_time() -> u64 {
    since_1970().as_secs()
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Several processes write one file: a line is one write.
fn append(line: &Value) {
    let Some(path) = std::env::var_os(TALLY) else { return };
    let file = File::options().create(true).append(true).open(path);
    file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())).expect("the tally is writable");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_that_a_run_told_are_added_up_and_no_others() {
        let before = json!({ "place": "a", "counted": "hits", "count": 9 }).to_string() + "\n";
        let lines = [
            json!({ "place": "a", "counted": "hits", "count": 2 }),
            json!({ "scenario": "s", "counted": "passed", "count": 1 }),
            json!({ "place": "b", "counted": "hits", "count": 1 }),
            json!({ "place": "a", "counted": "hits", "count": 3 }),
        ];
        let told = lines.iter().fold(before.clone(), |text, line| format!("{text}{line}\n"));
        let tally = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(tally.path(), told).unwrap();
        let expected = Hits::from([("a".into(), 5), ("b".into(), 1)]);
        assert_eq!(hits_told(tally.path(), before.len()).unwrap(), expected);
    }
}
