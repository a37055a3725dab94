//! A real etcd on loopback, of one member or of several, with its data in a folder of the test; and what an operator
//! does to it: save, restore, compact, defragment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::faults::Peers;
use crate::http;
use crate::port::Port;
use crate::process::Process;
use crate::record::Tape;
use crate::wait::{eventually, output};
use crate::workspace;

/// How long members may take to find each other.
const SOON: Duration = Duration::from_secs(30);
/// How long `etcdctl` may take.
const CTL: Duration = Duration::from_secs(120);

/// How an etcd is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Which members there are: this many.
    pub members: usize,
    /// Further arguments of every member, as `--quota-backend-bytes=16777216`.
    pub args: Vec<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { members: 1, args: Vec::new() }
    }
}

/// A running etcd.
#[derive(Debug)]
pub struct Etcd {
    version: String,
    dir: PathBuf,
    setup: Setup,
    members: Vec<Member>,
    /// Between the members, where there are several.
    peers: Peers,
    /// Grows with every restore: each has its own token and folders.
    life: u32,
    /// Who records what it holds.
    tape: Option<Arc<Tape>>,
}

#[derive(Debug)]
struct Member {
    port: Port,
    /// Where it listens for the others.
    peer_port: Port,
    process: Option<Process>,
}

impl Etcd {
    /// Starts an etcd of one member of `version` (one that `e2e/fetch-tools` fetches) with its data under `dir`.
    pub fn start(version: &str, dir: &Path) -> Self {
        Self::set_up(version, dir, Setup::default())
    }

    /// Starts an etcd as `setup` says.
    pub fn set_up(version: &str, dir: &Path, setup: Setup) -> Self {
        let member = |_| Member { port: Port::take(), peer_port: Port::take(), process: None };
        let members: Vec<_> = (0..setup.members).map(member).collect();
        let peers = Peers::start(&members.iter().map(|member| member.peer_port.number()).collect::<Vec<_>>());
        let (version, dir) = (version.into(), dir.into());
        let mut etcd = Self { version, dir, setup, members, peers, life: 0, tape: None };
        etcd.begin_all();
        etcd
    }

    /// From now on nothing is compacted that is not on the tape, and the tape is told when another history begins.
    pub fn record(&mut self, tape: Arc<Tape>) {
        self.tape = Some(tape);
    }

    /// Where clients reach the first member.
    pub fn url(&self) -> String {
        loopback(self.members[0].port.number())
    }

    /// Where clients reach all members.
    pub fn urls(&self) -> Vec<String> {
        self.members.iter().map(|member| loopback(member.port.number())).collect()
    }

    /// The process of the first member.
    pub fn process(&self) -> &Process {
        self.members[0].process.as_ref().expect("the first member runs")
    }

    /// Starts a member that was killed.
    pub fn begin(&mut self, member: usize) {
        let command = self.command(member);
        let log = self.dir.join(format!("etcd-{member}.log"));
        self.members[member].process = Some(Process::start("etcd", command, &log));
    }

    /// Starts a member that ended by itself; one that runs is left alone.
    pub fn begin_if_ended(&mut self, member: usize) {
        let process = self.members[member].process.as_mut();
        if process.is_none_or(|process| process.ended().is_some()) {
            self.begin(member);
        }
    }

    /// Kills a member with -9.
    pub fn kill(&mut self, member: usize) {
        self.members[member].process.take().expect("the member runs").kill();
    }

    /// Sends a signal to a member: STOP makes a machine of it that hangs.
    pub fn signal(&self, member: usize, signal: Signal) {
        self.members[member].process.as_ref().expect("the member runs").signal(signal);
    }

    /// Cuts a member off from all others, both ways; clients still reach it. Returns when that is so.
    pub fn cut_off(&self, member: usize) {
        self.peers.cut_off(member, &self.id(member));
        eventually("the cut holds something back", SOON, || match self.peers.held() {
            0 => Err("nothing was held back".to_owned()),
            _ => Ok(()),
        });
    }

    /// All members reach each other again.
    pub fn heal(&self) {
        self.peers.heal();
    }

    /// What a member calls itself.
    fn id(&self, member: usize) -> String {
        let told = self.ctl(&["member", "list", "-w", "json"]).expect("etcd tells its members");
        let told: Value = serde_json::from_str(&told).expect("etcdctl writes JSON");
        let members = told["members"].as_array().expect("members are a list");
        let found = members.iter().find(|found| found["name"] == name(member).as_str());
        let id = found.and_then(|found| found["ID"].as_u64()).expect("a member has an id");
        format!("{id:x}")
    }

    /// Has a member lead.
    pub fn give_lead_to(&self, member: usize) {
        eventually("the lead changes hands", SOON, || match self.leader() {
            leader if leader == member => Ok(()),
            leader => {
                let url = loopback(self.members[leader].port.number());
                self.ctl_at(&url, &["move-leader", &self.id(member)]).and_then(Err)
            }
        });
    }

    /// The member that leads.
    pub fn leader(&self) -> usize {
        eventually("etcd has a leader", SOON, || {
            let status: Value = serde_json::from_str(&self.ctl(&["endpoint", "status", "-w", "json"])?)
                .map_err(|error| error.to_string())?;
            let of = |field: &str, member: &Value| member.pointer(field).and_then(Value::as_u64);
            let members = status.as_array().map(Vec::as_slice).unwrap_or_default();
            let leads =
                |member: &&Value| of("/Status/leader", member) == of("/Status/header/member_id", member);
            let leader = members.iter().find(leads).and_then(|member| member["Endpoint"].as_str());
            let leader = leader.and_then(|url| self.urls().iter().position(|own| own == url));
            leader.ok_or_else(|| status.to_string())
        })
    }

