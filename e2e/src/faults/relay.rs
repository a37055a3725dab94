//! A relay between a part and the socket it talks to: one link that can be cut, swallow what is sent, or be slow.

use std::collections::VecDeque;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::log::{FaultLog, InForce};

/// How often a link looks whether something was done to it.
const LOOK: Duration = Duration::from_millis(20);
/// Bytes that one direction of one connection takes in and does not deliver; then nobody reads any more.
const MOST_HELD: usize = 64 << 20;

/// A direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// What the part sends.
    ToServer,
    /// What it is sent.
    FromServer,
}

/// What a direction does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// Delivers them.
    Open,
    /// Takes them in and delivers none, nor the end of the connection.
    Held,
    /// Delivers them late and few at a time.
    Slow { latency: Duration, bytes_per_second: u64 },
}

#[derive(Debug)]
struct State {
    to_server: Flow,
    from_server: Flow,
    /// Every connection is closed, and each new one at once.
    cut: bool,
    in_force: Option<InForce>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    target: PathBuf,
    state: Mutex<State>,
    ends: Mutex<Vec<UnixStream>>,
    held: [AtomicU64; 2],
    /// What is held, as it came, of all connections.
    swallowed: [Mutex<Vec<u8>>; 2],
    refused: AtomicU64,
    ended: AtomicBool,
    log: FaultLog,
}

/// A listening socket that carries each connection on to another. Ends when dropped.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    socket: PathBuf,
    accepting: Option<JoinHandle<()>>,
}

impl Relay {
    /// A healthy link from `socket`, which it makes, to the socket `target`.
    pub fn start(name: &str, socket: &Path, target: &Path, log: FaultLog) -> Self {
        let listener = UnixListener::bind(socket).expect("the relay's socket is new");
        listener.set_nonblocking(true).expect("a socket can be non-blocking");
        let state = State { to_server: Flow::Open, from_server: Flow::Open, cut: false, in_force: None };
        let shared = Arc::new(Shared {
            name: name.into(),
            target: target.into(),
            state: Mutex::new(state),
            ends: Mutex::new(Vec::new()),
            held: [AtomicU64::new(0), AtomicU64::new(0)],
            swallowed: [Mutex::default(), Mutex::default()],
            refused: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            log,
        });
        let accepting = thread::spawn({
            let shared = shared.clone();
            move || accept(&shared, &listener)
        });
        Self { shared, socket: socket.into(), accepting: Some(accepting) }
    }

    /// Where the part finds it.
    pub fn address(&self) -> String {
        format!("unix:{}", self.socket.display())
    }

    /// Closes every connection, and each new one at once.
    pub fn cut(&self) {
        self.change("is cut", |state| state.cut = true);
        self.shared.close_all();
    }

    /// Swallows everything in both directions: nobody is told.
    pub fn swallow(&self) {
        self.change("swallows everything", |state| {
            state.to_server = Flow::Held;
            state.from_server = Flow::Held;
        });
    }

    /// Swallows everything in one direction.
    pub fn swallow_one_way(&self, way: Way) {
        self.change(&format!("swallows what goes {way:?}"), |state| *state.flow(way) = Flow::Held);
    }

    /// Delivers in both directions late, and few bytes at a time.
    pub fn slow(&self, latency: Duration, bytes_per_second: u64) {
        let slow = Flow::Slow { latency, bytes_per_second };
        self.change(&format!("has {bytes_per_second} bytes/s after {latency:?}"), |state| {
            state.to_server = slow;
            state.from_server = slow;
        });
    }

    /// Works again; what was swallowed on connections that still stand is delivered, as TCP would.
    pub fn heal(&self) {
        let mut state = self.shared.state();
        state.to_server = Flow::Open;
        state.from_server = Flow::Open;
        state.cut = false;
        state.in_force = None;
        self.shared.held.iter().for_each(|held| held.store(0, Ordering::Relaxed));
        [Way::ToServer, Way::FromServer].iter().for_each(|way| self.shared.swallowed(*way).clear());
        self.shared.refused.store(0, Ordering::Relaxed);
    }

