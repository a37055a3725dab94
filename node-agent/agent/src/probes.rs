//! Checks of running containers, on the node's loopback address: tasks share the node's network.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::assignment::Check;
use crate::plan::Finding;

/// The most of an answer that is read: its first line is all that counts.
const MAX_ANSWER: usize = 1024;

/// Makes one check, within `timeout`.
pub async fn check(check: &Check, timeout: Duration) -> Finding {
    let made = match check {
        Check::Tcp { port } => tokio::time::timeout(timeout, connect(*port)).await.map(|r| r.map(drop)),
        Check::Http { path, port } => tokio::time::timeout(timeout, get(path, *port)).await,
    };
    match made {
        Ok(Ok(())) => Finding::Good,
        Ok(Err(error)) => Finding::Bad(error.to_string()),
        Err(_) => Finding::Bad(format!("no answer within {} s", timeout.as_secs())),
    }
}

async fn connect(port: u16) -> io::Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect(address).await.map_err(|e| io::Error::other(format!("port {port}: {e}")))
}

/// No redirect is followed: an answer of 300 to 399 is a good one.
async fn get(path: &str, port: u16) -> io::Result<()> {
    let mut stream = connect(port).await?;
    let agent = concat!("berth-probe/", env!("CARGO_PKG_VERSION"));
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: {agent}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(MAX_ANSWER);
    let mut buffer = [0u8; 256];
    while !answer.contains(&b'\n') && answer.len() < MAX_ANSWER {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..read]);
    }
    match status(&answer) {
        Some(200..=399) => Ok(()),
        Some(code) => Err(io::Error::other(format!("port {port} answered {code}"))),
        None => Err(io::Error::other(format!("port {port} did not answer in HTTP"))),
    }
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
            assert_eq!(finding == Finding::Good, good, "{answer:?}: {finding:?}");
        }
    }

    #[tokio::test]
    async fn a_tcp_check_is_good_when_somebody_listens() {
        let port = answering("").await;
        assert_eq!(check(&Check::Tcp { port }, Duration::from_secs(1)).await, Finding::Good);
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
        assert!(matches!(check(&Check::Tcp { port: free }, Duration::from_secs(1)).await, Finding::Bad(_)));
    }
}
