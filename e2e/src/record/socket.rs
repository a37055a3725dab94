//! Collects the history of an embedded store from the socket on which an apiserver of a test build tells it, for as
//! long as it takes: an apiserver that died is waited for.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::tape::{RawChange, RawValue, Tape};

/// Between attempts to reach an apiserver that is not there.
const PAUSE: Duration = Duration::from_millis(20);
/// How long an apiserver that is there may take to tell its newest revision.
const PATIENCE: Duration = Duration::from_secs(20);

/// A thread that follows the socket.
#[derive(Debug)]
pub struct SocketCollector {
    shared: Arc<Shared>,
    path: PathBuf,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    ends: AtomicBool,
    open: Mutex<Option<UnixStream>>,
}

impl SocketCollector {
    /// Follows the socket at `path`, which need not be there yet.
    pub fn start(path: &Path, tape: Arc<Tape>) -> Self {
        let shared = Arc::new(Shared::default());
        let (with, at) = (shared.clone(), path.to_path_buf());
        let thread = std::thread::spawn(move || follow(&at, &tape, &with));
        Self { shared, path: path.into(), thread: Some(thread) }
    }

    /// The newest revision, when an apiserver is there to tell it.
    pub fn head(&self) -> Option<Result<i64, String>> {
        let stream = UnixStream::connect(&self.path).ok()?;
        Some(ask_head(stream).map_err(|why| format!("the apiserver does not tell its revision: {why}")))
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        if let Some(stream) = &*self.shared.open.lock().unwrap_or_else(PoisonError::into_inner) {
            // Fails only when the other side has ended it already.
            drop(stream.shutdown(Shutdown::Both));
        }
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Drop for SocketCollector {
    fn drop(&mut self) {
        self.stop();
    }
}

fn ask_head(mut stream: UnixStream) -> io::Result<i64> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"head\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let rev = answer.trim_end().strip_prefix("head ").and_then(|rev| rev.parse().ok());
    rev.ok_or_else(|| io::Error::other(format!("`{answer}`")))
}

fn follow(path: &Path, tape: &Tape, shared: &Shared) {
    while !shared.ends.load(Ordering::Relaxed) && tape.broken().is_none() {
        if let Ok(stream) = UnixStream::connect(path) {
            let second = stream.try_clone().ok();
            *shared.open.lock().unwrap_or_else(PoisonError::into_inner) = second;
            if !shared.ends.load(Ordering::Relaxed) {
                // However it ended, the next one goes on where the tape ends.
                drop(collect(stream, tape));
            }
        }
        std::thread::park_timeout(PAUSE);
    }
}

/// Takes revisions from one connection until it ends.
fn collect(mut stream: UnixStream, tape: &Tape) -> io::Result<()> {
    // An apiserver that answers after another history began is one of that history.
    let history = tape.era();
    stream.write_all(format!("from {}\n", tape.next()).as_bytes())?;
    let mut from = BufReader::with_capacity(1 << 20, stream);
    let mut changes = Vec::new();
    loop {
        match frame(&mut from)? {
            Frame::Change(change) => changes.push(change),
            Frame::End(rev) => tape.take(history, rev, std::mem::take(&mut changes)),
            Frame::Lost(why) => {
                tape.broke(format!("the history has a hole after revision {}: {why}", tape.next() - 1));
                return Ok(());
            }
            Frame::Error => return Ok(()),
        }
    }
}

enum Frame {
    Change(RawChange),
    End(i64),
    /// What was asked for is not to be had any more.
    Lost(String),
    /// Nothing more comes over this connection.
    Error,
}

fn frame(from: &mut impl BufRead) -> io::Result<Frame> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let Some(line) = line.strip_suffix('\n') else { return Err(io::ErrorKind::UnexpectedEof.into()) };
    let strange = || io::Error::new(io::ErrorKind::InvalidData, line.to_owned());
    let (word, rest) = line.split_once(' ').ok_or_else(strange)?;
    let numbers = || -> Option<Vec<i64>> { rest.split(' ').map(|number| number.parse().ok()).collect() };
    match (word, numbers().as_deref()) {
        ("put", Some([_, create_rev, version, lease, key, value])) => {
            let key = bytes(from, *key)?;
            let bytes = bytes(from, *value)?;
            let now = RawValue { create_rev: *create_rev, version: *version, lease: *lease, bytes };
            Ok(Frame::Change(RawChange { key, now: Some(now) }))
        }
        ("delete", Some([_, key])) => Ok(Frame::Change(RawChange { key: bytes(from, *key)?, now: None })),
        ("end", Some([rev])) => Ok(Frame::End(*rev)),
        ("lost", _) => Ok(Frame::Lost(rest.to_owned())),
        ("error", _) => Ok(Frame::Error),
        _ => Err(strange()),
    }
}

