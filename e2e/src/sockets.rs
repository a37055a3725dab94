//! The connections of a process, as its kernel has them.

use std::collections::BTreeSet;
use std::fs;

/// The state of a connection that neither side has closed.
const ESTABLISHED: &str = "01";

/// How many connections of a process to a TCP port, over IPv4, no side has closed.
pub fn established_to(pid: u32, port: u16) -> usize {
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    let own = inodes(pid);
    let to_port = format!(":{port:04X}");
    let counts = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // Number, own address, the other's address, state; the tenth is the inode of the socket.
        matches!(words[..], [_, _, other, ESTABLISHED, _, _, _, _, _, inode, ..]
            if other.ends_with(&to_port) && own.contains(inode))
    };
    table.lines().filter(counts).count()
}

/// The inodes of all sockets that a process has open.
fn inodes(pid: u32) -> BTreeSet<String> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let socket = |entry: fs::DirEntry| {
        let target = fs::read_link(entry.path()).ok()?;
        Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
    };
    open.filter_map(socket).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_counts_until_either_side_closes_it() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let count = || established_to(std::process::id(), port);
        assert_eq!(count(), 0);
        let streams = [(); 2].map(|()| TcpStream::connect(("127.0.0.1", port)).unwrap());
        let others = [(); 2].map(|()| listener.accept().unwrap().0);
        assert_eq!((count(), established_to(1, port)), (2, 0));
        let [first, _second] = others;
        drop(first);
        crate::wait::eventually("one is closed", std::time::Duration::from_secs(10), || match count() {
            1 => Ok(()),
            other => Err(other.to_string()),
        });
        drop(streams);
    }
}
