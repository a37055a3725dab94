//! A container's output: from its pipes, line by line, into a log file of bounded size.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use berth_shim_api::{Completeness, LogEntry, LogRotation, LogStamp, LogStream, rotated_name};
use berth_types::{Clock, SystemClock};
use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, pipe_with};

/// Most bytes taken from one pipe at a time, so that a flood on one does not keep the others waiting.
const BITE: usize = 16 * 1024;

/// A line that does not go on for this long is written as far as it is there, as with a prompt.
const HALF_LINE: Duration = Duration::from_secs(1);

/// A file that is set aside when it has grown to its limit.
pub struct RotatedFile {
    path: PathBuf,
    file: File,
    size: u64,
    rotation: LogRotation,
}

impl RotatedFile {
    /// Opens or makes the file at `path` to append to it.
    pub fn open(path: &Path, rotation: LogRotation) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.into(), file, size, rotation })
    }

    /// Appends whole entries.
    pub fn append(&mut self, entries: &[u8]) -> io::Result<()> {
        let length = u64::try_from(entries.len()).expect("memory is smaller than 2^64 bytes");
        if self.size > 0 && self.size + length > self.rotation.bytes {
            self.set_aside()?;
        }
        self.file.write_all(entries)?;
        self.size += length;
        Ok(())
    }

    fn set_aside(&mut self) -> io::Result<()> {
        let oldest = self.rotation.files - 1;
        if oldest == 0 {
            fs::remove_file(&self.path)?;
        }
        for age in (0..oldest).rev() {
            match fs::rename(rotated_name(&self.path, age), rotated_name(&self.path, age + 1)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        *self = Self::open(&self.path, self.rotation)?;
        Ok(())
    }
}

/// What a container's process writes to.
pub struct OutputEnds {
    /// Its standard output.
    pub stdout: OwnedFd,
    /// Its standard error.
    pub stderr: OwnedFd,
}

/// The log of one attempt of a container.
pub struct ContainerLog {
    file: RotatedFile,
    pipes: Vec<Pipe>,
    lost: u64,
}

struct Pipe {
    stream: LogStream,
    end: OwnedFd,
    line: Vec<u8>,
    /// When what is in `line` began to wait for its end.
    since: Option<Instant>,
    /// Whether the beginning of the line is written already.
    begun: bool,
}

/// What a look into a pipe found.
enum Found {
    Bytes(usize),
    NothingNow,
    Closed,
}

impl ContainerLog {
    /// A log that is appended to the file at `path`, and what the container writes to.
    pub fn open(path: &Path, rotation: LogRotation) -> io::Result<(Self, OutputEnds)> {
        let file = RotatedFile::open(path, rotation)?;
        let (stdout, stdout_end) = Pipe::open(LogStream::Stdout)?;
        let (stderr, stderr_end) = Pipe::open(LogStream::Stderr)?;
        let ends = OutputEnds { stdout: stdout_end, stderr: stderr_end };
        Ok((Self { file, pipes: vec![stdout, stderr], lost: 0 }, ends))
    }

    /// The pipes still open.
    pub fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pipes.iter().map(|pipe| pipe.end.as_fd())
    }

    /// Takes a bite from each pipe that has something.
    pub fn read_some(&mut self) {
        let mut buffer = [0; BITE];
        let mut pipes = std::mem::take(&mut self.pipes);
        pipes.retain_mut(|pipe| match pipe.read(&mut buffer) {
            Found::Bytes(length) => {
                self.take(pipe, &buffer[..length]);
                true
            }
            Found::NothingNow => true,
            Found::Closed => {
                self.end_line(pipe);
                false
            }
        });
        self.pipes = pipes;
    }

    /// Takes what is in the pipes now that the container is gone, and tells how many bytes a failing disk has cost. It
    /// may have handed its end to somebody else, who goes on writing: that is not waited for.
    pub fn finish(mut self) -> u64 {
        let mut buffer = [0; BITE];
        for mut pipe in std::mem::take(&mut self.pipes) {
            let mut left = usize::try_from(rustix::io::ioctl_fionread(&pipe.end).unwrap_or(0)).unwrap_or(0);
            while left > 0
                && let Found::Bytes(length) = pipe.read(&mut buffer)
            {
                self.take(&mut pipe, &buffer[..length]);
                left = left.saturating_sub(length);
            }
            self.end_line(&mut pipe);
        }
        self.lost
    }

    /// When part of a line is to be written; none while no line waits for its end.
    pub fn due(&self) -> Option<Instant> {
        self.pipes.iter().filter_map(|pipe| pipe.since).min().map(|since| since + HALF_LINE)
    }

    /// Writes what there is of lines that have waited for their end long enough.
    pub fn write_half_lines(&mut self, now: Instant) {
        let mut entries = Vec::new();
        let waits = |pipe: &&mut Pipe| pipe.since.is_some_and(|since| since + HALF_LINE <= now);
        for pipe in self.pipes.iter_mut().filter(waits) {
            LogStamp::new(SystemClock.now()).write(
                pipe.stream,
                Completeness::Partial,
                &pipe.line,
                &mut entries,
            );
            pipe.line.clear();
            (pipe.since, pipe.begun) = (None, true);
        }
        self.append(&mut entries);
    }

    fn take(&mut self, pipe: &mut Pipe, bytes: &[u8]) {
        let stamp = LogStamp::new(SystemClock.now());
        let mut entries = Vec::with_capacity(bytes.len() + 64);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            pipe.line.extend_from_slice(text);
            while pipe.line.len() > LogEntry::MAX_TEXT {
                let rest = pipe.line.split_off(LogEntry::MAX_TEXT);
                stamp.write(pipe.stream, Completeness::Partial, &pipe.line, &mut entries);
                pipe.line = rest;
                (pipe.since, pipe.begun) = (None, true);
            }
            if ends {
                stamp.write(pipe.stream, Completeness::Full, &pipe.line, &mut entries);
                pipe.line.clear();
                (pipe.since, pipe.begun) = (None, false);
            }
            if entries.len() >= BITE {
                self.append(&mut entries);
            }
        }
        self.append(&mut entries);
        if !pipe.line.is_empty() {
            pipe.since.get_or_insert_with(Instant::now);
        }
    }

    fn end_line(&mut self, pipe: &mut Pipe) {
        if pipe.line.is_empty() && !pipe.begun {
            return;
        }
        let mut entry = Vec::new();
        LogStamp::new(SystemClock.now()).write(pipe.stream, Completeness::Full, &pipe.line, &mut entry);
        self.append(&mut entry);
    }

    /// A full disk must not stop the container: what cannot be written is dropped and counted.
    fn append(&mut self, entries: &mut Vec<u8>) {
        if !entries.is_empty() && self.file.append(entries).is_err() {
            self.lost += u64::try_from(entries.len()).expect("memory is smaller than 2^64 bytes");
        }
        entries.clear();
    }
}

