//! What a world left on the machine, found by what every trace of it carries: its folder's path.

use std::fs;
use std::path::{Path, PathBuf};

use crate::identity::Identity;

/// The cgroup hierarchies.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Processes, mounts, cgroups, sandboxes and run files of the world in `dir`.
pub fn scan(dir: &Path) -> Vec<String> {
    let mut found = processes(dir, &[]);
    found.extend(cgroups(dir).iter().map(|path| format!("cgroup {}", path.display())));
    found.extend(mounts(dir));
    found.extend(files(dir));
    found
}

/// The same while the parts of the cluster run: what Tasks left.
pub fn of_tasks(dir: &Path) -> Vec<String> {
    let mut found = processes(dir, &["apiserver", "controllers", "node-agent"]);
    let below_parents = cgroups(dir).into_iter().filter(|path| !path.ends_with(parent(dir)));
    found.extend(below_parents.map(|path| format!("cgroup {}", path.display())));
    found.extend(mounts(dir));
    found.extend(files(dir));
    found
}

fn files(dir: &Path) -> Vec<String> {
    let agents = ["node", "two/node"].iter();
    let folders = agents.flat_map(|agent| {
        [format!("data/{agent}/tasks"), format!("run/{agent}/s"), format!("run/{agent}/c")]
    });
    let found = folders.flat_map(|folder| entries(&dir.join(folder)));
    found.map(|path| format!("file {}", path.display())).collect()
}

/// Ids of the processes in the cgroup of one Task, container by container, in every hierarchy.
pub fn processes_of_task(dir: &Path, task_uid: &str) -> Vec<u32> {
    processes_in(dir, |path| path.iter().any(|part| part == task_uid))
}

/// Of the processes in the cgroup of one Task, those that run its programs, oldest first. What creates a container is in
/// its cgroup for a moment even after the container runs. The smallest number need not be the oldest one's: thousands of
/// short processes in other tests use all numbers up within seconds, and low ones are given out again.
pub fn programs_of_task(dir: &Path, task_uid: &str) -> Vec<u32> {
    let pids = processes_of_task(dir, task_uid).into_iter().filter(|pid| !creates_containers(*pid));
    let mut programs: Vec<Identity> = pids.filter_map(Identity::of).collect();
    programs.sort_by_key(|program| (program.started, program.pid));
    programs.into_iter().map(|program| program.pid).collect()
}

/// Whether a process runs the shim, which executes a sealed copy of itself in memory.
fn creates_containers(pid: u32) -> bool {
    let executable = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    executable.ends_with("shim") || executable.to_string_lossy().starts_with("/memfd:")
}

/// Ids of the processes in the cgroup of one container of a Task, and below.
pub fn processes_of_container(dir: &Path, task_uid: &str, container: &str) -> Vec<u32> {
    let inside = |path: &Path| {
        let mut below = path.iter().skip_while(|part| *part != task_uid);
        below.nth(1).is_some_and(|part| part == container)
    };
    processes_in(dir, inside)
}

fn processes_in(dir: &Path, is_asked: impl Fn(&Path) -> bool) -> Vec<u32> {
    let mut pids: Vec<u32> = cgroups(dir)
        .iter()
        .filter(|path| is_asked(path))
        .flat_map(|path| {
            fs::read_to_string(path.join("cgroup.procs"))
                .unwrap_or_default()
                .lines()
                .map(str::to_string)
                .collect::<Vec<_>>()
        })
        .filter_map(|line| line.parse().ok())
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Processes that name the world's folder, but for etcd and those whose program is one of `parts`.
fn processes(dir: &Path, parts: &[&str]) -> Vec<String> {
    let own = std::process::id().to_string();
    let needle = dir.display().to_string();
    let mut found = Vec::new();
    for process in entries(Path::new("/proc")) {
        let pid = process.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_string();
        if pid == own || !pid.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let command = fs::read(process.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let program = command.split(' ').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        if command.contains(&needle) && program != "etcd" && !parts.contains(&program) {
            found.push(format!("process {pid} {command}"));
        }
    }
    found
}

fn mounts(dir: &Path) -> Vec<String> {
    let needle = dir.display().to_string();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().filter(|line| line.contains(&needle)).map(|line| format!("mount {line}")).collect()
}

/// Every cgroup below the parents that carry the cluster's uid.
fn cgroups(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for hierarchy in std::iter::once(PathBuf::from(CGROUPS)).chain(entries(Path::new(CGROUPS))) {
        below(&hierarchy.join(parent(dir)), &mut found);
    }
    found
}

/// Removes every cgroup of Tasks that is empty, as a boot does; those that are left.
pub fn remove_cgroups(dir: &Path) -> Vec<PathBuf> {
    let mut all = cgroups(dir);
    all.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    // Those with processes stay, and are told.
    all.into_iter().filter(|path| fs::remove_dir(path).is_err()).collect()
}

/// Name of the cgroup that holds all Tasks of the world's cluster.
///
/// # Panics
/// When the data folder does not name its cluster: a scan that finds nothing for that reason proves nothing.
fn parent(dir: &Path) -> String {
    let uid = fs::read_to_string(dir.join("data/cluster")).expect("the data folder names its cluster");
    format!("berth-{}", uid.trim().get(..8).expect("a uid has 32 digits"))
}

fn below(cgroup: &Path, found: &mut Vec<PathBuf>) {
    if !cgroup.is_dir() {
        return;
    }
    found.push(cgroup.to_path_buf());
    for child in entries(cgroup).into_iter().filter(|path| path.is_dir()) {
        below(&child, found);
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
