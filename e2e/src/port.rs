//! Ports of loopback for programs that cannot choose their own: taken by one test, and by nobody between two starts.

use std::net::TcpListener;
use std::ops::Range;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// Below the ports that the kernel gives to connections, and below those of Tasks.
const PORTS: Range<u16> = 20_000..30_000;

/// A port that no other test takes until this is dropped, whether somebody listens there or not.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// A name in the same network namespace as the port: the kernel frees it when this process ends.
    _name: UnixListener,
}

impl Port {
    /// Takes a port that is free.
    ///
    /// # Panics
    /// When all are taken.
    pub fn take() -> Self {
        let first = fastrand::u16(PORTS);
        let taken = (first..PORTS.end).chain(PORTS.start..first).find_map(Self::of);
        taken.unwrap_or_else(|| panic!("every port of {PORTS:?} is taken"))
    }

    /// Takes two ports in a row that are free.
    ///
    /// # Panics
    /// When there are none.
    pub fn take_pair() -> (Self, Self) {
        let first = fastrand::u16(PORTS);
        let pair = |number| Some((Self::of(number)?, Self::of(number + 1)?));
        let mut lower =
            (first..PORTS.end).chain(PORTS.start..first).filter(|number| PORTS.contains(&(number + 1)));
        let taken = lower.find_map(pair);
        taken.unwrap_or_else(|| panic!("no two ports of {PORTS:?} in a row are free"))
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// This port, if it is free.
    fn of(number: u16) -> Option<Self> {
        let name = SocketAddr::from_abstract_name(format!("berth-test-port-{number}")).ok()?;
        let name = UnixListener::bind_addr(&name).ok()?;
        // Programs that are no tests take no names.
        TcpListener::bind(("127.0.0.1", number)).ok()?;
        Some(Self { number, _name: name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_taken_before_anybody_listens_there_and_free_when_dropped() {
        let port = Port::take();
        assert!(Port::of(port.number()).is_none(), "taken twice");
        let number = port.number();
        drop(port);
        let listener = TcpListener::bind(("127.0.0.1", number)).unwrap();
        assert!(Port::of(number).is_none(), "somebody listens there");
        drop(listener);
        assert!(Port::of(number).is_some());
    }

    #[test]
    fn the_kernel_gives_none_of_them_to_connections() {
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
        let first: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
        assert!(PORTS.end <= first, "connections from {first} on");
    }
}
