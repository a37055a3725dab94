//! Checks of running containers, on the node's loopback addresses: tasks share the node's network.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::assignment::Check;

/// Where a program may listen; the first that accepts is asked.
const ADDRESSES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
/// The longest first line of an answer: it is all that counts.
const MAX_LINE: usize = 1024;
/// The most of an answer that is read. A server must not find its client gone half-way.
const MAX_ANSWER: usize = 4 << 20;

/// Makes one check, within `timeout`. Returns the address that answered well, or what was wrong.
pub async fn check(check: &Check, timeout: Duration) -> Result<SocketAddr, String> {
    let until = Instant::now() + timeout;
    let made = match check {
        Check::Tcp { port } => timeout_at(until, connect(*port)).await.map(|r| r.map(|(_, asked)| asked)),
        Check::Http { path, port } => timeout_at(until, get(path, *port, until)).await,
    };
    match made {
        Ok(answered) => answered.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", timeout.as_secs())),
    }
}

async fn connect(port: u16) -> io::Result<(TcpStream, SocketAddr)> {
    let mut refusals = Vec::new();
    for address in ADDRESSES.map(|address| SocketAddr::from((address, port))) {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok((stream, address)),
            Err(error) => refusals.push(format!("{address}: {error}")),
        }
    }
    Err(io::Error::other(refusals.join("; ")))
}

/// No redirect is followed: an answer of 300 to 399 is a good one. What follows the first line is read as long as there
/// is time, and decides nothing.
async fn get(path: &str, port: u16, until: Instant) -> io::Result<SocketAddr> {
    let (mut stream, asked) = connect(port).await?;
    let agent = concat!("berth-probe/", env!("CARGO_PKG_VERSION"));
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {asked}\r\nUser-Agent: {agent}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut line = Vec::with_capacity(MAX_LINE);
    let mut buffer = [0u8; 256];
    while !line.contains(&b'\n') && line.len() < MAX_LINE {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        line.extend_from_slice(&buffer[..read]);
    }
    let code = status(&line);
    if code.is_some() {
        let _ = timeout_at(before(until), read_rest(stream)).await;
    }
    match code {
        Some(200..=399) => Ok(asked),
        Some(code) => Err(io::Error::other(format!("{asked} answered {code}"))),
        None => Err(io::Error::other(format!("{asked} did not answer in HTTP"))),
    }
}

/// The reading of the rest ends before the check does: its outcome is known by then.
fn before(until: Instant) -> Instant {
    until.checked_sub(Duration::from_millis(10)).unwrap_or(until)
}

async fn read_rest(stream: TcpStream) -> io::Result<u64> {
    tokio::io::copy(&mut stream.take(MAX_ANSWER as u64), &mut tokio::io::sink()).await
}

/// The code in `HTTP/1.1 200 OK`.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let mut words = str::from_utf8(line).ok()?.split(' ');
    words.next()?.starts_with("HTTP/1.").then(|| words.next()?.trim_end().parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    use crate::silent_port::silent_port;

    async fn answering(answer: &'static str) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0u8; 512];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                if answer.is_empty() {
                    std::future::pending::<()>().await;
                }
            }
        });
        port
    }

    #[tokio::test]
    async fn an_http_check_is_good_from_200_to_399() {
        for (answer, good) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.0 302 Found\r\n\r\n", true),
            ("HTTP/1.1 404 Not Found\r\n\r\n", false),
            ("HTTP/1.1 503\r\n", false),
            ("SSH-2.0-x\r\n", false),
            ("", false),
        ] {
            let port = answering(answer).await;
            let check = Check::Http { path: "/".into(), port };
            let finding = super::check(&check, Duration::from_millis(300)).await;
            assert_eq!(finding.is_ok(), good, "{answer:?}: {finding:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_is_read_to_its_end_and_an_endless_one_for_as_long_as_there_is_time() {
        for (bytes, closes) in [(1 << 20, true), (0, false)] {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0u8; 512]).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                stream.write_all(&vec![b'x'; bytes]).await.unwrap();
                if closes {
                    stream.shutdown().await.unwrap();
                }
                // A client that goes away with part of the answer unread resets the connection.
                stream.read(&mut [0u8; 1]).await
            });
            let check = Check::Http { path: "/".into(), port };
            let timeout = if closes { Duration::from_secs(60) } else { Duration::from_millis(300) };
            assert!(super::check(&check, timeout).await.is_ok(), "{bytes} bytes");
            assert_eq!(
                server.await.unwrap().unwrap(),
                0,
                "the client closed after {bytes} bytes and sent no more"
            );
        }
    }

    #[tokio::test]
    async fn both_loopback_addresses_are_tried_and_a_failure_names_them() {
        let ([_v4, v6], port) = silent_port();
        let listener = v6.listen(1).unwrap();
        let found = check(&Check::Tcp { port }, Duration::from_secs(60)).await;
        assert_eq!(found, Ok(listener.local_addr().unwrap()));
        let (_held, port) = silent_port();
        let why = check(&Check::Tcp { port }, Duration::from_secs(60)).await.unwrap_err();
        for address in [format!("127.0.0.1:{port}: "), format!("[::1]:{port}: ")] {
            assert!(why.contains(&address), "{why}");
        }
    }

    #[tokio::test]
    async fn a_tcp_check_is_good_when_somebody_listens() {
        let port = answering("").await;
        let asked = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        assert_eq!(check(&Check::Tcp { port }, Duration::from_secs(1)).await, Ok(asked));
        let (_held, port) = silent_port();
        assert!(check(&Check::Tcp { port }, Duration::from_secs(1)).await.is_err());
    }
}
