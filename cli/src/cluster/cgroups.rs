//! The cgroups of a cluster in every hierarchy: killed and removed.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(10);

/// Folders of the cgroup hierarchies that are mounted here.
pub fn hierarchies() -> Vec<Hierarchy> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().filter_map(Hierarchy::read).collect()
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub folder: PathBuf,
    /// Its controllers.
    pub controllers: BTreeSet<String>,
}

impl Hierarchy {
    /// Reads a line of mountinfo; none for another file system.
    fn read(line: &str) -> Option<Self> {
        let (mount, source) = line.split_once(" - ")?;
        let folder = PathBuf::from(super::mounts::unescaped(mount.split(' ').nth(4)?));
        let mut source = source.split(' ');
        let form = source.next()?;
        let options = source.nth(1)?;
        let controllers = match form {
            "cgroup" => options.split(',').map(String::from).collect(),
            "cgroup2" => {
                let listed = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
                listed.split_whitespace().map(String::from).collect()
            }
            _ => return None,
        };
        Some(Self { folder, controllers })
    }
}

/// What [`clear`] did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Cleared {
    /// Processes killed.
    pub killed: usize,
    /// cgroups removed.
    pub removed: usize,
    /// cgroups that are still there.
    pub left: Vec<PathBuf>,
}

/// Kills every process in the cgroup `name` of every hierarchy and removes it with all below it, but for the Tasks
/// `spared`.
pub async fn clear(name: &str, spared: &[OsString]) -> Cleared {
    let tops: Vec<PathBuf> = hierarchies().into_iter().map(|hierarchy| hierarchy.folder.join(name)).collect();
    let until = Instant::now() + PATIENCE;
    let (mut killed, mut removed) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let mut folders: Vec<PathBuf> = tops.iter().flat_map(|top| all_but(top, spared)).collect();
        for pid in folders.iter().flat_map(|folder| processes(folder)) {
            killed.insert(pid);
        }
        folders.iter().for_each(|folder| kill(folder));
        // The deepest first: only an empty cgroup can be removed.
        folders.sort_by_key(|folder| std::cmp::Reverse(folder.components().count()));
        let mut left = Vec::new();
        for folder in folders {
            match fs::remove_dir(&folder) {
                Ok(()) => drop(removed.insert(folder)),
                Err(_) => left.push(folder),
            }
        }
        if left.is_empty() || Instant::now() > until {
            left.retain(|folder| folder.exists());
            return Cleared { killed: killed.len(), removed: removed.len(), left };
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Removes the cgroup `name` from every hierarchy in which nothing is in it.
pub fn remove_empty(name: &str) {
    for hierarchy in hierarchies() {
        // One that is not empty holds Tasks.
        let _ = fs::remove_dir(hierarchy.folder.join(name));
    }
}

/// The Tasks that have cgroups in the cgroup `name`, over all hierarchies.
pub fn tasks_in(name: &str) -> BTreeSet<OsString> {
    let tops = hierarchies().into_iter().map(|hierarchy| hierarchy.folder.join(name));
    let tasks = tops.flat_map(|top| fs::read_dir(top).into_iter().flatten().flatten());
    let tasks = tasks.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    tasks.map(|entry| entry.file_name()).collect()
}

/// A cgroup and all below it; without the Tasks `spared`, and then without those that hold them.
fn all_but(top: &Path, spared: &[OsString]) -> Vec<PathBuf> {
    let kept: Vec<PathBuf> = spared.iter().map(|task| top.join(task)).filter(|task| task.exists()).collect();
    let mut folders = below(top);
    folders.retain(|folder| !kept.iter().any(|kept| folder.starts_with(kept) || kept.starts_with(folder)));
    folders
}

/// A cgroup and all below it.
fn below(cgroup: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(cgroup) else { return Vec::new() };
    let children = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut found = vec![cgroup.to_owned()];
    found.extend(children.flat_map(|child| below(&child.path())));
    found
}

fn kill(cgroup: &Path) {
    for pid in processes(cgroup) {
        if let Some(pid) = Pid::from_raw(pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    // What is frozen dies only when it thaws.
    for (file, word) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
        if cgroup.join(file).exists() {
            let _ = fs::write(cgroup.join(file), word);
        }
    }
}

fn processes(cgroup: &Path) -> Vec<i32> {
    let listed = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    listed.lines().filter_map(|line| line.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spared_task_keeps_its_cgroups_and_those_above() {
        let top = tempfile::tempdir().unwrap();
        for folder in ["a/main", "b/main", "bb"] {
            fs::create_dir_all(top.path().join(folder)).unwrap();
        }
        let left = |spared: &[&str]| {
            let spared: Vec<OsString> = spared.iter().map(OsString::from).collect();
            let mut found = all_but(top.path(), &spared);
            found.sort();
            let name = |path: PathBuf| path.strip_prefix(top.path()).unwrap().display().to_string();
            found.into_iter().map(name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(left(&[]), " a a/main b b/main bb");
        assert_eq!(left(&["gone"]), " a a/main b b/main bb");
        assert_eq!(left(&["b"]), "a a/main bb");
        assert_eq!(left(&["b", "bb", "a"]), "");
    }

    #[test]
    fn a_line_of_mountinfo_tells_a_hierarchy() {
        let line =
            "36 35 0:31 / /sys/fs/cgroup/cpu\\040x rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct";
        let hierarchy = Hierarchy::read(line).unwrap();
        assert_eq!(hierarchy.folder, PathBuf::from("/sys/fs/cgroup/cpu x"));
        assert!(hierarchy.controllers.contains("cpuacct"));
        assert_eq!(Hierarchy::read("1 0 0:1 / / rw - ext4 /dev/x rw"), None);
    }
}
