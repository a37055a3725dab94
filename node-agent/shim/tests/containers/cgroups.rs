//! Killing and removing cgroups of either version, without a container. Needs a mounted version 2 hierarchy.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};

use berth_shim_api::cgroup::Hierarchies;

use crate::world::PATIENCE;

/// A cgroup in one hierarchy with another below it, and a process in each.
struct Populated {
    path: String,
    folder: PathBuf,
    processes: Vec<Child>,
}

fn populate(hierarchy: PathBuf) -> Populated {
    let path = format!("berth-shim-test-{}", std::process::id());
    let folder = hierarchy.join(&path);
    let mut processes = Vec::new();
    for below in ["", "a/b"] {
        fs::create_dir_all(folder.join(below)).unwrap();
        let process = Command::new("/bin/busybox").args(["sleep", "1000"]).spawn().unwrap();
        fs::write(folder.join(below).join("cgroup.procs"), process.id().to_string()).unwrap();
        processes.push(process);
    }
    Populated { path, folder, processes }
}

/// Where the first hierarchy is mounted whose line in mountinfo satisfies `wanted`.
fn hierarchy(wanted: impl Fn(&str) -> bool) -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line =
        mounts.lines().find(|line| wanted(line)).unwrap_or_else(|| panic!("no such hierarchy:\n{mounts}"));
    line.split(' ').nth(4).unwrap().into()
}

#[test]
fn frozen_processes_and_nested_cgroups_go_in_either_version() {
    let table = [
        (hierarchy(|line| line.contains(" - cgroup2 ")), "cgroup.freeze", "1"),
        (
            hierarchy(|line| line.contains(" - cgroup ") && line.ends_with("freezer")),
            "freezer.state",
            "FROZEN",
        ),
    ];
    for (hierarchy, freeze, word) in table {
        let mut cgroup = populate(hierarchy);
        let subtree = Hierarchies::discover().unwrap().subtree(&cgroup.path);
        assert_eq!(subtree.folders(), [cgroup.folder.clone()]);
        assert_eq!(subtree.pids().unwrap().len(), 2);
        fs::write(cgroup.folder.join("a").join(freeze), word).unwrap();
        subtree.remove(PATIENCE).unwrap();
        assert!(!cgroup.folder.exists());
        for process in &mut cgroup.processes {
            assert!(!process.wait().unwrap().success());
        }
        subtree.remove(PATIENCE).unwrap();
    }
}
