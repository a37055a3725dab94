//! This machine: what it has, and what it lets its containers do.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use berth_types::expand::STACK;
use berth_types::node::NodeInfo;
use berth_types::quantity::{Bytes, Millicores, Quantity, ResourceList};
use rustix::process::{Resource, getrlimit};

use crate::runtime_spec::{HOSTS, NodeSays, Rlimit};

/// Files that belong to the node's people.
const SECRET_FILES: &[&str] =
    &["/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/sudoers"];
/// Folders that belong to the node's people, or hold sockets of its services.
const SECRET_FOLDERS: &[&str] = &[
    "/run",
    "/root",
    "/home",
    "/etc/ssh",
    "/etc/ssl/private",
    "/etc/sudoers.d",
    "/var/lib/etcd",
    "/var/spool/cron",
];
/// What a container sees of its own at these places.
const PRIVATE: &[&str] = &["/tmp", "/dev", "/proc", "/sys"];
/// Containers go before agents and servers when memory runs out.
const CONTAINER_OOM_SCORE: i32 = 500;

/// What the machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Host name, boot id, architecture, kernel and agent.
    pub info: NodeInfo,
    /// All it has.
    pub capacity: ResourceList,
    /// What Tasks may have of it.
    pub allocatable: ResourceList,
}

impl Machine {
    /// Looks at this machine; `data` is where its Tasks' disk is.
    pub fn look(data: &Path) -> io::Result<Self> {
        let uname = rustix::system::uname();
        let text = |word: &std::ffi::CStr| word.to_string_lossy().into_owned();
        let info = NodeInfo {
            hostname: text(uname.nodename()),
            operating_system: "linux".into(),
            architecture: text(uname.machine()),
            boot_id: boot_id()?,
            kernel_version: text(uname.release()),
            agent_version: env!("CARGO_PKG_VERSION").into(),
        };
        let cores = std::thread::available_parallelism()?.get();
        let cpu = i64::try_from(cores).unwrap_or(1) * 1000;
        let memory = memory_bytes()?;
        let disk = disk_bytes(data)?;
        // A tenth of memory and disk, and of each core, is for the system and Berth itself.
        let list = |cpu, memory, disk| {
            BTreeMap::from([
                ("cpu".to_owned(), Quantity::of_millicores(Millicores(cpu))),
                ("memory".to_owned(), Quantity::of_bytes(Bytes(memory))),
                ("disk".to_owned(), Quantity::of_bytes(Bytes(disk))),
            ])
        };
        let nine_tenths = |amount: i64| whole_mebibytes(amount / 10 * 9);
        Ok(Self {
            info,
            capacity: list(cpu, memory, whole_mebibytes(disk)),
            allocatable: list(cpu / 10 * 9, nine_tenths(memory), nine_tenths(disk)),
        })
    }
}

fn whole_mebibytes(bytes: i64) -> i64 {
    bytes >> 20 << 20
}

/// Changes with every boot. A test build takes it from the file that `BERTH_BOOT_ID` names: no test boots a machine.
pub fn boot_id() -> io::Result<String> {
    let file = std::env::var_os("BERTH_BOOT_ID").filter(|_| cfg!(debug_assertions)).map(PathBuf::from);
    let file = file.unwrap_or_else(|| PathBuf::from("/proc/sys/kernel/random/boot_id"));
    Ok(fs::read_to_string(file)?.trim().to_owned())
}

fn memory_bytes() -> io::Result<i64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<i64>().ok());
    kibibytes.map(|k| k << 10).ok_or_else(|| io::Error::other("/proc/meminfo has no MemTotal"))
}

/// The size of the file system: what is free changes all the time, and a Node is written only on change.
fn disk_bytes(at: &Path) -> io::Result<i64> {
    let stat = rustix::fs::statvfs(at)?;
    Ok(i64::try_from(stat.f_blocks.saturating_mul(stat.f_frsize)).unwrap_or(i64::MAX))
}

