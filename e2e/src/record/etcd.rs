//! Collects the history of an etcd: one watch of all keys, opened again where it broke, by whichever member answers.
//! Nothing of the cluster's own store is used.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, EventType, GetOptions, WatchOptions, WatchResponse, WatchStream};
use tokio::time::timeout;

use super::tape::{RawChange, RawValue, Tape};

/// As both ends of a range: all keys.
const ALL: [u8; 1] = [0];
const CONNECT: Duration = Duration::from_secs(2);
/// etcd refuses pings that come more often than every 5 s.
const PING: Duration = Duration::from_secs(6);
const PONG: Duration = Duration::from_secs(3);
/// After this long without a word etcd is asked for one; after one more the watch is dead.
const SILENCE: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(100);
const LARGEST: usize = 1 << 30;
const LISTED_WITHIN: Duration = Duration::from_secs(60);

/// A thread that follows an etcd.
#[derive(Debug)]
pub struct EtcdCollector {
    ends: Arc<AtomicBool>,
    broken: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
    urls: Vec<String>,
}

/// The whole store at one revision, by key: the revision of the last write, and the value.
#[derive(Debug)]
pub struct Listing {
    /// The revision.
    pub rev: i64,
    /// What lies at each key.
    pub keys: BTreeMap<Vec<u8>, (i64, RawValue)>,
}

/// Why a watch is over.
enum Cut {
    /// Another one can go on.
    Broken,
    /// What comes next is compacted.
    Compacted(i64),
    /// It was told to end.
    Ended,
}

/// Fits any error: whatever it is, another watch is tried.
impl From<etcd_client::Error> for Cut {
    fn from(_: etcd_client::Error) -> Self {
        Self::Broken
    }
}

