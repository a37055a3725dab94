//! Waits for the end of a process that is no child of ours.

use std::os::fd::OwnedFd;
use std::time::Duration;

use berth_shim_api::ProcessId;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How often it is looked for where the kernel does not tell it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Returns once the process has ended. The kernel tells that, so that hundreds of waits cost nothing; where it cannot
/// (before Linux 5.3, or with too many open files), the process is looked for.
pub async fn death(process: ProcessId) {
    if let Some(handle) = handle(process)
        && handle.readable().await.is_ok()
    {
        return;
    }
    while process.runs() {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// A handle that becomes readable with the end of the process; none of one that has ended.
#[expect(
    deprecated,
    reason = "it trusts the type to keep its descriptor open and the same, which an `OwnedFd` does"
)]
fn handle(process: ProcessId) -> Option<AsyncFd<OwnedFd>> {
    let handle = pidfd_open(Pid::from_raw(process.pid)?, PidfdFlags::empty()).ok()?;
    // It ran after the handle was opened, so that the handle is of no later process with its number.
    process.runs().then(|| AsyncFd::with_interest(handle, Interest::READABLE).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// In a runtime without a clock, where a look would panic.
    #[test]
    fn the_end_of_a_process_is_heard_without_a_look() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let process = ProcessId::of(child.id().cast_signed()).unwrap();
        runtime.block_on(async {
            let waits = tokio::spawn(death(process));
            tokio::task::yield_now().await;
            assert!(!waits.is_finished());
            child.kill().unwrap();
            waits.await.unwrap();
        });
        child.wait().unwrap();
        runtime.block_on(death(process));
        runtime.block_on(death(ProcessId { start_time: 1, ..ProcessId::own().unwrap() }));
    }
}
