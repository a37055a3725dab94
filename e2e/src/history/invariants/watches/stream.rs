//! One stream, message by message, against what happened.

use crate::history::chronicle::{Chronicle, Content, Edition, namespace};
use crate::history::content::{Seen, all_of, readable, rev_of};
use crate::history::violation::Breach;
use crate::history::watched::{End, Message, Stream, Told, What};

/// The first promise that a stream broke.
pub(super) fn judge(stream: &Stream, chronicle: &Chronicle) -> Result<(), Breach> {
    let reader = Reader { stream, chronicle };
    let reached = reader.messages()?;
    reader.end(reached)
}

struct Reader<'a> {
    stream: &'a Stream,
    chronicle: &'a Chronicle,
}

impl Reader<'_> {
    /// Reads all messages; the version up to which everything was told, none before the end of the beginning.
    fn messages(&self) -> Result<Option<u64>, Breach> {
        let mut reached = self.stream.after;
        let mut present: Vec<&Told> = Vec::new();
        for message in &self.stream.got {
            reached = match reached {
                Some(reached) => Some(self.message(message, reached)?),
                None => {
                    present.extend(&message.events);
                    if message.initial_end {
                        self.beginning(message.version, &present)?;
                        Some(message.version)
                    } else {
                        None
                    }
                }
            };
        }
        Ok(reached)
    }

    /// The present objects are those of one revision.
    fn beginning(&self, version: u64, present: &[&Told]) -> Result<(), Breach> {
        self.must_be_whole(version)?;
        let (folder, namespace) = (&self.stream.folder, &self.stream.namespace);
        let objects = self.chronicle.objects(folder, namespace, rev_of(version));
        let expected: Vec<Told> = objects
            .filter(|(_, object)| self.stream.selector.takes(&object.tree))
            .map(|(key, object)| told(What::Added, key, object.version, object))
            .collect();
        self.compare(version, &expected, present)
    }

    /// One message after `reached`; up to where everything is told then.
    fn message(&self, message: &Message, reached: u64) -> Result<u64, Breach> {
        let version = message.version;
        self.must_be_whole(version)?;
        if version < reached {
            return Err(self.breach(
                version,
                format!("told of {} after {}", readable(version), readable(reached)),
                &[],
            ));
        }
        let expected = self.between(reached, version);
        if let Some(early) = expected.iter().find(|told| rev_of(told.seen.version) < rev_of(version)) {
            let what = if message.events.is_empty() { "a bookmark" } else { "events" };
            let why = format!("{what} of {} came, and never {}", readable(version), self.describe(early));
            return Err(self.breach(early.seen.version, why, &[&early.seen.key]));
        }
        self.compare(version, &expected, &message.events.iter().collect::<Vec<_>>())?;
        Ok(version)
    }

    fn must_be_whole(&self, version: u64) -> Result<(), Breach> {
        if version == all_of(rev_of(version)) {
            return Ok(());
        }
        Err(self.breach(version, format!("a message ends in {}, within a revision", readable(version)), &[]))
    }

    /// The first difference between what must be told up to `version` and what was.
    fn compare(&self, version: u64, expected: &[Told], got: &[&Told]) -> Result<(), Breach> {
        let differ = expected.iter().zip(got).position(|(expected, got)| expected != *got);
        let first = differ.unwrap_or(expected.len().min(got.len()));
        let (expected, got) = (expected.get(first), got.get(first));
        let why = match (expected, got) {
            (None, None) => return Ok(()),
            (Some(missing), None) => format!("left out {}", self.describe(missing)),
            (None, Some(extra)) => format!("not to be told here: {}", self.describe(extra)),
            (Some(expected), Some(got)) => {
                let (got, expected) = (self.describe(got), self.describe(expected));
                let differ = if got == expected { "other content".to_string() } else { expected };
                format!("told {got}, expected {differ}")
            }
        };
        let keys: Vec<&str> =
            expected.into_iter().chain(got.copied()).map(|told| told.seen.key.as_str()).collect();
        Err(self.breach(version, format!("message of {}: {why}", readable(version)), &keys))
    }

    /// As `Added load/web at 7.3`.
    fn describe(&self, told: &Told) -> String {
        let name = told.seen.key.strip_prefix(&self.stream.folder).unwrap_or(&told.seen.key);
        format!("{:?} {name} at {}", told.what, readable(told.seen.version))
    }

    /// What this stream is to be told of what happened after one version, up to another.
    fn between(&self, after: u64, until: u64) -> Vec<Told> {
        let line = self.chronicle.line(&self.stream.folder);
        let from = line.partition_point(|edition| edition.version <= after);
        let passed = line[from..].iter().take_while(|edition| edition.version <= until);
        passed.filter_map(|edition| self.to_tell(edition)).collect()
    }

    fn to_tell(&self, edition: &Edition) -> Option<Told> {
        let wanted = &self.stream.namespace;
        if !wanted.is_empty() && namespace(&edition.key) != Some(wanted) {
            return None;
        }
        let taken = |object: &&Content| self.stream.selector.takes(&object.tree);
        let was = edition.was.as_deref().filter(taken);
        let now = edition.now.as_deref().filter(taken);
        let (what, shown) = match (was, now) {
            (None, None) => return None,
            (None, Some(now)) => (What::Added, now),
            (Some(_), Some(now)) => (What::Modified, now),
            // As it was last, in the version in which it went.
            (Some(was), None) => (What::Deleted, was),
        };
        Some(told(what, &edition.key, edition.version, shown))
    }

    /// A stream ends with a reason, or at the end of the run, when it has told everything.
    fn end(&self, reached: Option<u64>) -> Result<(), Breach> {
        let said = |why: &String| !why.is_empty();
        match &self.stream.end {
            End::Expired(why) | End::Refused(why) | End::Cut(why) if said(why) => Ok(()),
            End::Expired(_) | End::Refused(_) | End::Cut(_) | End::Silent => {
                Err(self.breach(reached.unwrap_or_default(), "ended without a reason".into(), &[]))
            }
            End::Left => Ok(()),
            End::Over(owed) if reached >= Some(*owed) => Ok(()),
            End::Over(owed) => {
                let missing = self.between(reached.unwrap_or_default(), *owed);
                let count = missing.len();
                let keys: Vec<&str> = missing.iter().take(3).map(|told| told.seen.key.as_str()).collect();
                let reached = reached.map_or("nothing".to_string(), readable);
                let why = format!(
                    "told of {reached} when the run was over, the head was {}; {count} events missing",
                    readable(*owed)
                );
                Err(self.breach(*owed, why, &keys))
            }
        }
    }

    fn breach(&self, version: u64, why: String, keys: &[&str]) -> Breach {
        let stream = self.stream;
        let after = stream.after.map_or("the beginning".to_string(), readable);
        let what = format!(
            "watch {} of {}{} `{}` at {} from {after}: {why}",
            stream.name, stream.folder, stream.namespace, stream.selector, stream.server
        );
        Breach::new(rev_of(version), what, keys.iter().copied())
    }
}

fn told(what: What, key: &str, version: u64, object: &Content) -> Told {
    Told { what, seen: Seen { key: key.into(), version, hash: object.hash } }
}
