//! Runs a test program for cargo (`CARGO_TARGET_<TRIPLE>_RUNNER`), and ends it when one of its tests takes longer than
//! it may: `BERTH_TEST_MINUTES`, 10 when that is not set; or when the soak that it is of is over.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStdout, Command, Stdio, exit};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use berth_e2e::overdue::{Overdue, descendants, state};
use berth_e2e::soak;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How often it is looked who is overdue.
const LOOK: Duration = Duration::from_secs(1);
/// The exit code of a test program with a test that failed.
const FAILED: i32 = 101;

fn main() {
    let mut words = env::args_os().skip(1);
    let program = words.next().expect("cargo names a program");
    let minutes = env::var("BERTH_TEST_MINUTES").unwrap_or_else(|_| "10".into());
    let minutes: u64 =
        minutes.parse().unwrap_or_else(|_| panic!("BERTH_TEST_MINUTES is no number: {minutes}"));
    let limit = Duration::from_secs(minutes * 60);
    let mut command = Command::new(&program);
    let mut child = command.args(words).stdout(Stdio::piped()).spawn().expect("the test program starts");
    let (told, lines) = mpsc::channel();
    let output = child.stdout.take().expect("it is piped");
    std::thread::spawn(move || pass_on(output, &told));
    let mut overdue = Overdue::default();
    loop {
        match lines.recv_timeout(LOOK) {
            Ok(line) => overdue.read(&line, Instant::now()),
            Err(RecvTimeoutError::Disconnected) => break,
            // Whoever it left behind may hold its output open.
            Err(RecvTimeoutError::Timeout) if matches!(child.try_wait(), Ok(Some(_))) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if soak::time_left().is_some_and(|left| left.is_zero()) {
            eprintln!("{}", soak::CUT);
            end(child.id());
            exit(FAILED);
        }
        let over = overdue.at(Instant::now(), limit);
        if !over.is_empty() {
            eprintln!("error: after {minutes} minutes these tests still run: {}", over.join(", "));
            eprint!("{} waits:\n{}", program.display(), state(child.id()));
            end(child.id());
            exit(FAILED);
        }
    }
    let status = child.wait().expect("a child can be waited for");
    exit(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()));
}

/// Writes each line as it comes, and tells it.
fn pass_on(output: ChildStdout, told: &Sender<String>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let mut out = std::io::stdout().lock();
        // Whoever reads us may be gone, and the tests still count.
        let _ = out.write_all(&line).and_then(|()| out.flush());
        if told.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
            return;
        }
        line.clear();
    }
}

/// Ends a process and what it started.
fn end(pid: u32) {
    for pid in [vec![pid], descendants(pid)].concat() {
        if let Ok(pid) = i32::try_from(pid) {
            // It may have ended just now.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
