//! A port of tests on which nobody listens.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use tokio::net::TcpSocket;

/// A port that is bound at both loopback addresses: nobody listens there, and nobody else can.
pub fn silent_port() -> ([TcpSocket; 2], u16) {
    loop {
        let [v4, v6] = [TcpSocket::new_v4(), TcpSocket::new_v6()].map(Result::unwrap);
        v4.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let port = v4.local_addr().unwrap().port();
        match v6.bind((Ipv6Addr::LOCALHOST, port).into()) {
            Ok(()) => return ([v4, v6], port),
            // Somebody else has the port at this address.
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}"),
        }
    }
}