/// What this node adds to and allows every container; `berth` are Berth's own folders and sockets.
pub fn node_says(berth: &[PathBuf]) -> io::Result<NodeSays> {
    let around = berth.iter().filter_map(|folder| folder.parent()).filter(|folder| holds_a_cluster(folder));
    let own = berth.iter().cloned().chain(around.map(Path::to_path_buf));
    let folders = SECRET_FOLDERS.iter().map(PathBuf::from).chain(own);
    let hidden_folders = hidden(folders.filter_map(|folder| fs::canonicalize(folder).ok()).collect());
    let is_hidden = |file: &PathBuf| hidden_folders.iter().any(|folder| file.starts_with(folder));
    let named = ["/etc/resolv.conf"].map(PathBuf::from);
    let shown: Vec<(PathBuf, PathBuf)> =
        named.into_iter().filter_map(|name| Some((fs::canonicalize(&name).ok()?, name))).collect();
    let hosts = fs::canonicalize(HOSTS).unwrap_or_else(|_| PathBuf::from(HOSTS));
    let own_oom_score: i32 = fs::read_to_string("/proc/self/oom_score_adj")?.trim().parse().unwrap_or(1000);
    Ok(NodeSays {
        shown_in_views: shown.iter().map(|(file, _)| file.clone()).filter(is_hidden).collect(),
        shown_to_images: shown,
        hosts,
        hidden_files: SECRET_FILES.iter().map(PathBuf::from).filter(|file| file.is_file()).collect(),
        hidden_folders,
        rlimits: rlimits(),
        oom_score_adj: CONTAINER_OOM_SCORE.max(own_oom_score),
    })
}

/// Whether `folder` is a whole cluster's data folder, in which an agent's is one of several.
fn holds_a_cluster(folder: &Path) -> bool {
    ["cluster", "store/journal.redb", "log/apiserver.log"].iter().any(|file| folder.join(file).exists())
}

/// Folders to hide, without those that another of them or a private place hides already.
fn hidden(mut folders: Vec<PathBuf>) -> Vec<PathBuf> {
    folders.sort();
    folders.dedup();
    let mut kept: Vec<PathBuf> = Vec::new();
    for folder in folders {
        let private = PRIVATE.iter().any(|place| folder.starts_with(place));
        if folder.is_dir() && !private && !kept.iter().any(|above| folder.starts_with(above)) {
            kept.push(folder);
        }
    }
    kept
}

/// Every limit is explicit, and none is above our own hard one: raising that takes a capability.
fn rlimits() -> Vec<Rlimit> {
    let within = |name: &'static str, resource, soft: u64, hard: u64| {
        let own = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        Rlimit { name: name.into(), soft: soft.min(own), hard: hard.min(own) }
    };
    vec![
        within("RLIMIT_NOFILE", Resource::Nofile, 1024, 1 << 20),
        within("RLIMIT_CORE", Resource::Core, 0, 0),
        within("RLIMIT_NPROC", Resource::Nproc, u64::MAX, u64::MAX),
        within("RLIMIT_STACK", Resource::Stack, STACK, u64::MAX),
        within("RLIMIT_MEMLOCK", Resource::Memlock, 64 << 10, 64 << 10),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_below_a_hidden_or_private_one_is_not_hidden_again() {
        let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect::<Vec<_>>();
        let got = hidden(paths(&["/usr/share", "/usr", "/tmp/x", "/etc", "/usr/bin", "/nowhere"]));
        assert_eq!(got, paths(&["/etc", "/usr"]));
    }

    #[test]
    fn a_view_of_the_node_shows_nothing_of_its_people() {
        let hidden = node_says(&[]).unwrap().hidden_folders;
        for folder in SECRET_FOLDERS.iter().filter_map(|folder| fs::canonicalize(folder).ok()) {
            assert!(hidden.iter().any(|above| folder.starts_with(above)), "{}", folder.display());
        }
    }

    #[test]
    fn this_machine_has_something_to_give() {
        let machine = Machine::look(Path::new("/")).unwrap();
        for (name, amount) in &machine.allocatable {
            let all = machine.capacity[name].millis().unwrap();
            let given = amount.millis().unwrap();
            assert!(0 < given && given < all, "{name}: {given} of {all}");
        }
    }
}
