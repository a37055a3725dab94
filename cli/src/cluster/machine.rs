//! Whether this machine can run Berth, and what to do when it cannot.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::cgroups::{Hierarchy, hierarchies};
use super::folders::Home;
use crate::suggested::Suggested;

/// The programs that `ctl up` runs, and the one that they run.
const PROGRAMS: [&str; 4] = ["apiserver", "controllers", "node-agent", "shim"];
/// A longer path does not fit into a socket address.
const LONGEST_SOCKET: usize = 107;
/// What a shim's socket has after the run folder.
const SHIM_SOCKET: &str = "node/s/0123456789ab.sock";

/// One thing that is missing, with the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What is missing.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

fn missing(what: impl Into<String>, remedy: impl Into<String>) -> Missing {
    Missing { what: what.into(), remedy: remedy.into() }
}

/// Everything that keeps Berth from running here, its programs being in `programs`; `up` is the command that asks.
pub fn missing_here(home: &Home, programs: &Path, up: &Suggested) -> Vec<Missing> {
    let mut found = Vec::new();
    found.extend(not_there(programs));
    if !rustix::process::geteuid().is_root() {
        found.push(missing("containers need root", format!("run it as root: sudo {up}")));
    } else {
        found.extend(without_cgroups(&hierarchies()));
    }
    found.extend(long_path(home));
    found
}

fn not_there(programs: &Path) -> Option<Missing> {
    let absent = |name: &&str| !programs.join(name).is_file();
    let absent: Vec<&str> = PROGRAMS.into_iter().filter(absent).collect();
    (!absent.is_empty()).then(|| {
        let what = format!("no {} in {}", absent.join(", "), programs.display());
        missing(what, "keep Berth's programs together with ctl; cargo build --workspace makes them all")
    })
}

fn without_cgroups(mounted: &[Hierarchy]) -> Option<Missing> {
    if mounted.is_empty() {
        return Some(missing("no cgroup hierarchy is mounted", "mount -t cgroup2 cgroup2 /sys/fs/cgroup"));
    }
    let offered: BTreeSet<&str> =
        mounted.iter().flat_map(|one| &one.controllers).map(String::as_str).collect();
    let absent: Vec<&str> =
        ["cpu", "memory", "pids"].into_iter().filter(|name| !offered.contains(name)).collect();
    if !absent.is_empty() {
        let what = format!("no cgroup controller {}", absent.join(", "));
        return Some(missing(what, "switch it on at boot (cgroup_enable=memory) or mount it"));
    }
    let closed: Vec<PathBuf> = mounted
        .iter()
        .filter(|one| ["cpu", "memory", "pids"].iter().any(|name| one.controllers.contains(*name)))
        .filter(|one| access(&one.folder, Access::WRITE_OK).is_err())
        .map(|one| one.folder.clone())
        .collect();
    let first = closed.first()?;
    let what = format!("{} cannot be written", first.display());
    Some(missing(what, "remount it read-write; in a container, run that container with its own cgroups"))
}

fn long_path(home: &Home) -> Option<Missing> {
    let longest = home.run.join(SHIM_SOCKET).as_os_str().len().max(home.socket().as_os_str().len());
    (longest > LONGEST_SOCKET).then(|| {
        let what = format!("the path {} is too long for the sockets in it", home.run.display());
        missing(what, format!("choose a --run folder shorter by {} characters", longest - LONGEST_SOCKET))
    })
}

/// This machine's host name as an object may be called.
pub fn node_name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    let word = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c } else { '-' };
    let name: String = host.chars().map(word).collect();
    let name = name.trim_matches(['-', '.']);
    if name.is_empty() { "node".into() } else { name.into() }
}

/// The folder of this executable.
pub fn programs() -> std::io::Result<PathBuf> {
    let own = fs::canonicalize("/proc/self/exe")?;
    Ok(own.parent().map(Path::to_owned).unwrap_or_default())
}
