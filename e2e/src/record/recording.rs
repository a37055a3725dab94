//! A recording that is over: judged, kept in a folder, read again.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::tape::Era;
use crate::history::answers::Operation;
use crate::history::watched::Stream;
use crate::history::{Fault, Run, Settled, Sighting, Violation, judge, log};

/// Where the store keeps Tasks.
const TASKS: &str = "/berth/berth.dev/tasks/";

const PROCESSES: &str = "processes.jsonl";
const ANSWERS: &str = "answers.jsonl";
const WATCHES: &str = "watches.jsonl";
const FAULTS: &str = "faults.jsonl";
const SETTLED: &str = "settled.jsonl";
const FORCED: &str = "forced.txt";
const WRONG: &str = "wrong.txt";
const SEED: &str = "seed";

/// All that is known of a world that has ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recording {
    /// The store's histories, one after the other; one alone unless an etcd was restored.
    pub eras: Vec<Era>,
    /// What ran on the nodes.
    pub processes: Vec<Sighting>,
    /// What clients asked and were told.
    pub answers: Vec<Operation>,
    /// What watchers were told.
    pub watches: Vec<Stream>,
    /// What was done to the cluster.
    pub faults: Vec<Fault>,
    /// The moments at which a history was to be settled, in order.
    pub settled: Vec<Settled>,
    /// Controllers, by the names of their Leases, that act without one.
    pub forced: Vec<String>,
    /// What chance was drawn from.
    pub seed: u64,
    /// Why the recording itself cannot be believed; empty when it can.
    pub wrong: Vec<String>,
}

/// What is to be said of a recording.
#[derive(Debug)]
pub struct Verdict {
    /// Why the recording itself cannot be believed.
    pub wrong: Vec<String>,
    /// Promises that were broken.
    pub violations: Vec<Violation>,
    /// Events that were judged.
    pub events: usize,
}

impl Recording {
    /// Judges every history.
    pub fn judge(&self) -> Verdict {
        let starts = self.eras.iter().map(|era| era.from).skip(1);
        let ends: Vec<u64> = starts.chain([u64::MAX]).collect();
        let runs = self.eras.iter().zip(ends).enumerate().map(|(number, (era, end))| Run {
            events: era.events.clone(),
            processes: self.processes_of(number, end),
            answers: self.answers_of(number, end),
            watches: self.watches_of(number, end),
            faults: self.faults.clone(),
            settled: self.settled_in(era.from, end),
            forced: self.forced.clone(),
            seed: self.seed,
        });
        let violations = runs.flat_map(|run| judge(&run)).collect();
        let events = self.eras.iter().map(|era| era.events.len()).sum();
        Verdict { wrong: self.wrong.clone(), violations, events }
    }

    fn settled_in(&self, from: u64, end: u64) -> Vec<Settled> {
        self.settled.iter().filter(|moment| (from..end).contains(&moment.at)).cloned().collect()
    }

    /// What ran in an era, of Tasks that it knows. A Task that a restored store lacks runs on for a while, as it was
    /// told to in the era before; what no era knows belongs to all.
    fn processes_of(&self, era: usize, end: u64) -> Vec<Sighting> {
        let [_, _, ..] = &self.eras[..] else { return self.processes.clone() };
        let known: Vec<HashSet<String>> = self.eras.iter().map(tasks).collect();
        let belongs = |seen: &&Sighting| {
            seen.first < end
                && (known[era].contains(&seen.task) || !known.iter().any(|known| known.contains(&seen.task)))
        };
        let until = |seen: &Sighting| Sighting { last: seen.last.min(end), ..seen.clone() };
        self.processes.iter().filter(belongs).map(until).collect()
    }

    /// Answers are held against the first history alone: what was acknowledged in it may be lost to a restored store,
    /// and what was not may be in it.
    fn answers_of(&self, era: usize, end: u64) -> Vec<Operation> {
        let told = self.answers.iter().filter(|done| era == 0 && done.returned < end);
        told.cloned().collect()
    }

    fn watches_of(&self, era: usize, end: u64) -> Vec<Stream> {
        let told = self.watches.iter().filter(|stream| era == 0 && stream.ended < end);
        told.cloned().collect()
    }

    /// Keeps it in a folder, which is made.
    pub fn keep(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        for (number, era) in self.eras.iter().enumerate() {
            let mut file = BufWriter::new(File::create(folder.join(super::tape::name(number)))?);
            log::write(&mut file, &era.events)?;
            file.flush()?;
        }
        write_lines(&folder.join(PROCESSES), &self.processes)?;
        write_lines(&folder.join(ANSWERS), &self.answers)?;
        write_lines(&folder.join(WATCHES), &self.watches)?;
        write_lines(&folder.join(FAULTS), &self.faults)?;
        write_lines(&folder.join(SETTLED), &self.settled)?;
        let lines = |all: &[String]| all.iter().map(|line| format!("{line}\n")).collect::<String>();
        fs::write(folder.join(FORCED), lines(&self.forced))?;
        fs::write(folder.join(WRONG), lines(&self.wrong))?;
        fs::write(folder.join(SEED), self.seed.to_string())
    }

