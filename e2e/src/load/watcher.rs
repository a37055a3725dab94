//! A watcher: opens a stream, notes what comes, and begins anew where it is when the stream ends.

use std::time::Duration;

use berth_proto::v1 as wire;
use berth_proto::v1::watch_event::Type;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::Phase;
use super::wire::{Failure, Kind, Peer};
use crate::history::content::Seen;
use crate::history::selector::Selector;
use crate::history::watched::{End, Message, Stream, Told, What};
use crate::monotonic;

/// Waited before a stream that could not be had is asked for again.
const PAUSE: Duration = Duration::from_millis(100);
/// How long after the end of the run a stream has to reach the head.
const LAST_PATIENCE: Duration = Duration::from_secs(20);
/// Versions of one revision.
const REVISION: u64 = 1024;

/// How a watcher takes its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As they come.
    Steady,
    /// With a pause after each message.
    Slow,
    /// Goes now and then, and comes back to where it was.
    Restless,
    /// Goes in the middle of a revision, and comes back to the last object that it saw of it.
    Torn,
    /// Goes now and then, and wants all present objects again.
    Forgetful,
}

/// What is watched, and how.
#[derive(Debug, Clone)]
pub struct Watch {
    /// Its name in the log.
    pub name: String,
    /// Of which kind.
    pub kind: Kind,
    /// Empty is all.
    pub namespace: String,
    /// Which labels.
    pub selector: Selector,
    /// How.
    pub manner: Manner,
}

/// A watcher at work.
pub(super) struct Watcher {
    watch: Watch,
    peers: Vec<Peer>,
    chance: fastrand::Rng,
    phase: watch::Receiver<Phase>,
    streams: Vec<Stream>,
    /// Where the next stream goes on; none begins with the present objects.
    after: Option<u64>,
    /// The history of the store that this is of.
    history: String,
}

/// What comes next.
enum Next {
    Message(Result<Option<wire::WatchResponse>, tonic::Status>),
    Restless,
    Phase,
    Over,
}

impl Watcher {
    /// A watcher that begins with the present objects.
    pub(super) fn new(
        watch: Watch,
        peers: Vec<Peer>,
        chance: fastrand::Rng,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        Self { watch, peers, chance, phase, streams: Vec::new(), after: None, history: String::new() }
    }

