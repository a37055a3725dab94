//! A client of the shim: lines in, lines out, never waiting.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use berth_shim_api::message::MAX_LINE;
use serde::Serialize;

/// Most that is kept for a client that does not read; then it is cut off.
const OUT_ROOM: usize = 4 << 20;

/// One client.
pub struct Connection {
    stream: UnixStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// What was agreed on with it.
    pub standing: Standing,
}

/// How far the conversation with a client has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has not said hello yet.
    Unknown,
    /// It may call.
    Welcome,
    /// It may call, and is told of ends.
    Subscribed,
    /// It is closed once it has taken what it was sent.
    Closing,
}

impl Connection {
    /// A client that has just connected.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, incoming: Vec::new(), outgoing: Vec::new(), standing: Standing::Unknown })
    }

    /// Its socket.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Whether it still has to take something.
    pub fn is_behind(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Takes what has arrived; the whole lines. An error means it is gone or sends too much.
    pub fn lines(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut buffer = [0; 8192];
        match self.stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => self.incoming.extend_from_slice(&buffer[..length]),
            Err(error) if [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted].contains(&error.kind()) => {
            }
            Err(error) => return Err(error),
        }
        let whole = self.incoming.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if self.incoming.len() - whole > MAX_LINE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut text: Vec<u8> = self.incoming.drain(..whole).collect();
        text.pop();
        Ok(if whole == 0 {
            Vec::new()
        } else {
            text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
        })
    }

    /// Sends one message, now or when the client is ready. An error means it is gone or takes too little.
    pub fn send<T: Serialize>(&mut self, message: &T) -> io::Result<()> {
        serde_json::to_writer(&mut self.outgoing, message)?;
        self.outgoing.push(b'\n');
        self.flush()
    }

    /// Goes on sending.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(length) => drop(self.outgoing.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.outgoing.len() > OUT_ROOM { Err(io::ErrorKind::OutOfMemory.into()) } else { Ok(()) }
    }
}
