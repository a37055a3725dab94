//! A process that a test started: its output in a file, ended by its id when the test is over.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait::eventually;

/// A running process of the test.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output appended to `log`.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).expect("log file opens");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("log file has a second handle"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("could not start {name}: {error}"));
        Self { name: name.into(), child, log: log.into() }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote so far.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends `signal`.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id fits");
        kill(Pid::from_raw(pid), signal).unwrap_or_else(|error| panic!("{signal} to {}: {error}", self.name));
    }

    /// Kills it with -9 and waits until it is gone.
    pub fn kill(mut self) {
        self.end();
    }

    /// Asks it to end and waits for that.
    ///
    /// # Panics
    /// When it is still there after 15 s.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        let name = self.name.clone();
        eventually(&format!("{name} ends on TERM"), Duration::from_secs(15), || {
            self.child.try_wait().expect("a child can be waited for").ok_or_else(|| self.output())
        })
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Fails the test when the process ended by itself.
    pub fn must_run(&mut self) {
        if let Some(status) = self.ended() {
            panic!("{} ended ({status}, signal {:?}):\n{}", self.name, status.signal(), self.output());
        }
    }

    fn end(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
