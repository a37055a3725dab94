//! Processes forked from the shim for one operation on a container each.
//!
//! libcontainer changes the process it runs in (folder, dumpable, OOM score), leaks descriptors when it fails and may
//! hang; what mounts or removes may wait for a disk. All of that happens in a helper, which can be killed, while the
//! shim goes on reading logs. A helper makes the container's first process the shim's own child.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_shim_api::ProcessId;
use berth_shim_api::message::{Refusal, RefusalReason};
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, fork, getppid};
use rustix::fs::{MemfdFlags, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};

/// When an operation is given up; a busy machine takes seconds for what takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest message that arrives whole or not at all.
const PIPE_BUF: usize = 4096;
/// Most that is kept of what libcontainer says about one operation.
const SAID_ROOM: usize = 16 * 1024;

/// What a helper tells the shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// The container's first process exists and waits.
    Created(ProcessId),
    /// The container's program runs.
    Started,
    /// Everything of the container is gone.
    Removed,
    /// The operation failed.
    Failed(Refusal),
}

/// The way of a helper's messages to the shim.
pub struct Telling {
    pipe: File,
}

impl Telling {
    /// Sends one message. The shim being gone is no failure: nobody is left to hear of it.
    pub fn tell(&mut self, told: &Told) {
        let mut line = serde_json::to_vec(told).expect("messages are plain data");
        line.push(b'\n');
        debug_assert!(line.len() <= PIPE_BUF);
        let _ = self.pipe.write_all(&line);
    }
}

/// A running helper, as the shim sees it.
pub struct Helper {
    process: ProcessId,
    messages: OwnedFd,
    unread: Vec<u8>,
    said: Arc<File>,
    deadline: Instant,
}

impl Helper {
    /// Forks a process that runs `operation` and ends.
    pub fn spawn(operation: impl FnOnce(&mut Telling)) -> io::Result<Self> {
        let (messages, pipe) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::fs::fcntl_setfl(&messages, OFlags::NONBLOCK)?;
        let said = Arc::new(File::from(rustix::fs::memfd_create("helper-log", MemfdFlags::CLOEXEC)?));
        let shim = nix::unistd::getpid();
        // SAFETY: the shim has a single thread, so the child may do whatever the shim may.
        #[expect(unsafe_code)]
        let forked = unsafe { fork() }?;
        let ForkResult::Parent { child } = forked else {
            work(shim, &said, Telling { pipe: pipe.into() }, operation);
        };
        Ok(Self {
            process: ProcessId::of(child.as_raw())?,
            messages,
            unread: Vec::new(),
            said,
            deadline: Instant::now() + PATIENCE,
        })
    }

    /// Its process number; not used again before the shim has reaped it.
    pub fn pid(&self) -> i32 {
        self.process.pid
    }

    /// Where its messages arrive.
    pub fn messages(&self) -> BorrowedFd<'_> {
        self.messages.as_fd()
    }

    /// When it is given up.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Kills it.
    pub fn kill(&self) {
        // Not reaped yet, so the number is still its own; that it has ended already is as good.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.process.pid), Signal::SIGKILL);
    }

    /// The messages that have arrived since the last call.
    pub fn told(&mut self) -> Vec<Told> {
        let mut buffer = [0; PIPE_BUF];
        while let Ok(length @ 1..) = rustix::io::read(&self.messages, &mut buffer[..]) {
            self.unread.extend_from_slice(&buffer[..length]);
        }
        let whole = self.unread.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines: Vec<u8> = self.unread.drain(..whole).collect();
        lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }

    /// What libcontainer complained about.
    pub fn said(&self) -> String {
        said_by(&self.said)
    }
}

/// Forks a process that does `work` beside the shim and ends; nobody hears of it.
pub fn aside(work: impl FnOnce()) -> io::Result<()> {
    let shim = nix::unistd::getpid();
    // SAFETY: the shim has a single thread, so the child may do whatever the shim may.
    #[expect(unsafe_code)]
    let forked = unsafe { fork() }?;
    if let ForkResult::Child = forked {
        if !orphaned(shim) {
            work();
        }
        std::process::exit(0)
    }
    Ok(())
}

/// A shim that is killed takes its helper along; one that was killed before is seen here.
fn orphaned(shim: nix::unistd::Pid) -> bool {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).is_err() || getppid() != shim
}

/// The life of a helper's process.
fn work(
    shim: nix::unistd::Pid,
    said: &Arc<File>,
    mut telling: Telling,
    operation: impl FnOnce(&mut Telling),
) -> ! {
    if !orphaned(shim) {
        let subscriber = tracing_subscriber::fmt()
            // A log that cannot be written must end nothing: the complaint about it would.
            .log_internal_errors(false)
            .with_ansi(false)
            .with_max_level(tracing::Level::ERROR)
            .with_writer(Arc::clone(said))
            .finish();
        // Fails only when there is one already, and this process is new.
        let _ = tracing::subscriber::set_global_default(subscriber);
        let operated = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| operation(&mut telling)));
        if operated.is_err() {
            telling.tell(&Told::Failed(refusal(
                RefusalReason::CannotStart,
                "the operation panicked",
                &said_by(said),
            )));
        }
    }
    std::process::exit(0)
}

fn said_by(said: &File) -> String {
    let mut text = vec![0; SAID_ROOM];
    let length = said.read_at(&mut text, 0).unwrap_or(0);
    String::from_utf8_lossy(&text[..length]).into_owned()
}

/// A refusal whose message names the step, then the causes, in a length that a message to the shim can carry.
pub fn refusal(reason: RefusalReason, step: &str, cause: &str) -> Refusal {
    let mut message = if cause.is_empty() { step.to_owned() } else { format!("{step}: {cause}") };
    let length = |text: &str| serde_json::to_string(text).map_or(0, |json| json.len());
    while length(&message) > PIPE_BUF / 2 {
        message = message.chars().take(message.chars().count() / 2).collect();
    }
    Refusal { reason, message }
}

/// An error and all its sources in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}
