//! A real etcd of one member on loopback, with its data in a folder of the test.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::http;
use crate::process::Process;
use crate::wait::eventually;
use crate::workspace;

/// A running etcd.
#[derive(Debug)]
pub struct Etcd {
    port: u16,
    process: Process,
}

impl Etcd {
    /// Starts the etcd of `version` (one that `e2e/fetch-tools` fetches) with its data under `dir`.
    pub fn start(version: &str, dir: &Path) -> Self {
        let program = workspace().join(format!("e2e/.tools/etcd-{version}/etcd"));
        assert!(program.exists(), "{} is missing: run e2e/fetch-tools", program.display());
        let (port, peer) = (free_port(), free_port());
        let (url, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer}"));
        let mut command = Command::new(program);
        command
            .args(["--name", "one", "--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("one={peer}"), "--logger", "zap", "--log-level", "warn"])
            .arg("--data-dir")
            .arg(dir.join("etcd"));
        let mut process = Process::start("etcd", command, &dir.join("etcd.log"));
        eventually("etcd is healthy", Duration::from_secs(20), || {
            process.must_run();
            healthy(port)
        });
        Self { port, process }
    }

    /// Where clients reach it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

fn healthy(port: u16) -> Result<(), String> {
    let body = http::get_path(port, "/health")?;
    if body.contains("true") { Ok(()) } else { Err(body) }
}

/// A port of 127.0.0.1 that nobody listens on just now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a listener has an address").port()
}
