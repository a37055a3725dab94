//! The tape: every change that was told, in the order of the revisions, none left out; in memory and in files. An etcd
//! that is restored from a snapshot begins another history: the tape has an era for each.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::history::{Event, Header, Stored};
use crate::monotonic;

/// The revision of a store in which nothing was ever written.
const EMPTY: i64 = 1;
/// Every key of a cluster begins so.
const OURS: &str = "/berth/";
/// Where a cluster keeps its uid, in its first write.
const CLUSTER: &str = "/berth/-/cluster";

/// A value as the store holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawValue {
    /// The revision in which the key came to be.
    pub create_rev: i64,
    /// Writes since it came to be.
    pub version: i64,
    /// The lease of the store that it goes with; 0 is none.
    pub lease: i64,
    /// Header and JSON.
    pub bytes: Vec<u8>,
}

/// What a revision made of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawChange {
    /// The key.
    pub key: Vec<u8>,
    /// What lies there now; none when it was deleted.
    pub now: Option<RawValue>,
}

impl RawChange {
    /// The event that it is in `rev`, seen at `at`; what cannot be read is no event.
    pub fn event(self, rev: i64, at: u64) -> Result<Event, String> {
        let key = String::from_utf8(self.key)
            .map_err(|why| format!("a key of revision {rev} is no text: {:?}", why.into_bytes()))?;
        let stored = |raw: RawValue| -> Result<Stored, String> {
            let (header, json) = match Header::split(&raw.bytes) {
                Ok(read) => read,
                // Somebody else may keep keys in the same etcd.
                Err(_) if !key.starts_with(OURS) => (Header::default(), "null"),
                Err(why) => return Err(format!("{key} in revision {rev} is {why}")),
            };
            let (create_rev, version, lease) = (raw.create_rev, raw.version, raw.lease);
            Ok(Stored { create_rev, version, lease, header, json: json.into() })
        };
        let now = self.now.map(stored).transpose()?;
        Ok(Event { rev, at, key, now })
    }
}

/// What was told up to now. A collector writes it, others wait for what it holds.
#[derive(Debug)]
pub struct Tape {
    written: Mutex<Written>,
    grew: Condvar,
}

/// One history of the store.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Era {
    /// When it began, by the monotonic clock.
    pub from: u64,
    /// All that was told of it.
    pub events: Vec<Event>,
}

#[derive(Debug)]
struct Written {
    ended: Vec<Era>,
    era: Era,
    /// What the store calls the history that is told now.
    history: Option<u64>,
    /// What it called those that are over.
    over: Vec<u64>,
    last: i64,
    broken: Option<String>,
    cluster: Option<String>,
    folder: PathBuf,
    file: BufWriter<File>,
}

impl Tape {
    /// An empty one, written to files in `folder` too.
    pub fn new(folder: &Path) -> std::io::Result<Self> {
        let file = BufWriter::new(File::create(folder.join(name(0)))?);
        let written = Written {
            ended: Vec::new(),
            era: Era { from: monotonic::now(), events: Vec::new() },
            history: None,
            over: Vec::new(),
            last: EMPTY,
            broken: None,
            cluster: None,
            folder: folder.into(),
            file,
        };
        Ok(Self { written: Mutex::new(written), grew: Condvar::new() })
    }

    /// The store is about to begin another history: what is told of the one before counts no more.
    pub fn begin_anew(&self) {
        let mut written = self.written();
        if let Err(why) = written.begin_anew() {
            written.broken.get_or_insert(format!("the tape of another history: {why}"));
        }
    }

    /// How many histories are over.
    pub fn era(&self) -> u64 {
        self.written().ended.len() as u64
    }

    /// The first revision that it does not hold.
    pub fn next(&self) -> i64 {
        self.written().last + 1
    }

    /// All changes of a revision of a history; of one that it holds already nothing is taken.
    pub fn take(&self, history: u64, rev: i64, changes: Vec<RawChange>) {
        let mut written = self.written();
        if written.over.contains(&history) {
            return;
        }
        if let Err(why) = written.is_told(history).and_then(|()| written.take(rev, changes)) {
            written.broken.get_or_insert(why);
        }
        drop(written);
        self.grew.notify_all();
    }

    /// The recording is worth nothing from here on. The first reason stays.
    pub fn broke(&self, why: String) {
        self.written().broken.get_or_insert(why);
        self.grew.notify_all();
    }

    /// Why the recording is worth nothing, if it is.
    pub fn broken(&self) -> Option<String> {
        self.written().broken.clone()
    }

    /// The uid of the cluster, once it has one.
    pub fn cluster(&self) -> Option<String> {
        self.written().cluster.clone()
    }

