//! The cgroups of a cluster's containers, `<hierarchy>/berth-<8 digits>/<task uid>/<container>`, in one hierarchy, and
//! word of each that is made.

use std::collections::HashMap;
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

const MOUNTED: &str = "/sys/fs/cgroup";
/// Every container has a cgroup in each of these, where it is mounted; in one alone counting is done.
const PREFERRED: [&str; 4] = ["pids", "memory", "cpu", "unified"];

/// The cgroup of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// uid of the Task.
    pub task: String,
    /// Name of the container.
    pub name: String,
    /// Its folder.
    pub path: PathBuf,
}

/// The cgroups of one cluster.
pub struct Cgroups {
    parent: PathBuf,
    news: OwnedFd,
    watched: HashMap<i32, PathBuf>,
}

impl Cgroups {
    /// Those of the cluster with this uid; none need be there yet.
    pub fn of(cluster: &str) -> Self {
        let root = Path::new(MOUNTED);
        let found =
            PREFERRED.iter().map(|name| root.join(name)).find(|path| path.join("cgroup.procs").exists());
        let hierarchy = found.unwrap_or_else(|| root.to_path_buf());
        let parent = hierarchy.join(format!("berth-{}", &cluster[..8]));
        let news =
            inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).expect("the kernel has inotify");
        let mut cgroups = Self { parent, news, watched: HashMap::new() };
        cgroups.watch(&hierarchy);
        cgroups
    }

    /// Every container that has a cgroup now.
    pub fn containers(&mut self) -> Vec<Container> {
        let parent = self.parent.clone();
        if !self.watch(&parent) {
            return Vec::new();
        }
        let mut containers = Vec::new();
        for task in folders(&parent) {
            self.watch(&task);
            containers.extend(folders(&task).into_iter().filter_map(|path| self.container(path)));
        }
        containers
    }

    /// Waits until a container's cgroup is made, at most for `limit`; those that were.
    pub fn wait(&mut self, limit: Duration) -> Vec<Container> {
        let limit = Timespec { tv_sec: 0, tv_nsec: i64::from(limit.subsec_nanos()) };
        let mut ready = [PollFd::new(&self.news, PollFlags::IN)];
        // An interrupted wait is a short one.
        if !matches!(poll(&mut ready, Some(&limit)), Ok(1..)) {
            return Vec::new();
        }
        let mut made = Vec::new();
        for path in self.read_news() {
            made.extend(self.made(path));
        }
        made
    }

    /// Containers that a new folder is, or has already.
    fn made(&mut self, path: PathBuf) -> Vec<Container> {
        if path == self.parent {
            return self.containers();
        }
        if path.parent() == Some(&self.parent) {
            self.watch(&path);
            return folders(&path).into_iter().filter_map(|path| self.container(path)).collect();
        }
        self.container(path).into_iter().collect()
    }

    fn container(&self, path: PathBuf) -> Option<Container> {
        let below = path.strip_prefix(&self.parent).ok()?.to_str()?;
        let (task, name) = below.split_once('/')?;
        Some(Container { task: task.into(), name: name.into(), path })
    }

    /// Has word of folders made in `folder`; whether it is there.
    fn watch(&mut self, folder: &Path) -> bool {
        // Of a folder that is watched already the same number comes back.
        match inotify::add_watch(&self.news, folder, WatchFlags::CREATE | WatchFlags::ONLYDIR) {
            Ok(number) => {
                self.watched.insert(number, folder.to_path_buf());
                true
            }
            Err(_) => false,
        }
    }

    fn read_news(&mut self) -> Vec<PathBuf> {
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = Reader::new(&self.news, &mut buffer);
        let mut paths = Vec::new();
        let mut over = Vec::new();
        loop {
            match reader.next() {
                Ok(event) if event.events().contains(ReadFlags::IGNORED) => over.push(event.wd()),
                Ok(event) => {
                    let folder = self.watched.get(&event.wd());
                    let name = event.file_name().and_then(|name| name.to_str().ok());
                    paths.extend(folder.zip(name).map(|(folder, name)| folder.join(name)));
                }
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        for number in over {
            self.watched.remove(&number);
        }
        paths
    }
}

impl Container {
    /// Ids of the processes in it and in what it made below.
    pub fn processes(&self) -> Vec<i32> {
        let mut found = Vec::new();
        gather(&self.path, &mut found);
        found
    }
}

fn gather(cgroup: &Path, found: &mut Vec<i32>) {
    let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    // A folder has a link from each one below it, and two of its own.
    if fs::metadata(cgroup).is_ok_and(|folder| folder.nlink() > 2) {
        folders(cgroup).iter().for_each(|below| gather(below, found));
    }
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}
