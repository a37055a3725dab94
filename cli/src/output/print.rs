//! Standard output and standard error, written by a thread of their own in the order in which texts were given. A reader
//! that pauses, such as a pager, must delay neither a call to the server nor the answer to its pings.
//!
//! A stream that cannot be written any more takes texts all the same and drops them: what a verb does must not depend
//! on who reads about it. [`lost`] and [`finish`] report the loss of standard output.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::Notify;

/// More bytes than this do not wait for a reader: further messages are dropped, and results wait for room.
const MOST_WAITING: usize = 16 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Output,
    Error,
}

/// Why standard output cannot be written any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// Its reader went away.
    ReaderGone,
    /// For this reason.
    Failed(String),
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(Stream, Vec<u8>)>,
    bytes: usize,
    writing: bool,
    lost: Option<Lost>,
}

#[derive(Debug, Default)]
struct Writer {
    queue: Mutex<Queue>,
    given: Condvar,
    written: Condvar,
    changed: Notify,
}

/// Writes a line to standard output.
pub fn line(text: &str) {
    raw(format!("{text}\n").as_bytes());
}

/// Writes bytes to standard output.
pub fn raw(bytes: &[u8]) {
    writer().give(Stream::Output, bytes);
}

/// Writes a line to standard error.
pub fn note(text: &str) {
    message(&format!("{text}\n"));
}

/// Writes to standard error what ends its lines itself.
pub fn message(text: &str) {
    writer().give(Stream::Error, text.as_bytes());
}

/// Waits until everything given before is written or lost. A verb that prints without end waits after each piece.
pub async fn settled() {
    writer().until(|queue| queue.is_settled().then_some(())).await;
}

/// Ends as soon as standard output is lost.
pub async fn lost() {
    writer().until(|queue| queue.lost.as_ref().map(|_| ())).await;
}

/// Blocks until everything is written or lost; whether standard output was lost.
pub fn finish() -> Option<Lost> {
    let writer = writer();
    let mut queue = writer.lock();
    while !queue.is_settled() {
        queue = writer.written.wait(queue).unwrap_or_else(PoisonError::into_inner);
    }
    queue.lost.clone()
}

fn writer() -> &'static Writer {
    static WRITER: OnceLock<Writer> = OnceLock::new();
    static STARTED: OnceLock<bool> = OnceLock::new();
    let writer = WRITER.get_or_init(Writer::default);
    let start = || std::thread::Builder::new().name("output".into()).spawn(|| writer.serve()).is_ok();
    if !STARTED.get_or_init(start) {
        // Without a thread the caller writes, and waits for the reader.
        writer.write_all();
    }
    writer
}

impl Queue {
    fn is_settled(&self) -> bool {
        self.waiting.is_empty() && !self.writing
    }

    fn add(&mut self, stream: Stream, bytes: &[u8]) {
        self.bytes += bytes.len();
        match self.waiting.back_mut().filter(|(last, _)| *last == stream) {
            Some((_, last)) => last.extend_from_slice(bytes),
            None => self.waiting.push_back((stream, bytes.to_vec())),
        }
    }
}

impl Writer {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, stream: Stream, bytes: &[u8]) {
        let mut queue = self.lock();
        while queue.bytes >= MOST_WAITING {
            if stream == Stream::Error {
                return;
            }
            queue = self.written.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if stream == Stream::Error || queue.lost.is_none() {
            queue.add(stream, bytes);
            self.given.notify_one();
        }
    }

    async fn until<T>(&self, look: impl Fn(&Queue) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            if let Some(found) = look(&self.lock()) {
                return found;
            }
            changed.await;
        }
    }

    fn serve(&self) {
        loop {
            let mut queue = self.lock();
            while queue.waiting.is_empty() {
                queue = self.given.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            drop(queue);
            self.write_all();
        }
    }

    fn write_all(&self) {
        loop {
            let mut queue = self.lock();
            let Some((stream, bytes)) = queue.waiting.pop_front() else { return };
            let skipped = stream == Stream::Output && queue.lost.is_some();
            queue.writing = true;
            drop(queue);
            let outcome = if skipped { Ok(()) } else { stream.write(&bytes) };
            let mut queue = self.lock();
            queue.writing = false;
            queue.bytes -= bytes.len();
            if let (Stream::Output, Err(error)) = (stream, outcome) {
                queue.lost = Some(error.into());
            }
            drop(queue);
            self.written.notify_all();
            self.changed.notify_waiters();
        }
    }
}

impl From<Errno> for Lost {
    fn from(error: Errno) -> Self {
        match error {
            Errno::PIPE => Self::ReaderGone,
            error => Self::Failed(io::Error::from(error).to_string()),
        }
    }
}

impl Stream {
    fn write(self, bytes: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Output => write(io::stdout().as_fd(), bytes),
            Self::Error => write(io::stderr().as_fd(), bytes),
        }
    }
}

fn write(to: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::INTR) => {}
            // Whoever shares the stream may have set it so.
            Err(Errno::AGAIN) => drop(poll(&mut [PollFd::new(&to, PollFlags::OUT)], None)),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_keep_their_order_and_their_bound() {
        let writer = Writer::default();
        writer.give(Stream::Output, b"a\n");
        writer.give(Stream::Output, b"b\n");
        writer.give(Stream::Error, b"c\n");
        let waiting: Vec<_> = writer.lock().waiting.iter().cloned().collect();
        assert_eq!(waiting, [(Stream::Output, b"a\nb\n".to_vec()), (Stream::Error, b"c\n".to_vec())]);
        writer.give(Stream::Output, &vec![b'x'; MOST_WAITING]);
        let full = writer.lock().bytes;
        writer.give(Stream::Error, b"dropped");
        assert_eq!(writer.lock().bytes, full);
    }

    #[test]
    fn a_pipe_without_a_reader_and_a_full_disk_are_told_apart() {
        assert_eq!(Lost::from(Errno::PIPE), Lost::ReaderGone);
        assert!(matches!(Lost::from(Errno::NOSPC), Lost::Failed(why) if why.contains("No space left")));
    }
}