    /// Bytes taken in and not delivered since the fault began: the proof that it is in force.
    pub fn held(&self, way: Way) -> u64 {
        self.shared.held[way as usize].load(Ordering::Relaxed)
    }

    /// Whether these bytes were taken in and not delivered since the fault began.
    pub fn holds(&self, way: Way, bytes: &[u8]) -> bool {
        self.shared.swallowed(way).windows(bytes.len()).any(|window| window == bytes)
    }

    /// Connections closed since the cut, those that stood then too: the proof that it is in force.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    fn change(&self, what: &str, change: impl FnOnce(&mut State)) {
        let mut state = self.shared.state();
        change(&mut state);
        state.in_force = Some(self.shared.log.begin(format!("the link of {} {what}", self.shared.name)));
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.shared.close_all();
        if let Some(accepting) = self.accepting.take() {
            // A panic there is shown by its own message.
            let _ = accepting.join();
        }
        let _ = fs::remove_file(&self.socket);
    }
}

impl State {
    fn flow(&mut self, way: Way) -> &mut Flow {
        match way {
            Way::ToServer => &mut self.to_server,
            Way::FromServer => &mut self.from_server,
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn swallowed(&self, way: Way) -> MutexGuard<'_, Vec<u8>> {
        self.swallowed[way as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends(&self) -> MutexGuard<'_, Vec<UnixStream>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends both sides of every connection.
    fn close_all(&self) {
        let ends = std::mem::take(&mut *self.ends());
        self.refused.fetch_add(ends.len() as u64 / 2, Ordering::Relaxed);
        for end in ends {
            // One that ended by itself cannot be ended again.
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    fn is_over(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

fn accept(shared: &Arc<Shared>, listener: &UnixListener) {
    while !shared.is_over() {
        match listener.accept() {
            Ok((part, _)) => carry(shared, part),
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::park_timeout(LOOK),
            Err(error) => panic!("the relay of {} cannot accept: {error}", shared.name),
        }
    }
}

/// Joins a new connection with one to the target; dropped is closed.
fn carry(shared: &Arc<Shared>, part: UnixStream) {
    let state = shared.state();
    if state.cut {
        shared.refused.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let Ok(server) = UnixStream::connect(&shared.target) else { return };
    let copy = |end: &UnixStream| end.try_clone().expect("a socket has a second handle");
    for end in [&part, &server] {
        end.set_nonblocking(false).expect("a socket can be blocking");
        end.set_read_timeout(Some(LOOK)).expect("the time is not zero");
    }
    // Those that ended are kept until the next cut: a handle costs nothing.
    shared.ends().extend([copy(&part), copy(&server)]);
    drop(state);
    let pairs = [(Way::ToServer, copy(&part), copy(&server)), (Way::FromServer, server, part)];
    for (way, from, to) in pairs {
        let shared = shared.clone();
        thread::spawn(move || pump(&shared, way, from, to));
    }
}

/// Carries one direction until its end was delivered, or either side is gone.
fn pump(shared: &Shared, way: Way, mut from: UnixStream, mut to: UnixStream) {
    let mut waiting = VecDeque::new();
    let mut buffer = vec![0; 64 << 10];
    let mut is_ended = false;
    while !shared.is_over() {
        let taken = match from.read(&mut buffer) {
            _ if waiting.len() > MOST_HELD => 0,
            Ok(0) => {
                is_ended = true;
                thread::park_timeout(LOOK);
                0
            }
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
            Err(_) => break,
        };
        waiting.extend(&buffer[..taken]);
        let flow = *shared.state().flow(way);
        let ready = match flow {
            Flow::Open => waiting.len(),
            Flow::Held => {
                shared.held[way as usize].fetch_add(taken as u64, Ordering::Relaxed);
                shared.swallowed(way).extend(&buffer[..taken]);
                continue;
            }
            Flow::Slow { .. } if waiting.is_empty() => 0,
            Flow::Slow { latency, bytes_per_second } => {
                thread::sleep(latency.max(LOOK));
                let part = latency.max(LOOK).as_millis().saturating_mul(bytes_per_second.into()) / 1000;
                waiting.len().min(usize::try_from(part).unwrap_or(usize::MAX).max(1))
            }
        };
        let part: Vec<u8> = waiting.drain(..ready).collect();
        if to.write_all(&part).is_err() {
            break;
        }
        if is_ended && waiting.is_empty() {
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link to a server that sends back what it is sent.
    fn link() -> (tempfile::TempDir, Relay, FaultLog) {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("server")).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut stream));
            }
        });
        let log = FaultLog::default();
        let relay = Relay::start("a", &dir.path().join("relay"), &dir.path().join("server"), log.clone());
        (dir, relay, log)
    }

    fn connect(relay: &Relay) -> UnixStream {
        let stream = UnixStream::connect(&relay.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        stream
    }

    /// What came back of a word; nothing when there was silence.
    fn echo(stream: &mut UnixStream, word: &str) -> std::io::Result<String> {
        stream.write_all(word.as_bytes())?;
        let mut buffer = [0; 64];
        match stream.read(&mut buffer) {
            Ok(count) => Ok(String::from_utf8_lossy(&buffer[..count]).into_owned()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok("silence".into()),
            Err(error) => Err(error),
        }
    }

    #[test]
    fn a_black_hole_takes_everything_in_tells_nobody_and_delivers_it_when_it_heals() {
        let (_dir, relay, log) = link();
        let mut stream = connect(&relay);
        assert_eq!(echo(&mut stream, "one").unwrap(), "one");
        relay.swallow();
        assert_eq!(echo(&mut stream, "two").unwrap(), "silence");
        assert_eq!((relay.held(Way::ToServer), relay.held(Way::FromServer)), (3, 0));
        let holds = |word: &str| relay.holds(Way::ToServer, word.as_bytes());
        assert_eq!((holds("one"), holds("tw"), relay.holds(Way::FromServer, b"tw")), (false, true, false));
        let mut new = connect(&relay);
        assert_eq!(echo(&mut new, "new").unwrap(), "silence");
        assert_eq!(log.all()[0].until, None);
        relay.heal();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(echo(&mut stream, "").unwrap(), "two");
        assert!(log.all()[0].until.is_some());
    }

    #[test]
    fn one_way_swallows_only_that_way() {
        let (_dir, relay, _log) = link();
        let mut stream = connect(&relay);
        relay.swallow_one_way(Way::FromServer);
        assert_eq!(echo(&mut stream, "word").unwrap(), "silence");
        assert_eq!((relay.held(Way::ToServer), relay.held(Way::FromServer)), (0, 4));
    }

    #[test]
    fn a_cut_closes_every_connection_and_each_new_one() {
        let (_dir, relay, _log) = link();
        let mut stream = connect(&relay);
        assert_eq!(echo(&mut stream, "one").unwrap(), "one");
        relay.cut();
        assert_ne!(echo(&mut stream, "two").unwrap_or_default(), "two");
        assert_ne!(echo(&mut connect(&relay), "two").unwrap_or_default(), "two");
        assert!(relay.refused() >= 1);
        relay.heal();
        assert_eq!(echo(&mut connect(&relay), "three").unwrap(), "three");
    }

    #[test]
    fn a_slow_link_delivers_late_and_whole() {
        let (_dir, relay, _log) = link();
        let mut stream = connect(&relay);
        relay.slow(Duration::from_millis(50), 1 << 20);
        let began = std::time::Instant::now();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(echo(&mut stream, "word").unwrap(), "word");
        assert!(began.elapsed() >= Duration::from_millis(100), "{:?}", began.elapsed());
    }
}
