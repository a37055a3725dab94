//! The recorder: what happened in a world, seen from outside. A collector follows every change of the store, the probe
//! what runs on the nodes; in the end both are held against what the store keeps, and the history is judged.
//!
//! Everything is in files too, from the start, so that a run that died can be judged again.

mod etcd;
mod follower;
mod journal;
mod listing;
mod probe;
mod recording;
mod socket;
mod tape;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use etcd::Listing;
pub use follower::Follower;
pub use journal::{TABLES, open_journal};
pub use listing::differences;
pub use probe::Probe;
pub use recording::{Recording, Verdict};
pub use tape::{Era, RawChange, RawValue, Tape};

use etcd::EtcdCollector;
use socket::SocketCollector;

/// How long the recorder may take to come to what the store holds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the store's history is had from.
#[derive(Debug, Clone)]
pub enum Source {
    /// The members of an etcd, as `http://HOST:PORT`.
    Etcd(Vec<String>),
    /// An apiserver with an embedded store.
    Apiserver {
        /// The socket where it tells the raw history.
        socket: PathBuf,
        /// The folder of the store.
        store: PathBuf,
    },
}

/// Records one world.
#[derive(Debug)]
pub struct Recorder {
    tape: Arc<Tape>,
    collector: Collector,
    probe: Probe,
    nodes: BTreeMap<String, String>,
}

#[derive(Debug)]
enum Collector {
    Etcd(EtcdCollector),
    Socket(SocketCollector, PathBuf),
}

impl Recorder {
    /// Begins to record the world in `dir`, with files in `folder`; before the first process of the cluster starts.
    pub fn start(dir: &Path, folder: &Path, source: Source) -> Self {
        let tape = Arc::new(Tape::new(folder).expect("the recorder's folder is writable"));
        let collector = match source {
            Source::Etcd(urls) => Collector::Etcd(EtcdCollector::start(&urls, tape.clone())),
            Source::Apiserver { socket, store } => {
                Collector::Socket(SocketCollector::start(&socket, tape.clone()), store)
            }
        };
        let probe = Probe::start(dir, tape.clone());
        Self { tape, collector, probe, nodes: BTreeMap::new() }
    }

    /// The agent with the folder `folder` below the world's data is that of the node `name`. Of a folder that nobody
    /// told, the node has the machine's name.
    pub fn node(&mut self, folder: &str, name: &str) {
        self.nodes.insert(folder.into(), name.into());
    }

    /// What was told up to now.
    pub fn tape(&self) -> &Arc<Tape> {
        &self.tape
    }

    /// Names of the Nodes whose agents were told, in order.
    pub fn nodes(&self) -> Vec<String> {
        self.nodes.values().cloned().collect()
    }

    /// When the last look at what runs began that is over, by the monotonic clock.
    pub fn looked(&self) -> u64 {
        self.probe.looked()
    }

    /// How often the watch of an etcd broke, and another was opened; of another store 0.
    pub fn broken_watches(&self) -> u64 {
        match &self.collector {
            Collector::Etcd(collector) => collector.broken(),
            Collector::Socket(..) => 0,
        }
    }

    /// What ran up to now.
    pub fn sightings(&self) -> Vec<crate::history::Sighting> {
        self.probe.sightings(&self.nodes)
    }

    /// Waits until everything is on the tape that the store holds now, where it can be asked.
    pub fn catch_up(&self) -> Result<(), String> {
        let head = match &self.collector {
            Collector::Etcd(collector) => Some(collector.list().map(|listing| listing.rev)),
            Collector::Socket(collector, _) => collector.head(),
        };
        head.map_or(Ok(()), |head| self.tape.wait_for(head?, PATIENCE))
    }

    /// Ends the recording, and holds it against what the store keeps. An apiserver with an embedded store must have
    /// ended, an etcd must be there.
    pub fn finish(mut self) -> Recording {
        let mut wrong = Vec::new();
        let listing = match &self.collector {
            Collector::Etcd(collector) => {
                let listed = collector.list();
                let reached = listed.and_then(|listing| {
                    self.tape.wait_for(listing.rev, PATIENCE)?;
                    Ok(listing)
                });
                reached.map_err(|why| wrong.push(why)).ok()
            }
            Collector::Socket(..) => None,
        };
        let mut recording = self.end();
        recording.wrong.append(&mut wrong);
        let events = &mut recording.eras.last_mut().expect("a tape has an era").events;
        if events.is_empty() {
            recording.wrong.push("nothing was recorded".into());
        }
        let differences = match (&self.collector, listing) {
            (Collector::Etcd(_), Some(listing)) => listing::differences(events, listing),
            (Collector::Etcd(_), None) => Vec::new(),
            (Collector::Socket(_, store), _) => match journal::read(store) {
                Ok(journal) => journal::compare(events, journal),
                Err(why) => vec![why],
            },
        };
        recording.wrong.extend(differences);
        recording
    }

    /// Ends the recording of a world that failed: nothing is compared.
    pub fn break_off(mut self) -> Recording {
        self.end()
    }

    fn end(&mut self) -> Recording {
        match &mut self.collector {
            Collector::Etcd(collector) => collector.stop(),
            Collector::Socket(collector, _) => collector.stop(),
        }
        self.probe.stop();
        let wrong = self.tape.broken().into_iter().collect();
        Recording {
            eras: self.tape.cut(),
            processes: self.probe.sightings(&self.nodes),
            wrong,
            ..Recording::default()
        }
    }
}
