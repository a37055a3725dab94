//! A process that stands still, and does not know it afterwards.

use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::log::{FaultLog, InForce};
use crate::wait::eventually;

const AT_ONCE: Duration = Duration::from_secs(10);

/// A process that stands still until this is dropped.
#[derive(Debug)]
pub struct Paused {
    pid: u32,
    _in_force: InForce,
}

impl Paused {
    /// Stops a process with SIGSTOP; it stands still when this returns.
    pub fn begin(name: &str, pid: u32, log: &FaultLog) -> Self {
        send(pid, Signal::SIGSTOP);
        Self::already(name, pid, log)
    }

    /// A process that stops itself, as at a failpoint: waits until it stands still.
    pub fn already(name: &str, pid: u32, log: &FaultLog) -> Self {
        eventually(&format!("{name} stands still"), Duration::from_secs(60), || match states(pid) {
            states if !states.is_empty() && states.bytes().all(|state| state == b'T') => Ok(()),
            states => Err(format!("its threads are {states:?}")),
        });
        Self { pid, _in_force: log.begin(format!("{name} (process {pid}) stands still")) }
    }

    /// Fails the test if it does not stand still any more.
    pub fn must_stand_still(&self) {
        let states = states(self.pid);
        assert!(states.bytes().all(|state| state == b'T'), "process {}: {states:?}", self.pid);
    }

    /// Lets it go on; it runs when this returns.
    pub fn resume(self) {
        self.must_stand_still();
        let pid = self.pid;
        drop(self);
        eventually("it goes on", AT_ONCE, || match states(pid) {
            states if states.contains('T') => Err(states),
            _ => Ok(()),
        });
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        // It may have been killed where it stood.
        let _ = kill(id(self.pid), Signal::SIGCONT);
    }
}

fn send(pid: u32, signal: Signal) {
    kill(id(pid), signal).unwrap_or_else(|error| panic!("{signal} to process {pid}: {error}"));
}

fn id(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("a process id fits"))
}

/// The state of each thread, as one letter; nothing when there is no such process.
fn states(pid: u32) -> String {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok())
        .filter_map(|stat| stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::process::Process;

    #[test]
    fn a_paused_process_is_stopped_until_it_is_resumed() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        command.arg("1000");
        let process = Process::start("sleep", command, &dir.path().join("log"));
        let log = FaultLog::default();
        let paused = Paused::begin("sleep", process.pid(), &log);
        assert_eq!(states(process.pid()), "T");
        assert_eq!(log.all()[0].until, None);
        paused.resume();
        assert_ne!(states(process.pid()), "T");
        assert!(log.all()[0].until.is_some());
    }
}
