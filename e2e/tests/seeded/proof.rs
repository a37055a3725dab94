//! One cluster in a process of its own, and what the checker says of its history.

use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use berth_e2e::history::{self, Event};
use berth_e2e::wait;
use serde::{Deserialize, Serialize};

use crate::table::{Live, Row, WORLDS};

/// Names the world that this process is to live through.
pub const WORLD: &str = "BERTH_SEEDED_WORLD";
/// Names the defect that is on.
const BUG: &str = "BERTH_SEEDED_BUG";
/// Begins the line with the verdict; around it the world may print what it wants.
const VERDICT: &str = "verdict: ";

/// How long a world may live.
const LIMIT: Duration = Duration::from_secs(300);

/// What the checker says.
#[derive(Serialize, Deserialize)]
struct Verdict {
    events: usize,
    violations: Vec<Found>,
    /// The history, for whoever wonders why nothing was found.
    story: String,
}

/// A violation.
#[derive(Serialize, Deserialize)]
struct Found {
    invariant: String,
    rev: i64,
    /// How many events its witness has.
    witness: usize,
    text: String,
}

/// A line of the table at the end.
struct Caught {
    bug: &'static str,
    breaks: String,
    events: usize,
    time: Duration,
    first_line: String,
}

static CAUGHT: Mutex<Vec<Caught>> = Mutex::new(Vec::new());

/// Lives through a history, and tells what the checker says of it.
pub fn live_through(world: &str) {
    let world = WORLDS.iter().find(|known| known.name == world).expect("the parent asks for what is there");
    let run = match world.live {
        Live::Here(live) => tokio::runtime::Runtime::new().unwrap().block_on(live()),
        Live::OnANode(live) => live(),
    };
    let violations = history::judge(&run).into_iter().map(|violation| Found {
        invariant: violation.invariant.to_string(),
        rev: violation.rev,
        witness: violation.witness.len(),
        text: violation.to_string(),
    });
    let story = run.events.iter().map(line).collect();
    let verdict = Verdict { events: run.events.len(), violations: violations.collect(), story };
    println!("{VERDICT}{}", serde_json::to_string(&verdict).unwrap());
    // What still runs in the background has no end of its own.
    std::process::exit(0);
}

fn line(event: &Event) -> String {
    let json = event.now.as_ref().map_or("gone", |now| &now.json);
    format!("{} {} {}\n", event.rev, event.key, json.chars().take(1500).collect::<String>())
}

fn verdict_of(world: &str, bug: Option<&str>) -> Verdict {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.env(WORLD, world).env_remove(BUG).envs(bug.map(|bug| (BUG, bug)));
    let output = wait::output(&mut child, LIMIT).unwrap_or_else(|why| panic!("the world {world}: {why}"));
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix(VERDICT));
    let line = line.unwrap_or_else(|| {
        panic!("the world {world} died: {text}\n{}", String::from_utf8_lossy(&output.stderr))
    });
    serde_json::from_str(line).unwrap()
}

/// The history without a defect keeps every promise.
pub fn finds_nothing(world: &str) {
    let verdict = verdict_of(world, None);
    let found: Vec<&str> = verdict.violations.iter().map(|found| found.text.as_str()).collect();
    assert!(found.is_empty(), "nothing is wrong with it, and the checker says:\n{}", found.join("\n"));
}

/// The checker names the promise that the defect breaks, and shows how.
pub fn catches(row: &'static Row) {
    let begun = Instant::now();
    let verdict = verdict_of(row.world, Some(row.bug));
    let all: Vec<&str> = verdict.violations.iter().map(|found| found.text.as_str()).collect();
    let promise = |found: &&Found| found.invariant == row.breaks;
    let found = verdict.violations.iter().find(promise);
    let found = found.unwrap_or_else(|| {
        let (breaks, found) = (row.breaks, all.join("\n"));
        panic!("{breaks} was not found, but {found:?} in\n{}", verdict.story);
    });
    // What a client was told and never happened shows without a single event of the store.
    let by_clients = ["I3 answers", "I5 watches"].contains(&row.breaks);
    assert!(found.witness > 0 || by_clients, "a violation without a witness: {}", found.text);
    CAUGHT.lock().unwrap_or_else(PoisonError::into_inner).push(Caught {
        bug: row.bug,
        breaks: found.invariant.clone(),
        events: verdict.events,
        time: begun.elapsed(),
        first_line: found.text.lines().next().unwrap_or_default().to_string(),
    });
}

/// Which defect was caught how.
pub fn print_table() {
    let caught = CAUGHT.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{:<30} {:<18} {:>6} {:>5}  witness", "defect", "promise", "events", "s");
    for row in caught.iter() {
        let seconds = row.time.as_secs_f64();
        println!("{:<30} {:<18} {:>6} {seconds:>5.1}  {}", row.bug, row.breaks, row.events, row.first_line);
    }
}
