//! `ctl up --detach`: the same in a process of its own, which this one waits for until it is up.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use crate::cluster::parts::{append_to, tail};
use crate::failure::{Exit, Failure};
use crate::manifest::visible;
use crate::output::print;
use crate::request::{Foreground, Up};

/// Lines that the process in the background says about its failure.
const MOST_LINES: usize = 50;

/// Starts the process in the background, and waits until it has said what to type next.
pub async fn run(task: &Up) -> Result<(), Failure> {
    let log = task.home.logs().join("up.log");
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Failed, format!("could not start in the background: {error}"))
    };
    let before = std::fs::metadata(&log).map_or(0, |file| file.len());
    let mut child = start(&append_to(&log).map_err(failed)?).map_err(failed)?;
    let mut said = String::new();
    let mut stdout = child.stdout.take().expect("its standard output is a pipe");
    // It closes its output once it is up, and by ending.
    stdout.read_to_string(&mut said).map_err(failed)?;
    if !said.is_empty() {
        print::raw(said.as_bytes());
        return Ok(());
    }
    let status = child.wait().map_err(failed)?;
    for line in tail(&log, before, MOST_LINES) {
        print::note(&visible(&line));
    }
    let exit = [Exit::Usage, Exit::TimedOut, Exit::Conflict, Exit::Interrupted];
    let exit = exit.into_iter().find(|exit| status.code() == Some(*exit as i32)).unwrap_or(Exit::Failed);
    Err(Failure::reported(exit))
}

fn start(log: &File) -> std::io::Result<Child> {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    Command::new("/proc/self/exe")
        .arg0("ctl")
        .args(args)
        .arg("--detached")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.try_clone()?)
        .spawn()
}

/// Closes standard output of the process in the background: whoever waited for it may go.
pub async fn let_go(place: Foreground) {
    if place != Foreground::Detached {
        return;
    }
    print::settled().await;
    // Standard output cannot fail to be replaced but for want of descriptors; then the starter waits on.
    if let Ok(nowhere) = File::options().write(true).open("/dev/null") {
        let _ = nix::unistd::dup2_stdout(nowhere);
    }
}