    /// Runs `etcdctl` against all members; the output, or what it complained of.
    pub fn ctl(&self, args: &[&str]) -> Result<String, String> {
        self.ctl_at(&self.urls().join(","), args)
    }

    fn ctl_at(&self, urls: &str, args: &[&str]) -> Result<String, String> {
        let mut command = Command::new(tool("3.5.1", "etcdctl"));
        // Not by the environment: `move-leader` refuses that.
        command.env("ETCDCTL_API", "3").arg(format!("--endpoints={urls}")).args(args);
        let output = output(&mut command, CTL)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// The newest revision.
    pub fn revision(&self) -> i64 {
        let key = self.ctl_at(&self.url(), &["get", "-w", "json", "/"]).expect("etcd answers");
        let answer: Value = serde_json::from_str(&key).expect("etcdctl writes JSON");
        answer["header"]["revision"].as_i64().expect("an answer has a revision")
    }

    /// Forgets all revisions but the newest; who has not seen them never will.
    pub fn compact(&self) {
        let revision = self.revision();
        if let Some(tape) = &self.tape {
            tape.wait_for(revision, SOON).expect("the recorder comes to what is compacted");
        }
        let revision = revision.to_string();
        self.ctl_at(&self.url(), &["compaction", "--physical", &revision]).expect("compaction");
    }

    /// What an operator does about NOSPACE: compacts, defragments every member, disarms the alarm.
    pub fn make_space(&self) {
        self.compact();
        for url in self.urls() {
            self.ctl_at(&url, &["defrag", "--command-timeout", "60s"]).expect("defragmentation");
        }
        self.ctl(&["alarm", "disarm"]).expect("the alarm is disarmed");
    }

    /// Saves a snapshot.
    pub fn save(&self, snapshot: &Path) {
        let file = snapshot.display().to_string();
        self.ctl_at(&self.url(), &["snapshot", "save", &file]).expect("a snapshot is saved");
    }

    /// Kills every member, and starts them anew on a snapshot: another cluster under the same addresses.
    pub fn restore(&mut self, snapshot: &Path) {
        for member in &mut self.members {
            drop(member.process.take());
        }
        self.tape.iter().for_each(|tape| tape.begin_anew());
        self.life += 1;
        for member in 0..self.members.len() {
            let (name, data) = (name(member), self.data(member));
            let file = snapshot.display().to_string();
            let args = [
                "snapshot".into(),
                "restore".into(),
                file,
                format!("--name={name}"),
                format!("--data-dir={}", data.display()),
                format!("--initial-cluster={}", self.cluster()),
                format!("--initial-cluster-token={}", self.token()),
                format!("--initial-advertise-peer-urls={}", self.peer(member)),
            ];
            self.ctl(&args.iter().map(String::as_str).collect::<Vec<_>>()).expect("a snapshot is restored");
        }
        self.begin_all();
    }

    fn begin_all(&mut self) {
        (0..self.members.len()).for_each(|member| self.begin(member));
        eventually("etcd is healthy", SOON, || {
            for member in &mut self.members {
                member.process.iter_mut().for_each(Process::must_run);
                healthy(member.port.number())?;
            }
            Ok(())
        });
    }

    fn command(&self, member: usize) -> Command {
        let Member { port, peer_port, .. } = &self.members[member];
        let (url, listens, peer) = (loopback(port.number()), loopback(peer_port.number()), self.peer(member));
        let mut command = Command::new(tool(&self.version, "etcd"));
        command
            .args(["--name", &name(member), "--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &listens, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &self.cluster(), "--initial-cluster-token", &self.token()])
            .args(["--logger", "zap", "--log-level", "warn"])
            .args(&self.setup.args)
            .arg("--data-dir")
            .arg(self.data(member));
        command
    }

    fn cluster(&self) -> String {
        let named = |member| format!("{}={}", name(member), self.peer(member));
        (0..self.members.len()).map(named).collect::<Vec<_>>().join(",")
    }

    /// Where the others find a member.
    fn peer(&self, member: usize) -> String {
        loopback(self.peers.port(member))
    }

    fn token(&self) -> String {
        format!("life-{}", self.life)
    }

    /// The folder of a member's data; also where a test mounts a small disk before the start.
    fn data(&self, member: usize) -> PathBuf {
        let folder = self.dir.join("etcd");
        fs::create_dir_all(&folder).expect("the test's folder is writable");
        folder.join(format!("{}-{}", name(member), self.life))
    }
}

fn name(member: usize) -> String {
    format!("m{member}")
}

fn loopback(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn tool(version: &str, program: &str) -> PathBuf {
    let path = workspace().join(format!("e2e/.tools/etcd-{version}/{program}"));
    assert!(path.exists(), "{} is missing: run e2e/fetch-tools", path.display());
    path
}

fn healthy(port: u16) -> Result<(), String> {
    let body = http::get_path(port, "/health")?;
    if body.contains("true") { Ok(()) } else { Err(body) }
}
