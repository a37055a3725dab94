//! The server beside a disk that is full.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn a_log_that_cannot_be_written_does_not_end_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("api.sock");
    let mut server = Command::new(env!("CARGO_BIN_EXE_apiserver"))
        .args(["--store", "memory", "--listen", &format!("unix:{}", socket.display())])
        .stdout(Stdio::null())
        .stderr(File::options().write(true).open("/dev/full").unwrap())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert_eq!(server.try_wait().unwrap(), None, "the server ended");
        assert!(Instant::now() < deadline, "the server does not listen");
        std::thread::yield_now();
    }
    server.kill().unwrap();
    server.wait().unwrap();
}
