//! Which process listens on a port of a Task: one of the Task, or a stranger. Tasks share the node's network, so every
//! process of the node can take their ports.
//!
//! Sockets are listed in `/proc/net/tcp` and `tcp6`, their processes in `/proc/PID/fd`. An entry that cannot be read, or
//! is gone at the second look, is no reason to accuse a process.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::assignment::{TaskPort, TaskUid};

/// State of a listening socket.
const LISTEN: &str = "0A";
/// The most listening sockets of one table that are looked at.
const MOST_LISTENERS: usize = 1 << 16;

/// The sockets of this network that listen, as they were read.
#[derive(Debug)]
pub struct Listeners(Vec<Listener>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listener {
    address: SocketAddr,
    /// Inode of the socket.
    socket: u64,
}

/// Who holds some sockets.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// No process that can be named.
    Nobody,
    /// A process of the Task has this one.
    Own(u64),
    /// Only processes outside the Task; one of them.
    Stranger(Holder),
}

/// A process that holds a socket.
#[derive(Debug, PartialEq, Eq)]
pub struct Holder {
    name: String,
    pid: i32,
}

/// Sockets that were found to be the Tasks' own: while one of them answers, its processes are not searched again.
#[derive(Debug, Default)]
pub struct OwnSockets(Mutex<HashMap<TaskUid, HashMap<u16, u64>>>);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "held by {} (pid {})", self.name, self.pid)
    }
}

impl Listeners {
    /// Those of the network that this process is in.
    pub fn read() -> Self {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
        Self(tables.into_iter().flat_map(|table| read_table(Path::new(table))).collect())
    }

    /// The sockets that get a connection to `asked`: those at this very address, else those at all addresses.
    pub fn answering(&self, asked: SocketAddr) -> BTreeSet<u64> {
        let rank = |listener: &Listener| match listener.address.ip() {
            address if address == asked.ip() => Some(0),
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) if asked.is_ipv4() => Some(1),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Some(2),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        };
        let ranked: Vec<(i32, u64)> =
            self.of(asked.port()).filter_map(|listener| Some((rank(listener)?, listener.socket))).collect();
        let best = ranked.iter().map(|(rank, _)| *rank).min();
        ranked.into_iter().filter(|(rank, _)| Some(*rank) == best).map(|(_, socket)| socket).collect()
    }

    /// The sockets that keep a Task from `port`. For an assigned port every listener counts: another port can be assigned.
    /// For a port of the manifest only listeners on all addresses, 127.0.0.1 or `::1` count: the program may bind another
    /// address, beside a resolver on 127.0.0.53 for instance.
    pub fn in_the_way(&self, port: TaskPort) -> BTreeSet<u64> {
        let counts = |listener: &&Listener| {
            let address = listener.address.ip();
            let asked = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            port.assigned || address.is_unspecified() || asked.contains(&address)
        };
        self.of(port.number).filter(counts).map(|listener| listener.socket).collect()
    }

    fn of(&self, port: u16) -> impl Iterator<Item = &Listener> {
        self.0.iter().filter(move |listener| listener.address.port() == port)
    }
}

/// The kernel lists the sockets that listen before all others.
fn read_table(path: &Path) -> Vec<Listener> {
    let Ok(file) = File::open(path) else { return Vec::new() };
    let rows = BufReader::new(file).lines().skip(1).map_while(Result::ok);
    rows.map_while(|row| listener(&row)).take(MOST_LISTENERS).collect()
}

/// A row as `0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 12345 1 ...`; none of a socket
/// that does not listen.
fn listener(row: &str) -> Option<Listener> {
    let mut words = row.split_ascii_whitespace();
    let (address, port) = words.nth(1)?.split_once(':')?;
    if words.nth(1)? != LISTEN {
        return None;
    }
    let address = SocketAddr::new(ip(address)?, u16::from_str_radix(port, 16).ok()?);
    Some(Listener { address, socket: words.nth(5)?.parse().ok()? })
}

/// An address is written as one or four numbers whose bytes are in the order of the network.
fn ip(hex: &str) -> Option<IpAddr> {
    let number = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => number(0).map(IpAddr::from),
        32 => {
            let mut bytes = [0; 16];
            for (n, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&number(n * 8)?);
            }
            Some(IpAddr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

/// Who holds these sockets, where `own` gives the processes of the Task, if they can be read. A socket that a process of
/// the Task shares, or a port that it shares, is its own.
pub fn find(sockets: &BTreeSet<u64>, own: impl Fn() -> Option<BTreeSet<i32>>) -> Found {
    if sockets.is_empty() {
        return Found::Nobody;
    }
    let Some(before) = own() else { return Found::Nobody };
    if let Some(socket) = before.iter().find_map(|pid| held_by(*pid, sockets)) {
        return Found::Own(socket);
    }
    let Some((pid, socket)) = processes().find_map(|pid| Some((pid, held_by(pid, sockets)?))) else {
        return Found::Nobody;
    };
    // It may be of the Task and younger than the first look.
    let Some(after) = own() else { return Found::Nobody };
    if after.contains(&pid) {
        return Found::Own(socket);
    }
    let holder = Holder { name: name(pid), pid };
    if held_by(pid, sockets).is_some() { Found::Stranger(holder) } else { Found::Nobody }
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// One of `sockets` that a process has open.
fn held_by(pid: i32, sockets: &BTreeSet<u64>) -> Option<u64> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    open.filter_map(|entry| socket(&fs::read_link(entry.path()).ok()?))
        .find(|socket| sockets.contains(socket))
}

/// The inode in `socket:[12345]`.
fn socket(link: &Path) -> Option<u64> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// A process may choose its name: it must not break a line of a status.
fn name(pid: i32) -> String {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = String::from_utf8_lossy(&name);
    name.trim_end_matches('\n').replace(char::is_control, "?")
}

impl OwnSockets {
    /// Whether one of these is known as the Task's own at this port.
    pub fn include_one(&self, task: &TaskUid, port: u16, sockets: &BTreeSet<u64>) -> bool {
        self.lock().get(task).and_then(|ports| ports.get(&port)).is_some_and(|known| sockets.contains(known))
    }

    /// Remembers the Task's own socket at this port.
    pub fn remember(&self, task: &TaskUid, port: u16, socket: u64) {
        self.lock().entry(task.clone()).or_default().insert(port, socket);
    }

    /// Forgets a Task.
    pub fn forget(&self, task: &TaskUid) {
        self.lock().remove(task);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TaskUid, HashMap<u16, u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "port_holder_tests.rs"]
mod tests;