    /// Watches until the run is over; all streams.
    pub(super) async fn run(mut self) -> Vec<Stream> {
        let mut deadline = None;
        loop {
            let mut stream = self.asked();
            let end = match self.open(&stream).await {
                Ok(source) => self.read(&mut stream, source, &mut deadline).await,
                Err(failure) => self.refused(&failure),
            };
            let over = matches!(end, End::Over(_));
            stream.end = end;
            stream.ended = monotonic::now();
            self.streams.push(stream);
            if over {
                return self.streams;
            }
            let phase = *self.phase.borrow();
            if let Phase::Ending(owed) = phase {
                let end = *deadline.get_or_insert_with(|| Instant::now() + LAST_PATIENCE);
                if Instant::now() > end {
                    let mut last = self.asked();
                    last.end = End::Over(owed);
                    self.streams.push(last);
                    return self.streams;
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// The record of a stream that begins.
    fn asked(&mut self) -> Stream {
        let peer = self.chance.usize(..self.peers.len());
        let now = monotonic::now();
        Stream {
            name: format!("{}-{}", self.watch.name, self.streams.len()),
            resumes: self.streams.last().filter(|_| self.after.is_some()).map(|last| last.name.clone()),
            server: self.peers[peer].name.clone(),
            folder: self.watch.kind.folder.into(),
            namespace: self.watch.namespace.clone(),
            selector: self.watch.selector.clone(),
            after: self.after,
            asked: now,
            got: Vec::new(),
            ended: now,
            end: End::Left,
        }
    }

    async fn open(&self, stream: &Stream) -> Result<tonic::Streaming<wire::WatchResponse>, Failure> {
        let peer = self.peers.iter().find(|peer| peer.name == stream.server).expect("one of its servers");
        let request = wire::WatchRequest {
            kind: Some(self.watch.kind.wire()),
            namespace: stream.namespace.clone(),
            label_selector: stream.selector.to_string(),
            field_selector: String::new(),
            resource_version: stream.after.map(|after| after.to_string()).unwrap_or_default(),
            history: stream.after.map(|_| self.history.clone()).unwrap_or_default(),
        };
        peer.watch(request).await
    }

    /// Reads a stream until it ends or the watcher has enough of it.
    async fn read(
        &mut self,
        stream: &mut Stream,
        mut source: tonic::Streaming<wire::WatchResponse>,
        deadline: &mut Option<Instant>,
    ) -> End {
        let stay = Duration::from_millis(self.chance.u64(150..1500));
        let leaves = Instant::now() + stay;
        loop {
            let ending = match *self.phase.borrow() {
                Phase::Ending(owed) => Some(owed),
                Phase::Working => None,
            };
            if let Some(owed) = ending {
                deadline.get_or_insert_with(|| Instant::now() + LAST_PATIENCE);
                if self.after >= Some(owed) {
                    return End::Over(owed);
                }
            }
            let restless = matches!(self.watch.manner, Manner::Restless | Manner::Forgetful);
            let next = tokio::select! {
                message = source.message() => Next::Message(message),
                () = sleep_until(leaves), if restless && ending.is_none() => Next::Restless,
                _ = self.phase.changed(), if ending.is_none() => Next::Phase,
                () = sleep_until(deadline.unwrap_or(leaves)), if deadline.is_some() => Next::Over,
            };
            match next {
                Next::Message(Ok(Some(message))) => {
                    let told = self.note(stream, message);
                    if ending.is_none() && self.tears(told) {
                        self.after = self.inside(stream.got.last());
                        return End::Left;
                    }
                    if ending.is_none() && self.watch.manner == Manner::Slow {
                        sleep(Duration::from_millis(self.chance.u64(20..300))).await;
                    }
                }
                Next::Message(Ok(None)) => return End::Silent,
                Next::Message(Err(grpc)) => return self.refused(&Failure::of(&grpc)),
                Next::Restless => {
                    self.wander();
                    return End::Left;
                }
                Next::Phase => {}
                Next::Over => return End::Over(ending.unwrap_or_default()),
            }
        }
    }

    /// Notes a message; how many events it had after the beginning.
    fn note(&mut self, stream: &mut Stream, message: wire::WatchResponse) -> usize {
        let folder = stream.folder.clone();
        let events = message.events.iter().map(|event| Told {
            what: match event.r#type() {
                Type::Added => What::Added,
                Type::Modified => What::Modified,
                Type::Deleted => What::Deleted,
            },
            // What cannot be read is nothing that was ever stored: the checker will not find it.
            seen: Seen::read(&folder, &event.json).unwrap_or(Seen {
                key: String::new(),
                version: 0,
                hash: 0,
            }),
        });
        self.history.clone_from(&message.history);
        let message = Message {
            at: monotonic::now(),
            version: message.resource_version.parse().unwrap_or(0),
            initial_end: message.initial_end,
            events: events.collect(),
        };
        let in_beginning = self.after.is_none();
        if !in_beginning || message.initial_end {
            self.after = Some(message.version);
        }
        let count = if in_beginning { 0 } else { message.events.len() };
        stream.got.push(message);
        count
    }

    fn tears(&mut self, told: usize) -> bool {
        self.watch.manner == Manner::Torn && told > 1 && self.chance.u8(..100) < 40
    }

    /// The version of an event in the middle of a message.
    fn inside(&mut self, message: Option<&Message>) -> Option<u64> {
        let events = &message?.events;
        Some(events[self.chance.usize(..events.len() - 1)].seen.version)
    }

    /// Where a watcher that went by itself comes back to.
    fn wander(&mut self) {
        if self.watch.manner == Manner::Forgetful {
            self.after = None;
        } else if self.chance.u8(..100) < 10 {
            // It heard from somebody else of versions that are still to come.
            self.after = self.after.map(|after| after + 3 * REVISION);
        }
    }

    /// Why there is no stream any more; who lost events begins anew.
    fn refused(&mut self, failure: &Failure) -> End {
        match failure.reason.as_str() {
            "Expired" => {
                self.after = None;
                End::Expired(failure.message.clone())
            }
            "Transport" => End::Cut(failure.message.clone()),
            reason => End::Refused(format!("{reason}: {}", failure.message)),
        }
    }
}
