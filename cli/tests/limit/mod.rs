//! A run of `ctl` that ends, or fails its test.

use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a run may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs a command to its end.
///
/// # Panics
/// When it does not end: it is killed then.
pub fn output(command: &mut Command) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.expect("ctl starts");
    let pid = child.id().to_string();
    let (told, ended) = mpsc::channel();
    std::thread::spawn(move || told.send(child.wait_with_output()));
    match ended.recv_timeout(LIMIT) {
        Ok(output) => output.expect("a child can be waited for"),
        Err(_) => {
            // It may have ended just now.
            let _ = Command::new("kill").args(["-KILL", &pid]).status();
            panic!("{command:?} did not end in {LIMIT:?}");
        }
    }
}
