//! Writes as acknowledged, refused or left open, against the log.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::Value;

use super::content::follows;
use super::order::Known;
use super::{breach, place, reads};
use crate::history::answers::{Asked, MARKER, Operation, STATUS_MARKER, Told, Verb, Write};
use crate::history::chronicle::{Chronicle, Edition};
use crate::history::content::{Seen, hash, readable, rev_of, version};
use crate::history::key::told;
use crate::history::violation::Breach;

/// Who else may write where clients do.
const CONTROLLERS: &[&str] = &["app-controller", "garbage-collector", "node-controller", "scheduler"];

/// Everything that is wrong with the writes of a run.
pub(super) fn judge(operations: &[Operation], known: &Known, chronicle: &Chronicle) -> Vec<Breach> {
    let deeds: Vec<Deed<'_>> = operations.iter().filter_map(Deed::of).collect();
    let log = Log::of(&deeds, chronicle);
    let mut broken = Vec::new();
    let mut effects: Vec<Option<&Edition>> = Vec::new();
    for (at, deed) in deeds.iter().enumerate() {
        let effect = log.effect(at, deed);
        effects.push(effect.as_ref().ok().copied().flatten());
        let judged = effect.and_then(|effect| deed.judge(effect, known, chronicle));
        broken.extend(judged.err());
    }
    broken.extend(log.nobodys(&deeds, &effects));
    broken.extend(torn(&deeds, &effects));
    broken
}

/// One write with its operation.
struct Deed<'a> {
    operation: &'a Operation,
    write: &'a Write,
}

/// What the log has where clients write.
struct Log<'a> {
    editions: Vec<&'a Edition>,
    /// The changes that brought a marker in.
    marked: HashMap<&'a str, Vec<&'a Edition>>,
    /// The removal that each delete of unknown outcome may have made, by its place among the writes.
    removals: HashMap<usize, &'a Edition>,
}

