//! Talking to a Task's shim without blocking: calls and their answers, and the ends it pushes.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use berth_shim_api::message::{
    Answer, Call, ContainerReport, FromShim, Greeting, Hello, MAX_LINE, Outcome, Refusal, Request, Running,
    Start, VERSION,
};
use berth_shim_api::{ExitRecord, ProcessId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

/// The longest wait for a greeting; the shim answers at once.
const GREETING: Duration = Duration::from_secs(5);
/// The longest wait for an answer: the shim gives up a stuck create before.
const ANSWER: Duration = Duration::from_secs(120);

/// Asks a shim; clones share the conversation.
#[derive(Debug, Clone)]
pub struct Shim {
    calls: mpsc::Sender<(Request, oneshot::Sender<Outcome>)>,
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// The shim is gone.
    #[error("the shim is gone")]
    Gone,
    /// It did not answer in time.
    #[error("the shim did not answer in time")]
    Silent,
    /// It could not be reached.
    #[error("could not reach the shim: {0}")]
    Io(#[from] io::Error),
    /// It is another Task's, or speaks no protocol of ours.
    #[error("the shim is not ours: {0}")]
    Foreign(String),
    /// It answered no.
    #[error("{}", .0.message)]
    Refused(Refusal),
}

/// A conversation just opened: `talk` must run for calls to be answered.
#[derive(Debug)]
pub struct Conversation {
    /// To ask.
    pub shim: Shim,
    /// The shim's process.
    pub process: ProcessId,
    calls: mpsc::Receiver<(Request, oneshot::Sender<Outcome>)>,
    lines: Lines,
    to_shim: OwnedWriteHalf,
}

/// Opens a conversation with the shim of Task `task` at `socket`.
pub async fn connect(socket: &Path, task: &str) -> Result<Conversation, ShimError> {
    let opened = tokio::time::timeout(GREETING, greet(socket)).await.map_err(|_| ShimError::Silent)?;
    let (lines, to_shim, greeting) = opened?;
    match greeting {
        Greeting::Welcome { task_uid, shim, .. } if task_uid == task => {
            let (sender, calls) = mpsc::channel(16);
            Ok(Conversation { shim: Shim { calls: sender }, process: shim, calls, lines, to_shim })
        }
        Greeting::Welcome { task_uid, .. } => {
            Err(ShimError::Foreign(format!("it belongs to Task {task_uid}")))
        }
        Greeting::Refused { why } => Err(ShimError::Foreign(why)),
    }
}

async fn greet(socket: &Path) -> io::Result<(Lines, OwnedWriteHalf, Greeting)> {
    let (reader, mut to_shim) = UnixStream::connect(socket).await?.into_split();
    send(&mut to_shim, &Hello { oldest: VERSION, newest: VERSION }).await?;
    let mut lines = Lines { reader: BufReader::new(reader), line: Vec::new() };
    let greeting = lines.next().await?;
    Ok((lines, to_shim, greeting))
}

/// Reads lines; a read that is dropped half-way loses nothing.
#[derive(Debug)]
struct Lines {
    reader: BufReader<OwnedReadHalf>,
    line: Vec<u8>,
}

impl Lines {
    async fn next<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        let left = u64::try_from(MAX_LINE.saturating_sub(self.line.len())).expect("a megabyte fits");
        (&mut self.reader).take(left).read_until(b'\n', &mut self.line).await?;
        if self.line.last() != Some(&b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let message = serde_json::from_slice(&self.line).map_err(io::Error::from);
        self.line.clear();
        message
    }
}

async fn send<T: Serialize>(to_shim: &mut OwnedWriteHalf, message: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    to_shim.write_all(&line).await
}

impl Conversation {
    /// Carries calls there and answers back, and gives every end that the shim pushes to `ended`; until the shim or
    /// every asker is gone.
    pub async fn talk(mut self, mut ended: impl FnMut(ExitRecord)) {
        drop(self.shim);
        let mut waiting: HashMap<u64, oneshot::Sender<Outcome>> = HashMap::new();
        let mut id = 0;
        loop {
            tokio::select! {
                call = self.calls.recv() => {
                    let Some((request, answer)) = call else { return };
                    id += 1;
                    waiting.insert(id, answer);
                    if send(&mut self.to_shim, &Call { id, request }).await.is_err() {
                        return;
                    }
                }
                line = self.lines.next() => match line {
                    Ok(FromShim::Exited(record)) => ended(record),
                    Ok(FromShim::Reply { id, outcome }) => {
                        if let Some(asker) = waiting.remove(&id) {
                            // Whoever asked may have given up.
                            let _ = asker.send(outcome);
                        }
                    }
                    Err(_) => return,
                },
            }
        }
    }
}

impl Shim {
    async fn call(&self, request: Request) -> Result<Answer, ShimError> {
        let (asker, answer) = oneshot::channel();
        self.calls.send((request, asker)).await.map_err(|_| ShimError::Gone)?;
        let outcome = tokio::time::timeout(ANSWER, answer).await.map_err(|_| ShimError::Silent)?;
        match outcome.map_err(|_| ShimError::Gone)? {
            Outcome::Ok(answer) => Ok(answer),
            Outcome::Refused(refusal) => Err(ShimError::Refused(refusal)),
        }
    }

    /// Whether the conversation goes on, as far as anybody knows.
    pub fn is_open(&self) -> bool {
        !self.calls.is_closed()
    }

    /// Has ends pushed from now on; tells what every container is doing.
    pub async fn subscribe(&self) -> Result<Vec<ContainerReport>, ShimError> {
        reports(self.call(Request::Subscribe).await?)
    }

    /// What every container is doing.
    pub async fn state(&self) -> Result<Vec<ContainerReport>, ShimError> {
        reports(self.call(Request::State).await?)
    }

    /// Starts an attempt.
    pub async fn start(&self, start: Start) -> Result<Running, ShimError> {
        match self.call(Request::Start(start)).await? {
            Answer::Started(running) => Ok(running),
            other @ (Answer::Done | Answer::State(_)) => Err(unexpected(&other)),
        }
    }

    /// Sends TERM to a container's first process.
    pub async fn terminate(&self, container: &str) -> Result<(), ShimError> {
        let signal = rustix::process::Signal::TERM.as_raw();
        self.call(Request::Signal { container: container.into(), signal }).await.map(drop)
    }

    /// Kills everything in a container's cgroup.
    pub async fn kill(&self, container: &str) -> Result<(), ShimError> {
        self.call(Request::Kill { container: container.into() }).await.map(drop)
    }

    /// Ends the shim once no container runs.
    pub async fn shutdown(&self) -> Result<(), ShimError> {
        self.call(Request::Shutdown).await.map(drop)
    }
}

fn reports(answer: Answer) -> Result<Vec<ContainerReport>, ShimError> {
    match answer {
        Answer::State(reports) => Ok(reports),
        other @ (Answer::Done | Answer::Started(_)) => Err(unexpected(&other)),
    }
}

fn unexpected(answer: &Answer) -> ShimError {
    ShimError::Foreign(format!("it answered {answer:?}"))
}
