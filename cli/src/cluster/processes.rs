//! Processes of this machine, told apart by pid and start time, so that a reused pid is never taken for its
//! predecessor.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// One process, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    /// When it started, in clock ticks since boot.
    pub started: u64,
}

/// A process and what it was started as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Which.
    pub process: Process,
    /// Last part of its executable's path.
    pub program: String,
    /// Its command line.
    pub args: Vec<String>,
}

impl Process {
    /// This process.
    pub fn own() -> Self {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        Self::of(pid).expect("a process that runs is in /proc")
    }

    /// The process that has this pid now.
    pub fn of(pid: i32) -> Option<Self> {
        started(pid).map(|started| Self { pid, started })
    }

    /// Whether it still runs; a zombie does not.
    pub fn runs(self) -> bool {
        started(self.pid) == Some(self.started)
    }

    /// Sends it a signal; false when it is gone.
    pub fn signal(self, signal: Signal) -> bool {
        let Some(pid) = Pid::from_raw(self.pid) else { return false };
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
        // The handle keeps the pid from being taken for another: what is checked now is what is signalled.
        self.runs() && pidfd_send_signal(&handle, signal).is_ok()
    }

    /// Waits until it is gone; false when it still runs after `patience`.
    pub async fn gone(self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        while self.runs() {
            if Instant::now() > until {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }

    /// Asks it to end, and kills it when it has not after `patience`.
    pub async fn end(self, patience: Duration) {
        self.signal(Signal::TERM);
        if !self.gone(patience).await {
            self.signal(Signal::KILL);
            self.gone(patience).await;
        }
    }
}

/// Every process of the machine.
pub fn all() -> Vec<Running> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| running(entry.file_name().to_str()?.parse().ok()?)).collect()
}

impl Running {
    /// Whether a word of its command line names `folder` or something in it.
    pub fn names(&self, folder: &Path) -> bool {
        let folder = folder.display().to_string();
        self.args.iter().any(|arg| {
            arg.match_indices(&folder).any(|(at, _)| {
                let after = &arg[at + folder.len()..];
                after.is_empty() || after.starts_with('/')
            })
        })
    }
}

fn running(pid: i32) -> Option<Running> {
    let process = Process::of(pid)?;
    let executable = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let name = executable.file_name()?.to_string_lossy().into_owned();
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let args = line.split(|byte| *byte == 0).map(|arg| String::from_utf8_lossy(arg).into_owned());
    let program = name.trim_end_matches(" (deleted)").trim_start_matches("memfd:").to_owned();
    Some(Running { process, program, args: args.collect() })
}

/// When a process started; none when it is gone or a zombie.
fn started(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything; field 3 (state) comes after the last one.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let state = fields.first()?;
    if matches!(*state, "Z" | "X") {
        return None;
    }
    fields.get(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_pid_and_start() {
        let own = Process::own();
        assert!(own.runs());
        assert!(!Process { started: own.started + 1, ..own }.runs());
        assert!(!Process { started: own.started + 1, ..own }.signal(Signal::KILL));
        assert!(all().iter().any(|running| running.process == own));
    }

    #[test]
    fn a_command_line_names_a_folder_only_by_whole_names() {
        let running =
            |arg: &str| Running { process: Process::own(), program: "x".into(), args: vec![arg.into()] };
        for (arg, named) in
            [("unix:/run/b/api.sock", true), ("/run/b", true), ("/run/bb/x", false), ("/run", false)]
        {
            assert_eq!(running(arg).names(Path::new("/run/b")), named, "{arg}");
        }
    }
}