impl Pipe {
    /// Only our end does not block; the container's is an ordinary one.
    fn open(stream: LogStream) -> io::Result<(Self, OwnedFd)> {
        let (end, writers) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::fs::fcntl_setfl(&end, OFlags::NONBLOCK)?;
        Ok((Self { stream, end, line: Vec::new(), since: None, begun: false }, writers))
    }

    fn read(&mut self, buffer: &mut [u8; BITE]) -> Found {
        loop {
            match rustix::io::read(&self.end, &mut buffer[..]) {
                Ok(0) => return Found::Closed,
                Ok(length) => return Found::Bytes(length),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Found::NothingNow,
                Err(_) => return Found::Closed,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_writes_on_after_the_container_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let rotation = LogRotation { bytes: 1 << 20, files: 2 };
        let (log, ends) = ContainerLog::open(&dir.path().join("0.log"), rotation).unwrap();
        rustix::io::write(&ends.stdout, b"last words\n").unwrap();
        let stranger =
            std::thread::spawn(move || while rustix::io::write(&ends.stdout, &[b'x'; 4096]).is_ok() {});
        assert_eq!(log.finish(), 0);
        stranger.join().unwrap();
        assert!(fs::read_to_string(dir.path().join("0.log")).unwrap().contains("last words"));
    }
}
