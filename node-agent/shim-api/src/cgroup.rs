//! The cgroups of a container or Task in every hierarchy of this machine: v1, hybrid or v2.
//!
//! libcontainer makes a container's cgroups and sets its limits. Killing, counting and removing is done here, because
//! it must reach what the container made below its own cgroup and what libcontainer never looks at.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use berth_failpoint::seeded_bug;
use rustix::process::{Pid, Signal};

/// The cgroup hierarchies mounted on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchies {
    mounted: Vec<Hierarchy>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    form: Form,
}

/// What a hierarchy counts and controls.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// Version 1, with these controllers or its name.
    V1(Vec<String>),
    V2,
}

/// One cgroup and all below it, in every hierarchy where it exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subtree {
    roots: Vec<Hierarchy>,
}

/// Why a cgroup could not be emptied or removed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The system refused a step.
    #[error("could not {step} {path}")]
    System {
        /// The step.
        step: &'static str,
        /// The cgroup's folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Processes outlived SIGKILL for as long as the caller wanted to wait.
    #[error("processes {pids:?} outlive SIGKILL")]
    Alive {
        /// Their numbers; at least one.
        pids: Vec<i32>,
    },
}

/// Has the kernel ready for moving processes between cgroups: the first move after a pause waits until every processor
/// has passed through a quiet state (some 10 ms), and those within the next few milliseconds do not. This process is
/// moved to where it is; that this fails, or is for nothing, harms nobody.
pub fn make_moves_quick() {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Ok(hierarchies) = Hierarchies::discover() else { return };
    let places = own.lines().filter_map(|line| hierarchies.place(line));
    for folder in places.take(1) {
        let _ = fs::write(folder.join("cgroup.procs"), "0");
    }
}

impl Hierarchies {
    /// Those that this process sees mounted.
    pub fn discover() -> io::Result<Self> {
        Ok(Self::from_mountinfo(&fs::read_to_string("/proc/self/mountinfo")?))
    }

    fn from_mountinfo(text: &str) -> Self {
        let mut mounted: Vec<Hierarchy> = Vec::new();
        for hierarchy in text.lines().filter_map(Hierarchy::from_mountinfo) {
            // The first mount of a hierarchy is the system's own; others are views into it.
            if !mounted.iter().any(|known| known.form == hierarchy.form) {
                mounted.push(hierarchy);
            }
        }
        Self { mounted }
    }

    /// The folder of a line of `/proc/PID/cgroup`, as `4:memory:/berth`.
    fn place(&self, line: &str) -> Option<PathBuf> {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let is_it = |hierarchy: &&Hierarchy| match &hierarchy.form {
            Form::V1(known) => controllers.split(',').all(|controller| known.iter().any(|k| k == controller)),
            Form::V2 => controllers.is_empty(),
        };
        let hierarchy = self.mounted.iter().find(is_it)?;
        Some(hierarchy.mount.join(path.trim_start_matches('/')))
    }

    /// The cgroup named `/<path>` below each hierarchy's mount point. `path` is ours: no part of it is `..`.
    pub fn subtree(&self, path: &str) -> Subtree {
        let below = |hierarchy: &Hierarchy| Hierarchy {
            mount: hierarchy.mount.join(path.trim_start_matches('/')),
            form: hierarchy.form.clone(),
        };
        Subtree { roots: self.mounted.iter().map(below).collect() }
    }
}

impl Hierarchy {
    /// `36 35 0:31 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory`
    fn from_mountinfo(line: &str) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let file_system = kind.next()?;
        let options = kind.nth(1)?;
        let form = match file_system {
            "cgroup2" => Form::V2,
            "cgroup" => Form::V1(
                options.split(',').filter(|o| !["rw", "ro"].contains(o)).map(str::to_owned).collect(),
            ),
            _ => return None,
        };
        let mut place = place.split(' ');
        let root = place.nth(3)?;
        let mount = place.next()?;
        (root == "/").then(|| Self { mount: mount.into(), form })
    }

    fn controls(&self, controller: &str) -> bool {
        match &self.form {
            Form::V1(controllers) => controllers.iter().any(|c| c == controller),
            Form::V2 => false,
        }
    }

    /// Its folders, those below before those above.
    fn depth_first(&self) -> Vec<PathBuf> {
        let mut found = vec![self.mount.clone()];
        let mut next = 0;
        while next < found.len() {
            if has_folders(&found[next]) {
                let children = fs::read_dir(&found[next]).into_iter().flatten().flatten();
                found.extend(children.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
            }
            next += 1;
        }
        found.reverse();
        found
    }
}

impl Subtree {
    /// Where it exists.
    pub fn folders(&self) -> Vec<PathBuf> {
        self.existing().map(|root| root.mount.clone()).collect()
    }

