//! The lock that lets one `ctl up` or `ctl down` work on a cluster, and names it to the second.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use berth_types::{Clock, SystemClock, Timestamp};
use rustix::fs::{FlockOperation, flock};

use super::processes::Process;

/// The lock, held until dropped.
#[derive(Debug)]
pub struct UpLock {
    file: File,
    path: PathBuf,
}

/// Who holds the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Its process.
    pub process: Process,
    /// Since when.
    pub since: Timestamp,
    /// What it does.
    pub verb: Verb,
}

/// What a process that holds the lock does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `ctl up`: it holds the lock until it is asked to end.
    Up,
    /// `ctl down`: it ends by itself.
    Down,
}

impl Verb {
    /// The word after `ctl`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// Why the lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum NoLock {
    /// Somebody has it; unknown in the moment between taking it and writing who took it.
    #[error("the lock is held")]
    Held(Option<Holder>),
    /// The file cannot be used.
    #[error("could not use {0}")]
    File(PathBuf, #[source] io::Error),
}

impl UpLock {
    /// Takes the lock for this process.
    pub fn take(path: &Path, verb: Verb) -> Result<Self, NoLock> {
        let failed = |error| NoLock::File(path.to_owned(), error);
        loop {
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create(true).truncate(false).open(path);
            let file = file.map_err(failed)?;
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                return Err(NoLock::Held(holder_in(file)));
            }
            // `ctl down` removes the file while it holds it: then this is a lock on nothing.
            use std::os::unix::fs::MetadataExt;
            if file.metadata().map_err(failed)?.nlink() == 0 {
                continue;
            }
            let mut lock = Self { file, path: path.to_owned() };
            lock.sign(verb).map_err(failed)?;
            return Ok(lock);
        }
    }

    /// Removes the file, still holding the lock.
    pub fn remove(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }

    fn sign(&mut self, verb: Verb) -> io::Result<()> {
        let own = Process::own();
        self.file.set_len(0)?;
        self.file.rewind()?;
        let since = SystemClock.now().whole_seconds();
        writeln!(self.file, "{} {} {since} {}", own.pid, own.started, verb.word())
    }
}

fn holder_in(mut file: File) -> Option<Holder> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    let mut words = text.split_whitespace();
    let (pid, started) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let since = Timestamp::parse(words.next()?).ok()?;
    let verb = if words.next() == Some(Verb::Down.word()) { Verb::Down } else { Verb::Up };
    Some(Holder { process: Process { pid, started }, since, verb })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lock once nobody holds it: a process that another test begins has its file open until it runs its program.
    fn freed(path: &Path, verb: Verb) -> UpLock {
        loop {
            match UpLock::take(path, verb) {
                Ok(lock) => return lock,
                Err(NoLock::Held(_)) => std::thread::yield_now(),
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    #[test]
    fn a_second_holder_is_refused_and_learns_who_the_first_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("up.lock");
        for verb in [Verb::Up, Verb::Down] {
            let first = UpLock::take(&path, verb).unwrap();
            match UpLock::take(&path, Verb::Up) {
                Err(NoLock::Held(Some(holder))) => {
                    assert_eq!((holder.process, holder.verb), (Process::own(), verb));
                }
                other => panic!("{other:?}"),
            }
            drop(first);
            freed(&path, verb).remove().unwrap();
            assert!(!path.exists());
        }
        UpLock::take(&path, Verb::Up).unwrap();
    }
}