impl EtcdCollector {
    /// Follows the etcd with members at `urls`, given as `http://HOST:PORT`.
    pub fn start(urls: &[String], tape: Arc<Tape>) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let broken = Arc::new(AtomicU64::new(0));
        let (end, members, count) = (ends.clone(), urls.to_vec(), broken.clone());
        let thread = std::thread::spawn(move || runtime().block_on(follow(&members, &tape, &count, &end)));
        Self { ends, broken, thread: Some(thread), urls: urls.to_vec() }
    }

    /// How often its watch broke.
    pub fn broken(&self) -> u64 {
        self.broken.load(Ordering::Relaxed)
    }

    /// Everything in the store, at its newest revision, linearizable.
    pub fn list(&self) -> Result<Listing, String> {
        runtime().block_on(async {
            let mut last = "it has no members".to_owned();
            let end = tokio::time::Instant::now() + LISTED_WITHIN;
            while tokio::time::Instant::now() < end {
                for url in &self.urls {
                    match timeout(LISTED_WITHIN, list(url)).await {
                        Ok(Ok(listing)) => return Ok(listing),
                        Ok(Err(error)) => last = error.to_string(),
                        Err(_) => last = format!("{url} does not answer"),
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
            Err(format!("etcd could not be listed: {last}"))
        })
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Drop for EtcdCollector {
    fn drop(&mut self) {
        self.stop();
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts")
}

async fn connect(url: &str) -> Result<Client, etcd_client::Error> {
    let options = ConnectOptions::new()
        .with_connect_timeout(CONNECT)
        .with_keep_alive(PING, PONG)
        .with_keep_alive_while_idle(true)
        .with_require_leader(true);
    Client::connect([url], Some(options)).await
}

async fn list(url: &str) -> Result<Listing, etcd_client::Error> {
    let client = connect(url).await?;
    let options = GetOptions::new().with_range(ALL);
    let answer = client.kv_client().max_decoding_message_size(LARGEST).get(ALL, Some(options)).await?;
    let rev = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
    let entry = |kv: etcd_client::proto::PbKeyValue| {
        let (create_rev, version, lease) = (kv.create_revision, kv.version, kv.lease);
        (kv.key, (kv.mod_revision, RawValue { create_rev, version, lease, bytes: kv.value }))
    };
    Ok(Listing { rev, keys: answer.0.kvs.into_iter().map(entry).collect() })
}

async fn follow(urls: &[String], tape: &Tape, broken: &AtomicU64, ends: &AtomicBool) {
    for url in urls.iter().cycle() {
        match watch(url, tape, ends).await {
            Err(Cut::Broken) => {
                broken.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PAUSE).await;
            }
            Err(Cut::Ended) => return,
            Err(Cut::Compacted(oldest)) => {
                let held = tape.next() - 1;
                tape.broke(format!("etcd was compacted up to {oldest}, the recorder had come to {held}"));
            }
            Ok(never) => match never {},
        }
        if tape.broken().is_some() || ends.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Takes what one member tells, until that ends.
async fn watch(url: &str, tape: &Tape, ends: &AtomicBool) -> Result<Infallible, Cut> {
    let mut stream = timeout(SILENCE, open(url, tape.next())).await.map_err(|_| Cut::Broken)??;
    // Parts of an answer that was too large for one message.
    let mut parts = Vec::new();
    loop {
        let answer = receive(&mut stream, ends).await?;
        let history = answer.header().map_or(0, etcd_client::ResponseHeader::cluster_id);
        if answer.compact_revision() > 0 {
            return Err(Cut::Compacted(answer.compact_revision()));
        }
        if answer.canceled() {
            return Err(Cut::Broken);
        }
        let more = answer.0.fragment;
        parts.extend(answer.0.events.into_iter().filter_map(change));
        if !more {
            give(tape, history, std::mem::take(&mut parts));
        }
    }
}

async fn open(url: &str, from: i64) -> Result<WatchStream, Cut> {
    let client = connect(url).await?;
    let options =
        WatchOptions::new().with_range(ALL).with_start_revision(from).with_progress_notify().with_fragment();
    Ok(client.watch_client().max_decoding_message_size(LARGEST).watch(ALL, Some(options)).await?)
}

/// The next answer. What a sign of life says of revisions counts for nothing: old versions tell one before its events.
async fn receive(stream: &mut WatchStream, ends: &AtomicBool) -> Result<WatchResponse, Cut> {
    /// How often the end is looked for.
    const LOOK: Duration = Duration::from_millis(50);
    let mut silent = Duration::ZERO;
    let mut asked = false;
    loop {
        match timeout(LOOK, stream.message()).await {
            Ok(answer) => return answer?.ok_or(Cut::Broken),
            Err(_) if ends.load(Ordering::Relaxed) => return Err(Cut::Ended),
            Err(_) => silent += LOOK,
        }
        if silent >= SILENCE {
            if asked {
                return Err(Cut::Broken);
            }
            (asked, silent) = (true, Duration::ZERO);
            timeout(SILENCE, stream.request_progress()).await.map_err(|_| Cut::Broken)??;
        }
    }
}

fn change(event: etcd_client::proto::PbEvent) -> Option<(i64, RawChange)> {
    let removed = event.r#type == EventType::Delete as i32;
    let kv = event.kv?;
    let (create_rev, version, lease) = (kv.create_revision, kv.version, kv.lease);
    let now = RawValue { create_rev, version, lease, bytes: kv.value };
    Some((kv.mod_revision, RawChange { key: kv.key, now: if removed { None } else { Some(now) } }))
}

/// Gives whole revisions to the tape, which takes none twice.
fn give(tape: &Tape, history: u64, changes: Vec<(i64, RawChange)>) {
    let mut revision: Vec<RawChange> = Vec::new();
    let mut of = 0;
    for (rev, change) in changes {
        if rev != of && !revision.is_empty() {
            tape.take(history, of, std::mem::take(&mut revision));
        }
        of = rev;
        revision.push(change);
    }
    if !revision.is_empty() {
        tape.take(history, of, revision);
    }
}