fn bytes(from: &mut impl Read, count: i64) -> io::Result<Vec<u8>> {
    let count = usize::try_from(count).map_err(io::Error::other)?;
    let mut bytes = vec![0; count];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn put(rev: i64, key: &str) -> Vec<u8> {
        let mut frame = format!("put {rev} {rev} 1 0 {} 30\n{key}", key.len()).into_bytes();
        frame.extend([1; 27]);
        frame.extend(b"\0{}");
        frame
    }

    /// Answers one question after the other, each on a connection of its own that ends then; what was asked.
    fn answers(path: &Path, answers: Vec<Vec<u8>>) -> JoinHandle<Vec<String>> {
        let listener = UnixListener::bind(path).unwrap();
        std::thread::spawn(move || {
            let answer = |bytes: Vec<u8>| {
                let (mut client, _) = listener.accept().unwrap();
                let mut asked = String::new();
                BufReader::new(client.try_clone().unwrap()).read_line(&mut asked).unwrap();
                client.write_all(&bytes).unwrap();
                asked
            };
            answers.into_iter().map(answer).collect()
        })
    }

    fn tape(folder: &tempfile::TempDir) -> Arc<Tape> {
        Arc::new(Tape::new(folder.path()).unwrap())
    }

    #[test]
    fn a_server_that_dies_within_a_revision_is_asked_for_all_of_it_again() {
        let folder = tempfile::tempdir().unwrap();
        let (tape, path) = (tape(&folder), folder.path().join("raw.sock"));
        let mut collector = SocketCollector::start(&path, tape.clone());
        let whole = [&put(2, "a")[..], b"end 2\n"].concat();
        let cut = [&whole[..], &put(3, "b")].concat();
        let rest = [&put(3, "b")[..], &put(3, "c"), b"end 3\ndelete 4 1\naend 4\n"].concat();
        let asked = answers(&path, vec![cut, b"error the store was closed\n".to_vec(), rest]);
        tape.wait_for(4, PATIENCE).unwrap();
        assert_eq!(asked.join().unwrap(), ["from 2\n", "from 3\n", "from 3\n"]);
        collector.stop();
        let events = tape.cut().remove(0).events;
        let told: Vec<_> = events.iter().map(|event| (event.rev, &*event.key, event.now.is_some())).collect();
        assert_eq!(told, [(2, "a", true), (3, "b", true), (3, "c", true), (4, "a", false)]);
    }

    #[test]
    fn what_was_compacted_before_it_was_told_breaks_the_recording() {
        let folder = tempfile::tempdir().unwrap();
        let (tape, path) = (tape(&folder), folder.path().join("raw.sock"));
        let _collector = SocketCollector::start(&path, tape.clone());
        let _asked = answers(&path, vec![b"lost revision is compacted; the oldest kept is 9\n".to_vec()]);
        let why = tape.wait_for(2, PATIENCE).unwrap_err();
        let hole = "the history has a hole after revision 1: revision is compacted; the oldest kept is 9";
        assert_eq!(why, hole);
    }

    #[test]
    fn the_newest_revision_is_asked_for_where_anybody_answers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("raw.sock");
        let collector =
            |path: &Path| SocketCollector { shared: Arc::default(), path: path.to_path_buf(), thread: None };
        assert!(collector(&path).head().is_none());
        let asked = answers(&path, vec![b"head 7\n".to_vec(), b"error no\n".to_vec()]);
        assert_eq!(collector(&path).head(), Some(Ok(7)));
        assert!(collector(&path).head().unwrap().is_err());
        assert_eq!(asked.join().unwrap(), ["head\n", "head\n"]);
    }
}
