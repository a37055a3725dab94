//! One HTTP request on loopback, as a user's program would make it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Body of `GET /` on a port of 127.0.0.1; the reason when there is no answer of 200.
pub fn get(port: u16) -> Result<String, String> {
    get_path(port, "/")
}

/// The same for another path.
pub fn get_path(port: u16, path: &str) -> Result<String, String> {
    let limit = Duration::from_secs(2);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_read_timeout(Some(limit))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| format!("port {port}: {error}"))?;
    let (head, body) =
        answer.split_once("\r\n\r\n").ok_or_else(|| format!("port {port}: no HTTP: {answer}"))?;
    if head.split(' ').nth(1) != Some("200") {
        return Err(format!("port {port}: {head}"));
    }
    Ok(body.trim().to_string())
}
