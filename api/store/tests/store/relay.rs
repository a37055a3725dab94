//! A relay before a member of etcd that holds back what clients send, and delivers it later: as a member that hangs with
//! calls in its buffer carries them out when it goes on, although their senders have left.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Bytes that a client of HTTP/2 sends before its first frame.
const PREFACE: usize = 24;
const HEADER: usize = 9;
const DATA: u8 = 0;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;

const PATIENCE: Duration = Duration::from_secs(60);

/// One relay; it ends when it is dropped.
pub struct Relay {
    url: String,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    holds: watch::Sender<bool>,
    /// Text in the call that is looked for.
    mark: Mutex<Vec<u8>>,
    /// Whether etcd answered that call after it was held back.
    answered: watch::Sender<bool>,
}

/// One connection through the relay.
struct Line {
    shared: Arc<Shared>,
    /// The stream of the call that is looked for.
    marked: Mutex<Option<u32>>,
}

/// A frame of HTTP/2 with its header.
struct Frame(Vec<u8>);

impl Relay {
    /// A relay before the member at `url`.
    pub async fn before(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Shared {
            holds: watch::Sender::new(false),
            mark: Mutex::default(),
            answered: watch::Sender::new(false),
        };
        let (shared, member) = (Arc::new(shared), url.trim_start_matches("http://").to_owned());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, member, shared.clone()));
        Self { url: format!("http://127.0.0.1:{port}"), shared, _tasks: tasks }
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Holds back everything that clients send from now on; the call that contains `mark` is looked for.
    pub fn hold(&self, mark: &str) {
        *self.shared.mark.lock().unwrap() = mark.as_bytes().to_vec();
        self.shared.holds.send_replace(true);
    }

    /// Delivers what was held back, and waits until etcd has answered the call that is looked for.
    pub async fn release(&self) {
        self.shared.holds.send_replace(false);
        let mut answered = self.shared.answered.subscribe();
        let answered = tokio::time::timeout(PATIENCE, answered.wait_for(|answered| *answered)).await;
        answered.expect("etcd does not answer what was held back").unwrap();
    }
}

async fn accept(listener: TcpListener, member: String, shared: Arc<Shared>) {
    let mut lines = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let Ok(etcd) = TcpStream::connect(&member).await else { continue };
        let line = Line { shared: shared.clone(), marked: Mutex::default() };
        lines.spawn(async move {
            let (from_client, to_client) = client.into_split();
            let (from_etcd, to_etcd) = etcd.into_split();
            tokio::join!(line.ask(from_client, to_etcd), line.answer(from_etcd, to_client));
        });
    }
}

impl Line {
    async fn ask(&self, mut client: OwnedReadHalf, mut etcd: OwnedWriteHalf) {
        let mut preface = [0; PREFACE];
        if client.read_exact(&mut preface).await.is_err() || etcd.write_all(&preface).await.is_err() {
            return;
        }
        let mut held = Vec::new();
        while let Some(frame) = Frame::read(&mut client).await {
            if !*self.shared.holds.borrow() && held.is_empty() {
                // It fails when etcd has ended: the client learns that from the other direction.
                let _ = etcd.write_all(&frame.0).await;
            } else if !frame.takes_back() {
                self.look_at(&frame);
                held.push(frame);
            }
        }
        // The client has left, and etcd does not learn that.
        let mut holds = self.shared.holds.subscribe();
        let _ = holds.wait_for(|holds| !*holds).await;
        for frame in held {
            let _ = etcd.write_all(&frame.0).await;
        }
        std::future::pending().await
    }

    fn look_at(&self, frame: &Frame) {
        let mark = self.shared.mark.lock().unwrap();
        if frame.kind() == DATA && frame.0.windows(mark.len()).any(|part| *part == **mark) {
            *self.marked.lock().unwrap() = Some(frame.stream());
        }
    }

    async fn answer(&self, mut etcd: OwnedReadHalf, mut client: OwnedWriteHalf) {
        while let Some(frame) = Frame::read(&mut etcd).await {
            if frame.kind() == DATA && *self.marked.lock().unwrap() == Some(frame.stream()) {
                self.shared.answered.send_replace(true);
            }
            // It fails when the client has left.
            let _ = client.write_all(&frame.0).await;
        }
    }
}

impl Frame {
    async fn read(from: &mut OwnedReadHalf) -> Option<Self> {
        let mut frame = vec![0; HEADER];
        from.read_exact(&mut frame).await.ok()?;
        let length = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]);
        frame.resize(HEADER + usize::try_from(length).unwrap(), 0);
        from.read_exact(&mut frame[HEADER..]).await.ok()?;
        Some(Self(frame))
    }

    fn kind(&self) -> u8 {
        self.0[3]
    }

    fn stream(&self) -> u32 {
        u32::from_be_bytes([self.0[5], self.0[6], self.0[7], self.0[8]])
    }

    /// Whether its sender gives up what it asked for.
    fn takes_back(&self) -> bool {
        matches!(self.kind(), RST_STREAM | GOAWAY)
    }
}
