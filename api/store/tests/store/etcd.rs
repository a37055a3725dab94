//! A real etcd of one member, or of several, on loopback.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use berth_store::{EtcdOptions, EtcdStore, Unsupported};
use tempfile::TempDir;

const READY_WITHIN: Duration = Duration::from_secs(30);
/// A member that hangs takes connections and says nothing.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// Below the ports that the kernel gives to connections.
const PORTS: Range<u16> = 20_000..30_000;

/// Running members of one cluster; killed when dropped.
pub struct Etcd {
    members: Vec<Member>,
    _data: TempDir,
    /// Of its members, which may be killed and started again.
    _ports: Vec<Port>,
}

/// A port that no other test takes until this is dropped: it holds a name in the same network namespace. So do the
/// tests of `berth-e2e`, by the same names.
struct Port {
    number: u16,
    _name: UnixListener,
}

struct Member {
    command: Vec<String>,
    url: String,
    process: Option<Child>,
}

impl Etcd {
    pub fn start(version: &str) -> Self {
        Self::cluster(version, 1)
    }

    /// One member that takes so many bytes.
    pub fn small(version: &str, bytes: u64) -> Self {
        Self::run(version, 1, &[format!("--quota-backend-bytes={bytes}")])
    }

    pub fn cluster(version: &str, size: usize) -> Self {
        Self::run(version, size, &[])
    }

    fn run(version: &str, size: usize, more: &[String]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let ports: Vec<Port> = (0..2 * size).map(|_| Port::take()).collect();
        let addresses: Vec<(String, String)> =
            ports.chunks(2).map(|pair| (pair[0].url(), pair[1].url())).collect();
        let named = |(n, (_, peer)): (usize, &(String, String))| format!("m{n}={peer}");
        let cluster = addresses.iter().enumerate().map(named).collect::<Vec<_>>().join(",");
        let member = |(n, (client, peer)): (usize, &(String, String))| {
            let flags = [
                ("name", format!("m{n}")),
                ("data-dir", data.path().join(n.to_string()).display().to_string()),
                ("listen-client-urls", client.clone()),
                ("advertise-client-urls", client.clone()),
                ("listen-peer-urls", peer.clone()),
                ("initial-advertise-peer-urls", peer.clone()),
                ("initial-cluster", cluster.clone()),
                ("log-level", "error".into()),
                ("logger", "zap".into()),
            ];
            let flags = flags.map(|(name, value)| format!("--{name}={value}"));
            let command = [&[binary(version).display().to_string()], &flags[..], more].concat();
            Member { command, url: client.clone(), process: None }
        };
        let members = addresses.iter().enumerate().map(member).collect();
        let mut etcd = Self { members, _data: data, _ports: ports };
        (0..size).for_each(|n| etcd.start_member(n));
        etcd
    }

    pub fn start_member(&mut self, n: usize) {
        let member = &mut self.members[n];
        // setpriv: the member dies with the test, however that ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).args(&member.command);
        let started = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        member.process = Some(started.expect("setpriv (util-linux) starts etcd"));
    }

    pub fn kill_member(&mut self, n: usize) {
        if let Some(mut process) = self.members[n].process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Stops a member as a hung machine does: connections stay open, nobody answers.
    pub fn signal_member(&self, n: usize, signal: &str) {
        let process = self.members[n].process.as_ref().expect("it runs");
        let sent = Command::new("kill").args([signal, &process.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// The member that leads, once one says so.
    pub fn leader(&self) -> usize {
        let give_up = Instant::now() + READY_WITHIN;
        loop {
            let leads = |member: &Member| metrics(&member.url).contains("\netcd_server_is_leader 1\n");
            if let Some(leader) = self.members.iter().position(leads) {
                return leader;
            }
            assert!(Instant::now() < give_up, "etcd has no leader");
        }
    }

    pub fn urls(&self) -> Vec<String> {
        self.members.iter().map(|member| member.url.clone()).collect()
    }

    /// The store over all members, once they answer.
    pub async fn store(&self) -> EtcdStore {
        self.store_with(EtcdOptions { unsupported: Unsupported::Allow, ..EtcdOptions::default() }).await
    }

    pub async fn store_with(&self, options: EtcdOptions) -> EtcdStore {
        let give_up = Instant::now() + READY_WITHIN;
        loop {
            match EtcdStore::connect(&self.urls(), options).await {
                Ok(store) => return store,
                Err(error) => assert!(Instant::now() < give_up, "etcd does not answer: {error}"),
            }
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        (0..self.members.len()).for_each(|n| self.kill_member(n));
    }
}

fn binary(version: &str) -> PathBuf {
    let tools = match std::env::var_os("BERTH_TOOLS") {
        Some(tools) => PathBuf::from(tools),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/.tools"),
    };
    let binary = tools.join(format!("etcd-{version}/etcd"));
    assert!(binary.exists(), "{} is missing: run e2e/fetch-tools", binary.display());
    binary
}

/// What a member tells of itself; nothing when it does not answer.
fn metrics(url: &str) -> String {
    let mut text = String::new();
    let asked = TcpStream::connect(url.trim_start_matches("http://")).and_then(|mut stream| {
        stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        stream.read_to_string(&mut text)
    });
    asked.map_or_else(|_| String::new(), |_| text)
}

impl Port {
    fn take() -> Self {
        let first = fastrand::u16(PORTS);
        let taken = (first..PORTS.end).chain(PORTS.start..first).find_map(Self::of);
        taken.unwrap_or_else(|| panic!("every port of {PORTS:?} is taken"))
    }

    /// This port, if it is free.
    fn of(number: u16) -> Option<Self> {
        let name = SocketAddr::from_abstract_name(format!("berth-test-port-{number}")).ok()?;
        let name = UnixListener::bind_addr(&name).ok()?;
        // Programs that are no tests take no names.
        TcpListener::bind(("127.0.0.1", number)).ok()?;
        Some(Self { number, _name: name })
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.number)
    }
}
