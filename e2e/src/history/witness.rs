//! The fewest events that show a violation: those of its keys without which it would not be found.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::changes;
use super::evidence::{Fault, Run};
use super::invariants;
use super::judge::Judge;
use super::key::told;
use super::log::Event;
use super::violation::{Breach, Violation};

/// One event of a witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The event.
    pub event: Event,
    /// What it changed.
    pub change: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Event { rev, key, now, .. } = &self.event;
        write!(f, "{rev:>5}  {}", told(key))?;
        if let Some(stored) = now {
            write!(f, "  by {}", stored.header.writer)?;
            if stored.header.epoch != 0 {
                write!(f, " in epoch {}", stored.header.epoch)?;
            }
        }
        write!(f, ": {}", self.change)
    }
}

/// Explains what was found: the fewest events, the faults, the seed.
pub fn explain(run: &Run, invariant: &'static str, breach: Breach) -> Violation {
    let keys: HashSet<&str> = breach.keys.iter().map(String::as_str).collect();
    let involved = run
        .events
        .iter()
        .filter(|event| keys.contains(event.key.as_str()) && (breach.rev == 0 || event.rev <= breach.rev));
    let fewest = fewest(involved.collect(), |events| shows(run, invariant, &breach, events));
    let at = if breach.at == 0 { seen_at(run, breach.rev) } else { breach.at };
    Violation {
        invariant,
        rev: breach.rev,
        witness: steps(run, &fewest),
        faults: faults(&run.faults, at),
        seed: run.seed,
        what: breach.what,
    }
}

/// Whether these events alone show the same.
fn shows(run: &Run, invariant: &str, breach: &Breach, events: &[&Event]) -> bool {
    let mut judge = Judge::new(invariants::named(invariant, run));
    events.iter().for_each(|event| judge.on_event((*event).clone()));
    judge.finish().iter().any(|(_, found)| found.rev == breach.rev && found.what == breach.what)
}

/// More events than this are first left out in pieces, for each try replays the rest.
const FEW: usize = 200;
/// The most events that are replayed for one witness; what is left then may hold more than it needs.
const REPLAYED: usize = 100_000;

/// Leaves out one event after the other, the newest first: of those that tell the same, the first tells more.
fn fewest<'a>(mut events: Vec<&'a Event>, shows: impl Fn(&[&'a Event]) -> bool) -> Vec<&'a Event> {
    if !shows(&events) {
        return events;
    }
    let mut piece = if events.len() > FEW { events.len().div_ceil(2) } else { 1 };
    let mut replayed = 0;
    loop {
        let mut end = events.len();
        while end > 0 {
            replayed += events.len();
            if replayed > REPLAYED {
                return events;
            }
            let begin = end.saturating_sub(piece);
            let rest = [&events[..begin], &events[end..]].concat();
            if shows(&rest) {
                events = rest;
            }
            end = begin;
        }
        if piece == 1 {
            return events;
        }
        piece = piece.div_ceil(2);
    }
}

/// What each event changed of what really lay there before.
fn steps(run: &Run, events: &[&Event]) -> Vec<Step> {
    let keys: HashSet<&str> = events.iter().map(|event| event.key.as_str()).collect();
    let wanted: HashSet<(i64, &str)> = events.iter().map(|event| (event.rev, event.key.as_str())).collect();
    let mut lies: HashMap<&str, &str> = HashMap::new();
    let mut steps = Vec::new();
    for event in run.events.iter().filter(|event| keys.contains(event.key.as_str())) {
        let key = event.key.as_str();
        let now = event.now.as_ref().map(|stored| &*stored.json);
        if wanted.contains(&(event.rev, key)) {
            let change = changes::told(lies.get(key).copied(), now);
            steps.push(Step { event: event.clone(), change });
        }
        match now {
            Some(json) => lies.insert(key, json),
            None => lies.remove(key),
        };
    }
    steps
}

fn seen_at(run: &Run, rev: i64) -> u64 {
    run.events.iter().find(|event| event.rev == rev).map_or(0, |event| event.at)
}

/// The faults in force at a time; else the last one that was over by then.
fn faults(all: &[Fault], at: u64) -> Vec<String> {
    let begun = || all.iter().filter(|fault| fault.from <= at);
    let in_force: Vec<String> = begun()
        .filter(|fault| fault.until.is_none_or(|until| until >= at))
        .map(|fault| fault.what.clone())
        .collect();
    if !in_force.is_empty() {
        return in_force;
    }
    let last = begun().filter_map(|fault| Some((fault.until?, &fault.what))).max();
    let told = |(until, what): (u64, &String)| {
        format!("none; last {what}, over for {} ms", (at - until) / 1_000_000)
    };
    last.map(told).into_iter().collect()
}