impl<'a> Log<'a> {
    fn of(deeds: &[Deed<'_>], chronicle: &'a Chronicle) -> Self {
        let places: BTreeSet<_> = deeds.iter().filter_map(|deed| place(&deed.write.key)).collect();
        let folders: BTreeSet<&str> = places.iter().map(|(folder, _)| *folder).collect();
        let all = folders.iter().flat_map(|folder| chronicle.line(folder));
        let here = |edition: &&Edition| place(&edition.key).is_some_and(|place| places.contains(&place));
        let editions: Vec<&Edition> = all.filter(here).collect();
        let mut marked: HashMap<&str, Vec<&Edition>> = HashMap::new();
        for edition in &editions {
            for marker in new_markers(edition) {
                marked.entry(marker).or_default().push(edition);
            }
        }
        let removals = removals(deeds, &editions);
        Self { editions, marked, removals }
    }

    /// What a write did, if it did something.
    fn effect(&self, at: usize, deed: &Deed<'_>) -> Result<Option<&'a Edition>, Breach> {
        if deed.write.verb == Verb::Delete {
            return Ok(self.removals.get(&at).copied());
        }
        match self.marked.get(deed.write.marker.as_str()).map(Vec::as_slice) {
            None | Some([]) => Ok(None),
            Some([edition]) => Ok(Some(edition)),
            Some([first, second, ..]) => {
                let why = format!(
                    "happened twice, at {} and at {}",
                    readable(first.version),
                    readable(second.version)
                );
                Err(deed.breach(second.version, &why))
            }
        }
    }

    /// What happened to what clients write, or in their name, and no operation asked for it.
    fn nobodys(&self, deeds: &[Deed<'_>], effects: &[Option<&Edition>]) -> Vec<Breach> {
        let mut asked: HashSet<(&str, u64)> =
            effects.iter().flatten().map(|edition| (&*edition.key, edition.version)).collect();
        // What happened twice was told of already.
        let known = deeds.iter().filter_map(|deed| self.marked.get(deed.write.marker.as_str()));
        asked.extend(known.flatten().map(|edition| (&*edition.key, edition.version)));
        let written: HashSet<&str> = deeds.iter().map(|deed| deed.write.key.as_str()).collect();
        let clients: HashSet<&str> = deeds.iter().map(|deed| deed.operation.client.as_str()).collect();
        let theirs = |edition: &&&Edition| {
            let in_their_name = edition.now.as_ref().is_some_and(|now| clients.contains(now.writer.as_str()));
            in_their_name || written.contains(&*edition.key)
        };
        let unasked = self
            .editions
            .iter()
            .filter(theirs)
            .filter(|edition| !asked.contains(&(&*edition.key, edition.version)));
        let found = unasked.filter_map(|edition| {
            let what = match &edition.now {
                Some(now) if CONTROLLERS.contains(&now.writer.as_str()) => return None,
                Some(now) => format!("a write by `{}`", now.writer),
                None => "a removal".to_string(),
            };
            let (key, version) = (&edition.key, edition.version);
            let what =
                format!("{what} of {} at {}, which no operation asked for", told(key), readable(version));
            Some(Breach::new(rev_of(version), what, [key.to_string()]))
        });
        found.collect()
    }
}

impl<'a> Deed<'a> {
    fn of(operation: &'a Operation) -> Option<Self> {
        match &operation.asked {
            Asked::Write(write) => Some(Self { operation, write }),
            Asked::Get(_) | Asked::List(_) => None,
        }
    }

    fn breach(&self, version: u64, why: &str) -> Breach {
        breach(self.operation, version, why, &[&self.write.key])
    }

    fn judge(&self, effect: Option<&Edition>, known: &Known, chronicle: &Chronicle) -> Result<(), Breach> {
        match (&self.operation.told, effect) {
            (Told::Object(object), _) if !self.write.changes() => {
                self.changed_nothing(object, known, chronicle)?
            }
            (Told::Object(object), Some(edition)) => self.answered(object, edition)?,
            (Told::Object(object), None) => {
                let version = version(object).unwrap_or_default();
                let why = format!("was acknowledged at {}, and is not in the log", readable(version));
                return Err(self.breach(version, &why));
            }
            (Told::Refused(reason, message), Some(edition)) => {
                let why = format!(
                    "was refused ({reason}: {message}), and happened at {}",
                    readable(edition.version)
                );
                return Err(self.breach(edition.version, &why));
            }
            (Told::Refused(..) | Told::Unknown(_) | Told::Pages(..), _) => {}
        }
        effect.map_or(Ok(()), |edition| self.happened(edition, known))
    }

    /// The answer is the object as it was stored.
    fn answered(&self, object: &Value, edition: &Edition) -> Result<(), Breach> {
        let answered = version(object).unwrap_or_default();
        let (expected, stored) = match (&edition.now, &edition.was) {
            (Some(now), _) => (edition.version, now),
            // A removal is answered with the last state, in the version of all of its revision.
            (None, Some(was)) => (edition.version | 1023, was),
            (None, None) => return Err(self.breach(edition.version, "removed what was not there")),
        };
        if answered != expected {
            let why = format!(
                "was acknowledged at {}, and happened at {}",
                readable(answered),
                readable(edition.version)
            );
            return Err(self.breach(edition.version, &why));
        }
        if stored.hash != hash(object) {
            let why = format!("was answered with {object}, and stored is {}", stored.tree);
            return Err(self.breach(edition.version, &why));
        }
        Ok(())
    }

    /// A write that changes nothing is answered with the object that is there already.
    fn changed_nothing(&self, object: &Value, known: &Known, chronicle: &Chronicle) -> Result<(), Breach> {
        let version = version(object).unwrap_or_default();
        let seen = Seen { key: self.write.key.clone(), version, hash: hash(object) };
        reads::shows(self.operation, &seen, known, chronicle)
    }

    /// What happened is what was asked for, on what it was asked on, and not before it was asked.
    fn happened(&self, edition: &Edition, known: &Known) -> Result<(), Breach> {
        let (write, rev) = (self.write, rev_of(edition.version));
        let broken = |why: String| Err(self.breach(edition.version, &why));
        if *edition.key != *write.key {
            return broken(format!("happened to {}", told(&edition.key)));
        }
        if let Some(now) = edition.now.as_ref().filter(|now| now.writer != self.operation.client) {
            return broken(format!("happened in the name of `{}`", now.writer));
        }
        let was = edition.was.as_ref();
        if let (Some(wanted), found) = (write.version, was.map(|was| was.version))
            && found != Some(wanted)
        {
            return broken(format!(
                "was asked on version {}, and happened on {}",
                readable(wanted),
                found.map_or("nothing".into(), readable)
            ));
        }
        if !write.uid.is_empty() && was.is_none_or(|was| was.tree["metadata"]["uid"] != *write.uid) {
            return broken(format!("was asked on the object of uid {}, and happened on another", write.uid));
        }
        let floor = known.happened(self.operation.invoked);
        if rev <= floor {
            return broken(format!("was asked when revision {floor} was known, and happened in {rev}"));
        }
        follows(write, was.map(|was| &was.tree), edition.now.as_ref().map(|now| &now.tree)).or_else(broken)
    }
}

/// The markers in an object: of its last write by a client, and of the last one of its status.
fn markers(tree: &Value) -> [Option<&str>; 2] {
    let conditions = tree["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let condition = conditions.iter().find(|condition| condition["type"] == STATUS_MARKER);
    let of_status = condition.and_then(|condition| condition["message"].as_str());
    [tree["metadata"]["annotations"][MARKER].as_str(), of_status]
}

/// Those that came with a change.
fn new_markers(edition: &Edition) -> impl Iterator<Item = &str> {
    let was = edition.was.as_ref().map_or([None; 2], |was| markers(&was.tree));
    let now = edition.now.as_ref().map_or([None; 2], |now| markers(&now.tree));
    now.into_iter().zip(was).filter(|(now, was)| now != was).filter_map(|(now, _)| now)
}

/// Which removal each delete made: those that were answered by their version, those of unknown outcome as far as
/// removals are left that they can have made.
fn removals<'a>(deeds: &[Deed<'_>], editions: &[&'a Edition]) -> HashMap<usize, &'a Edition> {
    let mut left: BTreeMap<(&str, i64), &Edition> = editions
        .iter()
        .filter(|edition| edition.now.is_none())
        .map(|edition| ((&*edition.key, rev_of(edition.version)), *edition))
        .collect();
    let mut found = HashMap::new();
    let deletes = || deeds.iter().enumerate().filter(|(_, deed)| deed.write.verb == Verb::Delete);
    for (at, deed) in deletes() {
        let Told::Object(object) = &deed.operation.told else { continue };
        let rev = version(object).map_or(0, rev_of);
        if let Some(edition) = left.remove(&(deed.write.key.as_str(), rev)) {
            found.insert(at, edition);
        }
    }
    let mut open: Vec<_> =
        deletes().filter(|(_, deed)| matches!(deed.operation.told, Told::Unknown(_))).collect();
    // Who asked on a version can have made one removal only, the others any.
    open.sort_by_key(|(_, deed)| (deed.write.version.is_none(), deed.operation.invoked));
    for (at, deed) in open {
        let made = left.iter().find(|((key, _), edition)| {
            *key == deed.write.key
                && edition.at > deed.operation.invoked
                && deed
                    .write
                    .version
                    .is_none_or(|on| edition.was.as_ref().is_some_and(|was| was.version == on))
        });
        let Some((place, edition)) = made.map(|(place, edition)| (*place, *edition)) else { continue };
        left.remove(&place);
        found.insert(at, edition);
    }
    found
}

/// Atomic calls of which a part happened, or not all in one revision.
fn torn(deeds: &[Deed<'_>], effects: &[Option<&Edition>]) -> Vec<Breach> {
    let mut calls: BTreeMap<(&str, u64), BTreeMap<Option<i64>, usize>> = BTreeMap::new();
    for (at, deed) in deeds.iter().enumerate() {
        let Some(call) = deed.write.atomic else { continue };
        let rev = effects[at].map(|edition| rev_of(edition.version));
        calls.entry((&deed.operation.client, call)).or_default().entry(rev).or_insert(at);
    }
    let torn = calls.into_iter().filter(|(_, revs)| revs.len() > 1);
    let breach = |((_, call), revs): ((&str, u64), BTreeMap<Option<i64>, usize>)| {
        let parts: Vec<String> = revs
            .iter()
            .map(|(rev, at)| match rev {
                Some(rev) => format!("{} in revision {rev}", told(&deeds[*at].write.key)),
                None => format!("{} not at all", told(&deeds[*at].write.key)),
            })
            .collect();
        let (rev, at) = revs.iter().next_back().expect("a call has writes");
        let why = format!("is of atomic call {call}, which was torn: {}", parts.join(", "));
        Breach { rev: rev.unwrap_or_default(), ..deeds[*at].breach(0, &why) }
    };
    torn.map(breach).collect()
}
