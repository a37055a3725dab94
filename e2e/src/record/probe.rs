//! The node probe: which process of which Task ran where and when, seen in cgroups and /proc alone, ten times a second
//! and whenever a container's cgroup is made. It asks no agent.
//!
//! A process is told by its id and its start; an attempt of a container by the first process of its pid namespace.
//! What joins the cgroup for the start of a container, and is in the machine's own pid namespace, is no process of it.
//! Not seen: a container that ends before the probe has read its new cgroup, which takes it a few milliseconds; a child
//! that lives and dies between two looks; anything of a container that has left its cgroup.

mod cgroups;
mod process;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::cgroups::{Cgroups, Container};
use self::process::Process;
use super::tape::Tape;
use crate::history::Sighting;
use crate::monotonic;

/// How often everything is looked at.
const PERIOD: Duration = Duration::from_millis(100);
/// How often a new cgroup is looked at, until its first process is there.
const FRESH_PERIOD: Duration = Duration::from_millis(2);
/// How long a cgroup is new.
const FRESH: Duration = Duration::from_millis(500);

/// A thread that looks at the Tasks of one world.
#[derive(Debug)]
pub struct Probe {
    ends: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    looked: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

/// What was seen up to now.
#[derive(Debug, Default)]
struct Seen {
    sightings: Vec<Sighting>,
    known: HashMap<(i32, u64), usize>,
    /// By the inode of its pid namespace, the attempt that it is.
    attempts: HashMap<u64, u64>,
}

impl Probe {
    /// Looks at the world in `dir`, once its cluster has named itself on the tape.
    pub fn start(dir: &Path, tape: Arc<Tape>) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let looked = Arc::new(AtomicU64::new(0));
        let (end, into, dir, began) = (ends.clone(), seen.clone(), dir.to_path_buf(), looked.clone());
        let look = move || look(&dir, &tape, &into, &began, &end);
        let thread = std::thread::Builder::new().name("probe".into()).spawn(look).expect("a thread starts");
        Self { ends, seen, looked, thread: Some(thread) }
    }

    /// When the last look at everything began that is over, by the monotonic clock; 0 before the first.
    pub fn looked(&self) -> u64 {
        self.looked.load(Ordering::Acquire)
    }

    /// What was seen up to now. `nodes` tells the name of the node whose agent has a folder, as `node`, below the
    /// world's data; of another it is this machine's name.
    pub fn sightings(&self, nodes: &BTreeMap<String, String>) -> Vec<Sighting> {
        let machine = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
        let mut sightings = lock(&self.seen).sightings.clone();
        for sighting in &mut sightings {
            sighting.node = nodes.get(&sighting.node).unwrap_or(&machine).clone();
        }
        sightings
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn look(dir: &Path, tape: &Tape, seen: &Mutex<Seen>, looked: &AtomicU64, ends: &AtomicBool) {
    let uid = loop {
        if ends.load(Ordering::Relaxed) {
            return;
        }
        match tape.cluster() {
            Some(uid) => break uid,
            None => std::thread::park_timeout(Duration::from_millis(20)),
        }
    };
    let mut cgroups = Cgroups::of(&uid);
    let own = process::pid_namespace("self");
    let mut fresh: Vec<(Container, Instant)> = Vec::new();
    while !ends.load(Ordering::Relaxed) {
        let began = monotonic::now();
        for container in cgroups.containers() {
            visit(dir, &container, own, seen);
        }
        looked.store(began, Ordering::Release);
        let end = Instant::now() + PERIOD;
        while Instant::now() < end && !ends.load(Ordering::Relaxed) {
            let period = if fresh.is_empty() { end - Instant::now().min(end) } else { FRESH_PERIOD };
            let made = cgroups.wait(period);
            fresh.extend(made.into_iter().map(|container| (container, Instant::now() + FRESH)));
            fresh.retain(|(container, until)| {
                let nothing_yet = visit(dir, container, own, seen) == 0;
                nothing_yet && Instant::now() < *until
            });
        }
    }
}

/// Takes in what runs in a container; how many processes.
fn visit(dir: &Path, container: &Container, own: Option<u64>, seen: &Mutex<Seen>) -> usize {
    let mut found = 0;
    let mut new = Vec::new();
    for pid in container.processes() {
        let at = monotonic::now();
        let Some(process) = Process::of(pid).filter(Process::lives) else { continue };
        let mut seen = lock(seen);
        if let Some(&index) = seen.known.get(&(pid, process.started)) {
            let sighting = &mut seen.sightings[index];
            sighting.last = sighting.last.max(at);
            found += 1;
        } else if let Some(namespace) = process::pid_namespace(&pid.to_string()).filter(|of| Some(*of) != own)
        {
            new.push((process, namespace, monotonic::now()));
        }
    }
    // The first process of a namespace names the attempt that the others are of.
    new.sort_by_key(|(process, ..)| !process.is_first());
    found += new.len();
    for (process, namespace, at) in new {
        let node = node_folder(dir, &container.task, &process);
        lock(seen).add(container, &process, namespace, node, at);
    }
    found
}

impl Seen {
    fn add(&mut self, container: &Container, process: &Process, namespace: u64, node: String, at: u64) {
        if process.is_first() {
            // Ids of processes are below 2^22.
            let attempt = process.started << 22 | u64::try_from(process.pid).unwrap_or(0);
            self.attempts.insert(namespace, attempt);
        }
        self.known.insert((process.pid, process.started), self.sightings.len());
        self.sightings.push(Sighting {
            node,
            task: container.task.clone(),
            container: container.name.clone(),
            attempt: self.attempts.get(&namespace).copied(),
            pid: process.pid,
            started: process.started,
            first: at,
            last: at,
            cgroup: container.path.display().to_string(),
            network: process.network,
        });
    }
}

/// The folder, below the world's data, of the agent whose shim started the process: the shim's bundle lies there. When
/// the shim is gone, the one that has the Task's files. Empty when neither tells.
fn node_folder(dir: &Path, task: &str, process: &Process) -> String {
    let data = dir.join("data");
    let inside = |path: &str| {
        let below = Path::new(path).strip_prefix(&data).ok()?;
        let depth = below.iter().position(|name| name == "node")?;
        Some(below.iter().take(depth + 1).collect::<PathBuf>().to_str()?.to_owned())
    };
    let mut next = Some(process.clone());
    for _ in 0..8 {
        let Some(process) = next else { break };
        if let Some(folder) = process::arguments(process.pid).iter().find_map(|argument| inside(argument)) {
            return folder;
        }
        next = Process::of(process.parent);
    }
    let entries = std::fs::read_dir(&data).into_iter().flatten().flatten();
    let folders = std::iter::once(data.clone()).chain(entries.map(|entry| entry.path()));
    let homes =
        folders.map(|folder| folder.join("node")).filter(|home| home.join("tasks").join(task).exists());
    let names = homes.filter_map(|home| Some(home.strip_prefix(&data).ok()?.to_str()?.to_owned()));
    names.min().unwrap_or_default()
}