    /// The processes in it, zombies not counted.
    pub fn pids(&self) -> Result<BTreeSet<i32>, CgroupError> {
        pids(&self.existing().collect::<Vec<_>>())
    }

    /// Sends SIGKILL to everything in it once, thawing what was frozen, and returns how many processes it met.
    /// Processes forked meanwhile are met by the next call.
    pub fn kill(&self) -> Result<usize, CgroupError> {
        let existing: Vec<&Hierarchy> = self.existing().collect();
        thaw(&existing);
        for root in existing.iter().filter(|root| root.form == Form::V2) {
            // Kernels before 5.14 have no such file; the signals below do the same, only not at once.
            let _ = fs::write(root.mount.join("cgroup.kill"), "1");
        }
        let pids = pids(&existing)?;
        for pid in pids.iter().filter_map(|pid| Pid::from_raw(*pid)) {
            // The only failure is that it is gone already: we are root and the signal is valid.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        Ok(pids.len())
    }

    /// Kills everything in it until nothing is left, for `patience` at most.
    pub fn empty(&self, patience: Duration) -> Result<(), CgroupError> {
        let began = Instant::now();
        let mut pause = Duration::from_micros(500);
        while self.kill()? > 0 {
            if began.elapsed() > patience {
                return self.must_be_empty();
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Kills everything in it and removes its folders in every hierarchy; done when there are none.
    pub fn remove(&self, patience: Duration) -> Result<(), CgroupError> {
        if seeded_bug("leftovers-live-on") {
            return Ok(());
        }
        let began = Instant::now();
        self.empty(patience)?;
        for folder in self.existing().flat_map(Hierarchy::depth_first).collect::<Vec<_>>() {
            remove_folder(&folder, began, patience)?;
        }
        Ok(())
    }

    /// How many of its processes the kernel has killed for want of memory since it was made.
    pub fn oom_kills(&self) -> u64 {
        let files = self.existing().filter_map(|root| match root.form {
            Form::V2 => Some(root.mount.join("memory.events")),
            Form::V1(_) => root.controls("memory").then(|| root.mount.join("memory.oom_control")),
        });
        files.filter_map(|file| fs::read_to_string(file).ok()).map(|text| count(&text, "oom_kill")).sum()
    }

    fn must_be_empty(&self) -> Result<(), CgroupError> {
        let pids: Vec<i32> = self.pids()?.into_iter().collect();
        if pids.is_empty() { Ok(()) } else { Err(CgroupError::Alive { pids }) }
    }

    fn existing(&self) -> impl Iterator<Item = &Hierarchy> {
        self.roots.iter().filter(|root| root.mount.is_dir())
    }
}

/// The processes in these cgroups and below.
fn pids(roots: &[&Hierarchy]) -> Result<BTreeSet<i32>, CgroupError> {
    let mut pids = BTreeSet::new();
    for folder in roots.iter().flat_map(|root| root.depth_first()) {
        let path = folder.join("cgroup.procs");
        match fs::read_to_string(&path) {
            Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
            Err(error) if gone(&error) => {}
            Err(source) => return Err(CgroupError::System { step: "read", path, source }),
        }
    }
    Ok(pids)
}

/// A frozen process of version 1 takes no signal. A parent's state covers what is below, so top first.
fn thaw(roots: &[&Hierarchy]) {
    for root in roots {
        let (file, word) = match root.form {
            Form::V2 => ("cgroup.freeze", "0"),
            Form::V1(_) if root.controls("freezer") => ("freezer.state", "THAWED"),
            Form::V1(_) => continue,
        };
        for folder in root.depth_first().iter().rev() {
            // Where the file is missing there is nothing to thaw, and what stays frozen shows in `empty`.
            let _ = fs::write(folder.join(file), word);
        }
    }
}

/// A cgroup's folder has a link from itself, one from above and one from each folder below it: the list of its files
/// need not be read where there is none.
fn has_folders(cgroup: &Path) -> bool {
    fs::metadata(cgroup).is_ok_and(|seen| seen.nlink() > 2)
}

/// A folder is busy for a moment after its last process is gone.
fn remove_folder(folder: &Path, began: Instant, patience: Duration) -> Result<(), CgroupError> {
    loop {
        match fs::remove_dir(folder) {
            Ok(()) => return Ok(()),
            Err(error) if gone(&error) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && began.elapsed() <= patience => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(source) => return Err(CgroupError::System { step: "remove", path: folder.into(), source }),
        }
    }
}

/// A cgroup that is removed while it is read says ENOENT or ENODEV.
fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

/// The number beside `word` in a file of `word number` lines; 0 when it is not there.
fn count(text: &str, word: &str) -> u64 {
    let values = text.lines().filter_map(|line| line.split_once(' '));
    values.filter(|(key, _)| *key == word).find_map(|(_, value)| value.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
