//! The network between the members of an etcd: each is reached by the others through a relay in front of it. A member can
//! be cut off from all others, both ways and without a word to anybody, while clients reach every one.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// The header in which a member says who it is, in everything of Raft that it sends.
const FROM: &str = "x-server-from:";
/// The largest head of a request.
const HEAD: usize = 16 << 10;

/// The relays in front of all members. End when dropped.
#[derive(Debug)]
pub struct Peers {
    shared: Arc<Shared>,
    ports: Vec<u16>,
    accepting: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Members that are cut off, by number and by the id that they give themselves.
    cut_off: Mutex<BTreeSet<(usize, String)>>,
    healed: Condvar,
    ends: Mutex<Vec<TcpStream>>,
    held: AtomicU64,
    ended: AtomicBool,
}

/// Between whom a connection is: whoever opened it may not have said who it is.
#[derive(Debug, Clone)]
struct Link {
    from: Option<String>,
    to: usize,
}

impl Peers {
    /// A relay for each member that listens for its peers at one of these ports of loopback.
    pub fn start(listening: &[u16]) -> Self {
        let shared = Arc::new(Shared::default());
        let (mut ports, mut accepting) = (Vec::new(), Vec::new());
        for (member, target) in listening.iter().copied().enumerate() {
            let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
            ports.push(listener.local_addr().expect("a listener has an address").port());
            let shared = shared.clone();
            accepting.push(thread::spawn(move || accept(&shared, &listener, member, target)));
        }
        Self { shared, ports, accepting }
    }

    /// Where the other members find this one.
    pub fn port(&self, member: usize) -> u16 {
        self.ports[member]
    }

    /// Nothing gets to a member or comes from it any more; `id` is what it calls itself, in hexadecimal digits.
    pub fn cut_off(&self, member: usize, id: &str) {
        self.shared.held.store(0, Ordering::Relaxed);
        self.shared.cut_off().insert((member, id.to_owned()));
    }

    /// All reach each other again; what stood still goes on where it was.
    pub fn heal(&self) {
        self.shared.cut_off().clear();
        self.shared.healed.notify_all();
    }

    /// How often something was held back since the cut: the proof that it is in force.
    pub fn held(&self) -> u64 {
        self.shared.held.load(Ordering::Relaxed)
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.heal();
        for end in self.shared.ends().drain(..) {
            // One that ended by itself cannot be ended again.
            let _ = end.shutdown(Shutdown::Both);
        }
        for (port, accepting) in self.ports.iter().zip(self.accepting.drain(..)) {
            // Wakes the one that accepts; it looks whether it is over.
            let _ = TcpStream::connect(("127.0.0.1", *port));
            let _ = accepting.join();
        }
    }
}

impl Shared {
    fn cut_off(&self) -> MutexGuard<'_, BTreeSet<(usize, String)>> {
        self.cut_off.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Returns once nothing holds the link back.
    fn pass(&self, link: &Link) {
        let mut cut_off = self.cut_off();
        let is_held = |cut_off: &BTreeSet<(usize, String)>| {
            cut_off.iter().any(|(member, id)| link.to == *member || link.from.as_ref() == Some(id))
        };
        if is_held(&cut_off) {
            self.held.fetch_add(1, Ordering::Relaxed);
        }
        while is_held(&cut_off) && !self.is_over() {
            cut_off = self.healed.wait(cut_off).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener, to: usize, target: u16) {
    loop {
        let (peer, _) = listener.accept().expect("a relay accepts");
        if shared.is_over() {
            return;
        }
        let shared = shared.clone();
        thread::spawn(move || carry(&shared, peer, to, target));
    }
}

/// Joins a connection with one to the member, once it is known whose it is.
fn carry(shared: &Arc<Shared>, mut peer: TcpStream, to: usize, target: u16) {
    let copy = |end: &TcpStream| end.try_clone().expect("a socket has a second handle");
    shared.ends().push(copy(&peer));
    let Some(head) = head(&mut peer) else { return };
    let link = Link { from: sender(&head), to };
    shared.pass(&link);
    // A member that is not there refuses, and so does its relay.
    let Ok(mut member) = TcpStream::connect(("127.0.0.1", target)) else {
        let _ = peer.shutdown(Shutdown::Both);
        return;
    };
    shared.ends().push(copy(&member));
    if member.write_all(&head).is_err() {
        return;
    }
    let back = (shared.clone(), link.clone(), copy(&member), copy(&peer));
    thread::spawn(move || pump(&back.0, &back.1, back.2, back.3));
    pump(shared, &link, peer, member);
}

/// The first request up to its body, and what came with it; None when the connection ended before.
fn head(peer: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD {
        match peer.read(&mut buffer) {
            Ok(count) if count > 0 => head.extend_from_slice(&buffer[..count]),
            Ok(_) | Err(_) => return None,
        }
    }
    Some(head)
}

fn sender(head: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(head).to_lowercase();
    let line = text.lines().find_map(|line| line.strip_prefix(FROM))?;
    Some(line.trim().to_owned())
}

/// Carries one direction until either side is gone; nobody hears of an end while the link is held back.
fn pump(shared: &Shared, link: &Link, mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count) = from.read(&mut buffer) {
        shared.pass(link);
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A member that sends back what it is sent.
    fn echo() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut stream));
            }
        });
        port
    }

    fn dial(peers: &Peers, from: &str, to: usize) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", peers.port(to))).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let head = format!("GET /raft/stream HTTP/1.1\r\nX-Server-From: {from}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }

    fn answers(stream: &mut TcpStream) -> bool {
        stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0)
    }

    #[test]
    fn who_is_cut_off_is_cut_off_both_ways_and_the_others_are_not() {
        let peers = Peers::start(&[echo(), echo(), echo()]);
        let mut open = dial(&peers, "a0", 1);
        assert!(answers(&mut open));
        peers.cut_off(0, "a0");
        open.write_all(b"more").unwrap();
        assert!(!answers(&mut open), "what it sends over an open connection");
        let mut from_it = dial(&peers, "a0", 2);
        let mut to_it = dial(&peers, "a1", 0);
        assert!(!answers(&mut from_it) && !answers(&mut to_it));
        assert!(answers(&mut dial(&peers, "a1", 2)), "the others reach each other");
        assert!(peers.held() >= 3);
        peers.heal();
        open.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert!(answers(&mut open) && answers(&mut from_it) && answers(&mut to_it));
    }
}
