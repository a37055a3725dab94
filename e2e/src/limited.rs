//! A test as a process of its own, with its own time: one that does not end in it is ended with everything that it
//! started, and what it was waiting for is told.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How often it is looked whether it has ended.
const INTERVAL: Duration = Duration::from_millis(50);
/// How often processes are looked for that must end: they may start others, and one that the kernel holds never ends.
const ROUNDS: usize = 100;

/// How a process ended in time, and what it wrote.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code or signal.
    pub status: ExitStatus,
    /// Standard output and standard error.
    pub said: String,
}

/// Runs a program that moves into mount and network namespaces of its own.
///
/// # Errors
/// When it is not over after `limit`: then all processes in its namespaces are killed, and the text names them and says
/// what the program wrote.
pub fn run(command: &mut Command, limit: Duration) -> Result<Ended, String> {
    let failed = |error: io::Error| format!("{command:?}: {error}");
    // A file, not a pipe: whoever outlives the program may hold that open, and it would never end.
    let output = tempfile::NamedTempFile::new().map_err(failed)?;
    let failed = |error: io::Error| format!("could not start the test's process: {error}");
    let (out, err) = (append(output.path()).map_err(failed)?, append(output.path()).map_err(failed)?);
    let mut child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().map_err(failed)?;
    let status = wait(&mut child, limit).map_err(failed)?;
    let killed = if status.is_none() { end_all(&mut child) } else { Vec::new() };
    let said = fs::read(output.path()).map_err(failed)?;
    let said = String::from_utf8_lossy(&said).into_owned();
    match status {
        Some(status) => Ok(Ended { status, said }),
        None => Err(format!("it did not end in {limit:.0?}; killed:\n{}{said}", killed.concat())),
    }
}

fn append(path: &Path) -> io::Result<File> {
    File::options().append(true).open(path)
}

fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    loop {
        match child.try_wait()? {
            None if Instant::now() < end => std::thread::park_timeout(INTERVAL),
            ended => return Ok(ended),
        }
    }
}

/// Kills a process and all that are in its namespaces, or in those that these have; a line for each.
fn end_all(child: &mut Child) -> Vec<String> {
    let mut others = namespaces("self");
    others.extend(namespaces("1"));
    let mut own = &namespaces(&child.id().to_string()) - &others;
    let mut killed = Vec::new();
    for _ in 0..ROUNDS {
        let found: Vec<String> = processes().filter(|pid| is_in(pid, &mut own, &others)).collect();
        if found.is_empty() {
            break;
        }
        for pid in found {
            killed.push(format!("  {pid} {}\n", words(&pid)));
            end(&pid);
        }
        std::thread::park_timeout(INTERVAL);
    }
    // It ended by itself, or was among them.
    let _ = child.kill();
    let _ = child.wait();
    killed.dedup();
    killed
}

/// Whether a process is in one of these namespaces; then its own are of them too.
fn is_in(pid: &str, own: &mut BTreeSet<PathBuf>, others: &BTreeSet<PathBuf>) -> bool {
    let of_process = namespaces(pid);
    let is_in = !of_process.is_disjoint(own);
    if is_in {
        own.extend(&of_process - others);
    }
    is_in
}

/// Mount and network namespace of a process; none of one that has ended.
fn namespaces(pid: &str) -> BTreeSet<PathBuf> {
    ["mnt", "net"].iter().filter_map(|kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()).collect()
}

fn processes() -> impl Iterator<Item = String> {
    let names = fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The command line of a process.
fn words(pid: &str) -> String {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ")
}

fn end(pid: &str) {
    if let Ok(pid) = pid.parse() {
        // It may have ended just now.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_namespaces(script: &str) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "sh", "-c", script]);
        command
    }

    #[test]
    fn a_test_ends_as_it_ends() {
        let ended =
            run(&mut in_namespaces("echo one; echo two >&2; exit 3"), Duration::from_secs(60)).unwrap();
        assert_eq!((ended.status.code(), &*ended.said), (Some(3), "one\ntwo\n"));
    }

    #[test]
    fn a_test_whose_time_is_over_is_ended_with_all_that_it_started() {
        // One in the background, and one in a network of its own.
        let script = "echo waiting; sleep 98001 & unshare --net sleep 98002 & exec sleep 98003";
        let why = run(&mut in_namespaces(script), Duration::from_secs(1)).unwrap_err();
        for told in ["did not end in 1s", "sleep 98001", "sleep 98002", "sleep 98003", "waiting"] {
            assert!(why.contains(told), "{told} is not in {why}");
        }
        let left: Vec<String> =
            processes().map(|pid| words(&pid)).filter(|words| words.contains("sleep 9800")).collect();
        assert_eq!(left, Vec::<String>::new());
    }

    #[test]
    fn a_test_that_ends_leaving_others_is_not_waited_for() {
        let begun = Instant::now();
        let ended = run(&mut in_namespaces("sleep 20 & echo done"), Duration::from_secs(60)).unwrap();
        assert_eq!(ended.said, "done\n");
        assert!(begun.elapsed() < Duration::from_secs(15), "it waited for what the test left");
    }
}