    /// Reads what was kept; what a run that died had not written yet is empty.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let mut eras = Vec::new();
        while let Ok(file) = File::open(folder.join(super::tape::name(eras.len()))) {
            let events = log::read(BufReader::new(file)).collect::<io::Result<Vec<_>>>()?;
            let from = events.first().map_or(0, |event| event.at);
            eras.push(Era { from, events });
        }
        if eras.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("{} holds no events", folder.display()),
            ));
        }
        let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        Ok(Self {
            eras,
            processes: read_lines(&text(PROCESSES))?,
            answers: read_lines(&text(ANSWERS))?,
            watches: read_lines(&text(WATCHES))?,
            faults: read_lines(&text(FAULTS))?,
            settled: read_lines(&text(SETTLED))?,
            forced: text(FORCED).lines().map(str::to_owned).collect(),
            wrong: text(WRONG).lines().map(str::to_owned).collect(),
            seed: text(SEED).trim().parse().unwrap_or(0),
        })
    }
}

/// uids of the Tasks of an era.
fn tasks(era: &Era) -> HashSet<String> {
    let written = era.events.iter().filter(|event| event.key.starts_with(TASKS));
    let jsons = written.filter_map(|event| event.now.as_ref()).map(|stored| &*stored.json);
    let objects = jsons.filter_map(|json| serde_json::from_str::<serde_json::Value>(json).ok());
    objects.filter_map(|object| Some(object["metadata"]["uid"].as_str()?.to_owned())).collect()
}

fn write_lines<T: Serialize>(path: &Path, items: &[T]) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for item in items {
        writeln!(file, "{}", serde_json::to_string(item)?)?;
    }
    file.flush()
}

fn read_lines<T: DeserializeOwned>(text: &str) -> io::Result<Vec<T>> {
    text.lines().map(|line| serde_json::from_str(line).map_err(io::Error::from)).collect()
}

impl Verdict {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.wrong.is_empty() && self.violations.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_clean() {
            return write!(f, "{} events, every promise was kept", self.events);
        }
        let (wrong, broken) = (self.wrong.len(), self.violations.len());
        write!(f, "{} events, {broken} promises broken, {wrong} faults of the recording", self.events)?;
        self.wrong.iter().try_for_each(|why| write!(f, "\nrecording: {why}"))?;
        self.violations.iter().try_for_each(|violation| write!(f, "\n{violation}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::history::Event;

    fn operation() -> Operation {
        let write = json!({"verb": "patchStatus", "key": "/berth/a", "sent": {"b": null}, "marker": "m", "version": 7});
        let told = json!({"pages": [[{"version": 3, "items": [], "more": true}], "broken"]});
        let operation = json!({
            "client": "c", "number": 1, "server": "s", "asked": {"write": write}, "invoked": 2, "returned": 3,
            "told": told,
        });
        serde_json::from_value(operation).unwrap()
    }

    fn stream() -> Stream {
        let seen = json!({"key": "/berth/a", "version": 2048, "hash": u64::MAX});
        let message = json!({"at": 4, "version": 3071, "events": [{"what": "added", "seen": seen}]});
        let stream = json!({
            "name": "w-1", "resumes": "w-0", "server": "s", "folder": "/berth/", "namespace": "",
            "selector": [{"notIn": ["tier", ["gold"]]}], "after": 1, "asked": 2, "got": [message], "ended": 5,
            "end": {"over": 3071},
        });
        serde_json::from_value(stream).unwrap()
    }

    #[test]
    fn a_process_belongs_to_the_eras_that_know_its_task() {
        let task = |rev, uid: &str| {
            let json = format!(r#"{{"metadata":{{"uid":"{uid}"}}}}"#).into();
            let header = crate::history::Header::default();
            let now = crate::history::Stored { create_rev: rev, version: 1, lease: 0, header, json };
            Event { rev, at: 5, key: format!("{TASKS}default/{uid}"), now: Some(now) }
        };
        let seen = |uid: &str, first, last| Sighting { task: uid.into(), first, last, ..Sighting::default() };
        let eras = vec![
            Era { from: 0, events: vec![task(2, "old"), task(3, "late")] },
            Era { from: 100, events: vec![task(2, "old"), task(3, "new")] },
        ];
        let processes = vec![
            seen("old", 10, 150),
            seen("late", 20, 130),
            seen("new", 120, 140),
            seen("strange", 110, 115),
        ];
        let recording = Recording { eras, processes, ..Recording::default() };
        let of = |era, end| {
            let told = |seen: Sighting| format!("{} {}-{}", seen.task, seen.first, seen.last);
            recording.processes_of(era, end).into_iter().map(told).collect::<Vec<_>>()
        };
        assert_eq!(of(0, 100), ["old 10-100", "late 20-100"]);
        assert_eq!(of(1, u64::MAX), ["old 10-150", "new 120-140", "strange 110-115"]);
    }

    #[test]
    fn what_was_kept_is_read_again() {
        let event = |rev| Event { rev, at: 5, key: "/berth/a".into(), now: None };
        let recording = Recording {
            eras: vec![
                Era { from: 5, events: vec![event(2), event(3)] },
                Era { from: 5, events: vec![event(2)] },
            ],
            processes: vec![Sighting { task: "t".into(), pid: 7, ..Sighting::default() }],
            answers: vec![operation()],
            watches: vec![stream()],
            faults: vec![Fault { what: "kill".into(), from: 3, until: None }],
            settled: vec![Settled { rev: 3, at: 5, probed: vec!["one".into()] }],
            forced: vec!["scheduler".into()],
            wrong: vec!["late".into()],
            seed: 9,
        };
        let folder = tempfile::tempdir().unwrap();
        recording.keep(&folder.path().join("kept")).unwrap();
        assert_eq!(Recording::read(&folder.path().join("kept")).unwrap(), recording);
        assert!(Recording::read(folder.path()).is_err());
    }
}
