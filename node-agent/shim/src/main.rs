//! `shim`: holds the containers of one Task. Started with the path of a task bundle; see `berth_shim_api`.
//!
//! It is single-threaded, for libcontainer forks; it outlives the agent, for it is nobody's child; and it keeps the
//! containers' pipes and reaps them, so that nothing of theirs is lost while no agent runs. Should it be killed, the
//! containers go on.

mod admission;
mod calls;
mod children;
mod connection;
mod container;
mod forked;
mod hardening;
mod launch;
mod lifecycle;
mod logs;
mod mounts;
mod seccomp;
mod shim;
mod syscalls;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

/// Between two kills of everything in a cgroup.
const KILL_PAUSE: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(bundle), None) = (arguments.next(), arguments.next()) else {
        // The code tells it where nobody reads.
        let _ = writeln!(io::stderr(), "usage: shim BUNDLE");
        return ExitCode::from(2);
    };
    match launch::launch(bundle.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{}", forked::chain(&error));
            ExitCode::FAILURE
        }
    }
}