    /// Waits until `rev` is on the tape.
    pub fn wait_for(&self, rev: i64, limit: Duration) -> Result<(), String> {
        let end = Instant::now() + limit;
        let mut written = self.written();
        while written.last < rev {
            if let Some(why) = &written.broken {
                return Err(why.clone());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!(
                    "the recorder came to revision {} within {limit:?}, the store is at {rev}",
                    written.last
                ));
            }
            written = self.grew.wait_timeout(written, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// The present era, and what was told of it from event number `read` on; from its first, if `era` is over.
    pub(super) fn since(&self, era: usize, read: usize) -> (usize, Vec<Event>) {
        let written = self.written();
        let now = written.ended.len();
        let from = if now == era { read } else { 0 };
        (now, written.era.events[from..].to_vec())
    }

    /// Everything that was told, an era for each history; the tape is empty then.
    pub fn cut(&self) -> Vec<Era> {
        let mut written = self.written();
        let last = std::mem::take(&mut written.era);
        std::mem::take(&mut written.ended).into_iter().chain([last]).collect()
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file of an era.
pub(super) fn name(era: usize) -> String {
    format!("events-{era}.jsonl")
}

impl Written {
    fn begin_anew(&mut self) -> std::io::Result<()> {
        self.over.extend(self.history.take());
        let next = Era { from: monotonic::now(), events: Vec::new() };
        self.ended.push(std::mem::replace(&mut self.era, next));
        self.last = EMPTY;
        self.file = BufWriter::new(File::create(self.folder.join(name(self.ended.len())))?);
        Ok(())
    }

    /// Fails when the store tells another history, and nobody said that it would.
    fn is_told(&mut self, history: u64) -> Result<(), String> {
        match *self.history.get_or_insert(history) {
            known if known == history => Ok(()),
            known => Err(format!("history {history:x} is told after revision {} of {known:x}", self.last)),
        }
    }

    fn take(&mut self, rev: i64, changes: Vec<RawChange>) -> Result<(), String> {
        if rev <= self.last || self.broken.is_some() {
            return Ok(());
        }
        // Every revision of either store changed something, so one that is not told was lost.
        if rev != self.last + 1 {
            return Err(format!("revision {rev} was told after {}: what was between is lost", self.last));
        }
        if changes.is_empty() {
            return Err(format!("revision {rev} was told without a change"));
        }
        let at = monotonic::now();
        for change in changes {
            let event = change.event(rev, at)?;
            drop(writeln!(self.file, "{}", event.to_line()));
            if event.key == CLUSTER {
                self.cluster = event.now.as_ref().and_then(|stored| uid(&stored.json));
            }
            self.era.events.push(event);
        }
        drop(self.file.flush());
        self.last = rev;
        Ok(())
    }
}

/// The 32 hex digits in the value of the cluster's key.
fn uid(json: &str) -> Option<String> {
    let digits = |part: &&str| part.len() == 32 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    json.split(|letter: char| !letter.is_ascii_alphanumeric()).find(digits).map(str::to_owned)
}

/// The last event of each key that is there in the end: the store as the tape tells it.
pub fn replayed(events: &[Event]) -> BTreeMap<&str, &Event> {
    let mut state = BTreeMap::new();
    for event in events {
        match event.now {
            Some(_) => state.insert(event.key.as_str(), event),
            None => state.remove(event.key.as_str()),
        };
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn put(key: &str, rev: i64) -> RawChange {
        let mut bytes = vec![1; 27];
        bytes.push(0);
        bytes.extend(br#"{"uid":"0123456789abcdef0123456789abcdef"}"#);
        let now = Some(RawValue { create_rev: rev, version: 1, lease: 0, bytes });
        RawChange { key: key.as_bytes().to_vec(), now }
    }

    fn tape() -> (tempfile::TempDir, Tape) {
        let folder = tempfile::tempdir().unwrap();
        let tape = Tape::new(folder.path()).unwrap();
        (folder, tape)
    }

    #[test]
    fn revisions_come_in_order_once_each_and_the_cluster_names_itself() {
        let (folder, tape) = tape();
        assert_eq!((tape.next(), tape.cluster()), (2, None));
        tape.take(7, 2, vec![put("a", 2), put(CLUSTER, 2)]);
        tape.take(7, 2, vec![put("again", 2)]);
        tape.take(7, 3, vec![RawChange { key: b"a".to_vec(), now: None }]);
        assert_eq!(tape.wait_for(3, Duration::ZERO), Ok(()));
        assert!(tape.wait_for(4, Duration::ZERO).is_err());
        assert_eq!(tape.cluster().unwrap(), "0123456789abcdef0123456789abcdef");
        let events = tape.cut().remove(0).events;
        assert_eq!(replayed(&events).into_keys().collect::<Vec<_>>(), [CLUSTER]);
        let file = File::open(folder.path().join("events-0.jsonl")).map(std::io::BufReader::new).unwrap();
        let read: Vec<Event> = crate::history::log::read(file).map(Result::unwrap).collect();
        assert_eq!(read, events);
    }

    #[test]
    fn a_revision_that_was_left_out_breaks_the_recording() {
        let (_folder, tape) = tape();
        tape.take(7, 2, vec![put("a", 2)]);
        tape.take(7, 4, vec![put("a", 4)]);
        tape.take(7, 3, vec![put("a", 3)]);
        assert_eq!(tape.broken().unwrap(), "revision 4 was told after 2: what was between is lost");
        assert_eq!(tape.wait_for(3, Duration::from_secs(60)), Err(tape.broken().unwrap()));
    }

    #[test]
    fn another_history_is_an_era_of_its_own_when_it_was_announced_and_else_breaks_the_recording() {
        let (_folder, tape) = tape();
        tape.take(7, 2, vec![put("a", 2)]);
        tape.begin_anew();
        tape.take(7, 3, vec![put("late", 3)]);
        tape.take(8, 2, vec![put("b", 2)]);
        assert_eq!(tape.broken(), None);
        tape.take(9, 3, vec![put("c", 3)]);
        assert_eq!(tape.broken().unwrap(), "history 9 is told after revision 2 of 8");
        let keys = |era: &Era| era.events.iter().map(|event| event.key.clone()).collect::<Vec<_>>();
        assert_eq!(tape.cut().iter().map(keys).collect::<Vec<_>>(), [["a"], ["b"]]);
    }

    #[test]
    fn what_cannot_be_read_breaks_the_recording() {
        let damaged = RawValue { create_rev: 2, version: 1, lease: 0, bytes: b"{}".to_vec() };
        for change in [
            RawChange { key: vec![255], now: None },
            RawChange { key: b"/berth/a".to_vec(), now: Some(damaged) },
        ] {
            let (_folder, tape) = tape();
            tape.take(7, 2, vec![change]);
            assert!(tape.broken().is_some());
        }
    }
}
