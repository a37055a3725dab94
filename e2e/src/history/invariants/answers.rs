//! I3 answers: every acknowledged write is in the log, at exactly the version that was answered and with the content
//! that was answered and asked for; one of unknown outcome is there once or not at all, one that was refused is not;
//! nothing is written in the clients' place without an operation; a write happens on the version it was asked on.
//! I3b: get and list show the store as it stood at one revision, never older than what anybody had been told before
//! they were asked; all pages of a list show the same one.

mod content;
mod order;
mod reads;
#[cfg(test)]
mod tests;
mod writes;

use std::collections::BTreeSet;

use super::Invariant;
use crate::history::answers::{Asked, Operation};
use crate::history::chronicle::{Chronicle, folder, namespace};
use crate::history::content::rev_of;
use crate::history::evidence::Run;
use crate::history::state::{Revision, State};
use crate::history::violation::Breach;
use order::Known;

/// Judges the operation log.
pub struct Answers {
    operations: Vec<Operation>,
    known: Known,
    chronicle: Chronicle,
}

impl Answers {
    /// For the operations of a run.
    pub fn of(run: &Run) -> Self {
        let folders = run.answers.iter().filter_map(|operation| folder_of(operation).map(str::to_string));
        let chronicle = Chronicle::of(folders.collect::<BTreeSet<_>>());
        Self { operations: run.answers.clone(), known: Known::of(run), chronicle }
    }
}

/// The folder that an operation is about.
fn folder_of(operation: &Operation) -> Option<&str> {
    match &operation.asked {
        Asked::Write(write) => folder(&write.key),
        Asked::Get(key) => folder(key),
        Asked::List(list) => Some(&list.folder),
    }
}

/// Folder and namespace of all keys that clients write.
fn place(key: &str) -> Option<(&str, &str)> {
    Some((folder(key)?, namespace(key)?))
}

fn breach(operation: &Operation, version: u64, why: &str, keys: &[&str]) -> Breach {
    let what = format!("{} at {}: {why}", operation.describe(), operation.server);
    Breach::new(rev_of(version), what, keys.iter().copied())
}

impl Invariant for Answers {
    fn name(&self) -> &'static str {
        "I3 answers"
    }

    fn on_revision(&mut self, seen: &Revision<'_>, _broken: &mut Vec<Breach>) {
        self.chronicle.take(seen);
    }

    fn finish(&mut self, _last: &State, broken: &mut Vec<Breach>) {
        broken.extend(writes::judge(&self.operations, &self.known, &self.chronicle));
        for operation in &self.operations {
            broken.extend(reads::judge(operation, &self.known, &self.chronicle).err());
        }
    }
}
