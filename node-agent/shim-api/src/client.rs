//! A blocking client of one shim.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::exit::ExitRecord;
use crate::message::{
    Answer, Call, ContainerReport, FromShim, Greeting, Hello, MAX_LINE, Outcome, Refusal, Request, Running,
    Start, VERSION,
};
use crate::process::ProcessId;

/// A conversation with a shim.
#[derive(Debug)]
pub struct Client {
    lines: BufReader<UnixStream>,
    calls: u64,
    exits: VecDeque<ExitRecord>,
    task_uid: String,
    shim: ProcessId,
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The shim is gone or does not answer in time.
    #[error("could not talk to the shim")]
    Gone(#[from] io::Error),
    /// The shim speaks no protocol that we speak.
    #[error("the shim refused the conversation: {0}")]
    Version(String),
    /// The shim sent what is no line of the protocol.
    #[error("the shim sent an unexpected line: {0}")]
    Garbled(String),
    /// The shim answered no.
    #[error("{}", .0.message)]
    Refused(Refusal),
}

impl Client {
    /// Connects to the shim at `socket` and shakes hands; no single wait, of this and later calls, is longer than
    /// `patience`.
    pub fn connect(socket: &Path, patience: Duration) -> Result<Self, ClientError> {
        Self::connect_as(socket, patience, &Hello { oldest: VERSION, newest: VERSION })
    }

    /// Connects with a hello of the caller's choice.
    pub fn connect_as(socket: &Path, patience: Duration, hello: &Hello) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let mut lines = BufReader::new(stream);
        send(&mut lines, hello)?;
        match receive(&mut lines)? {
            Greeting::Welcome { task_uid, shim, .. } => {
                Ok(Self { lines, calls: 0, exits: VecDeque::new(), task_uid, shim })
            }
            Greeting::Refused { why } => Err(ClientError::Version(why)),
        }
    }

    /// The uid of the Task whose shim this is.
    pub fn task_uid(&self) -> &str {
        &self.task_uid
    }

    /// The shim's process.
    pub fn shim(&self) -> ProcessId {
        self.shim
    }

    /// Asks and waits for the reply; ends that arrive meanwhile are kept for [`Client::next_exit`].
    pub fn call(&mut self, request: Request) -> Result<Answer, ClientError> {
        self.calls += 1;
        let id = self.calls;
        send(&mut self.lines, &Call { id, request })?;
        loop {
            match receive(&mut self.lines)? {
                FromShim::Exited(record) => self.exits.push_back(record),
                FromShim::Reply { id: answered, outcome } if answered == id => match outcome {
                    Outcome::Ok(answer) => return Ok(answer),
                    Outcome::Refused(refusal) => return Err(ClientError::Refused(refusal)),
                },
                FromShim::Reply { .. } => {}
            }
        }
    }

    /// What every container is doing.
    pub fn state(&mut self) -> Result<Vec<ContainerReport>, ClientError> {
        reports(self.call(Request::State)?)
    }

    /// Has ends pushed from now on; tells what every container was doing at that moment.
    pub fn subscribe(&mut self) -> Result<Vec<ContainerReport>, ClientError> {
        reports(self.call(Request::Subscribe)?)
    }

    /// Starts an attempt of a container.
    pub fn start(&mut self, start: Start) -> Result<Running, ClientError> {
        match self.call(Request::Start(start))? {
            Answer::Started(running) => Ok(running),
            other @ (Answer::Done | Answer::State(_)) => Err(unexpected(&other)),
        }
    }

    /// Sends a signal to a container's first process.
    pub fn signal(&mut self, container: &str, signal: i32) -> Result<(), ClientError> {
        done(self.call(Request::Signal { container: container.into(), signal })?)
    }

    /// Kills everything in a container's cgroup.
    pub fn kill(&mut self, container: &str) -> Result<(), ClientError> {
        done(self.call(Request::Kill { container: container.into() })?)
    }

    /// Removes what is left of an ended container.
    pub fn delete(&mut self, container: &str) -> Result<(), ClientError> {
        done(self.call(Request::Delete { container: container.into() })?)
    }

    /// Ends the shim.
    pub fn shutdown(&mut self) -> Result<(), ClientError> {
        done(self.call(Request::Shutdown)?)
    }

    /// The next end of a container; after [`Client::subscribe`].
    pub fn next_exit(&mut self) -> Result<ExitRecord, ClientError> {
        loop {
            if let Some(record) = self.exits.pop_front() {
                return Ok(record);
            }
            match receive(&mut self.lines)? {
                FromShim::Exited(record) => self.exits.push_back(record),
                FromShim::Reply { .. } => {}
            }
        }
    }
}

fn reports(answer: Answer) -> Result<Vec<ContainerReport>, ClientError> {
    match answer {
        Answer::State(reports) => Ok(reports),
        other @ (Answer::Done | Answer::Started(_)) => Err(unexpected(&other)),
    }
}

fn done(answer: Answer) -> Result<(), ClientError> {
    match answer {
        Answer::Done => Ok(()),
        other @ (Answer::State(_) | Answer::Started(_)) => Err(unexpected(&other)),
    }
}

fn unexpected(answer: &Answer) -> ClientError {
    ClientError::Garbled(format!("{answer:?}"))
}

fn send<T: Serialize>(lines: &mut BufReader<UnixStream>, message: &T) -> Result<(), ClientError> {
    let mut line = serde_json::to_vec(message).map_err(io::Error::from)?;
    line.push(b'\n');
    Ok(lines.get_mut().write_all(&line)?)
}

fn receive<T: DeserializeOwned>(lines: &mut BufReader<UnixStream>) -> Result<T, ClientError> {
    let mut line = Vec::new();
    let limit = u64::try_from(MAX_LINE).expect("a megabyte fits");
    lines.by_ref().take(limit).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(ClientError::Gone(io::ErrorKind::UnexpectedEof.into()));
    }
    serde_json::from_slice(&line)
        .map_err(|_| ClientError::Garbled(String::from_utf8_lossy(&line).into_owned()))
}
