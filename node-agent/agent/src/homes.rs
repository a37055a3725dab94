//! The home of a Task on disk: its folder, its containers' root filesystems, sandboxes and configs.
//!
//! Root filesystems are mounted by the shim in its own mount namespace: a dead shim leaves no mount behind.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use berth_shim_api::message::Start;
use berth_shim_api::{LogRotation, Mount, TaskBundle, TaskContainer, rotated_name};
use berth_types::task::{CREATE_ERROR, IMAGE_ERROR};
use rustix::fs::{Gid, Uid};
use serde::{Deserialize, Serialize};

use crate::assignment::{Assignment, Program, Root, TaskUid};
use crate::images::{ImageStore, Tree, collect};
use crate::places::Places;
use crate::plan::Trouble;
use crate::runtime_spec::{Blueprint, ImageSays, NodeSays, User, hosts_file, runtime_spec, working_dir};
use berth_daemon::chain;
use berth_removal::remove_tree;

/// How container logs are cut: 10 MiB a file, three of one attempt.
const ROTATION: LogRotation = LogRotation { bytes: 10 << 20, files: 3 };

/// The most of the node's hosts file that a container sees, in bytes.
const MAX_HOSTS: u64 = 1 << 20;

/// The limit of a disk that has none.
const WHOLE_DISK: u8 = 100;

/// Attempts of a container whose logs can be read.
const ATTEMPTS_READABLE: u32 = 5;

/// Makes and removes homes; every call blocks.
#[derive(Debug)]
pub struct Homes {
    places: Places,
    images: ImageStore,
    node: NodeSays,
    views: Views,
    disk_limit: u8,
}

/// Whether Tasks without image may run here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Views {
    /// They see the node's root, read-only.
    Allowed,
    /// They are refused.
    Refused,
}

/// What a container's root filesystem is made of, fixed when its Task is prepared: a tag may move later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RootRecord {
    digest: String,
    /// Topmost first.
    layers: Vec<PathBuf>,
    says: ImageSays,
    user: User,
}

fn image_error(error: impl std::error::Error) -> Trouble {
    Trouble { reason: IMAGE_ERROR, message: chain(&error) }
}

fn create_error(step: &str, error: impl std::error::Error) -> Trouble {
    Trouble { reason: CREATE_ERROR, message: format!("could not {step}: {}", chain(&error)) }
}

impl Homes {
    /// Homes in `places`.
    pub fn new(places: Places, node: NodeSays, views: Views) -> Self {
        let (disk_limit, images) = (WHOLE_DISK, ImageStore::new(places.layers(), WHOLE_DISK));
        Self { places, images, node, views, disk_limit }
    }

    /// The same, whose images are unpacked until this percentage of the disk is in use.
    #[must_use]
    pub fn up_to(self, disk_limit: u8) -> Self {
        Self { images: ImageStore::new(self.places.layers(), disk_limit), disk_limit, ..self }
    }

    /// Where they lie.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// All that is needed for the same homes in another process.
    pub fn made_of(&self) -> (Places, NodeSays, Views, u8) {
        (self.places.clone(), self.node.clone(), self.views, self.disk_limit)
    }

    /// Makes a Task's folder, unpacks its images and writes what its shim is told; done again, it changes nothing.
    /// Tells each container's image digest.
    pub fn make(&self, assignment: &Assignment) -> Result<Vec<String>, Trouble> {
        let mut digests = Vec::new();
        for program in &assignment.containers {
            let record = self.root_record(assignment, program)?;
            digests.push(record.digest);
        }
        self.write_bundle(assignment).map_err(|e| create_error("write the task bundle", e))?;
        Ok(digests)
    }

    /// Returns once all that `make` wrote is on disk; nothing may start before.
    pub fn sync(&self, assignment: &Assignment) -> Result<(), Trouble> {
        let records = assignment.containers.iter().map(|program| self.record_path(assignment, program));
        for path in records.chain([self.places.bundle(&assignment.uid)]) {
            let synced = fs::File::open(path).and_then(|file| file.sync_all());
            synced.map_err(|e| create_error("keep the task's folder", e))?;
        }
        Ok(())
    }

    /// Each container's image digest, as it was recorded; empty where it was not.
    pub fn digests(&self, assignment: &Assignment) -> Vec<String> {
        let recorded = |program: &Program| self.recorded(assignment, program).ok().flatten();
        assignment.containers.iter().map(|p| recorded(p).map(|r| r.digest).unwrap_or_default()).collect()
    }

    fn recorded(&self, assignment: &Assignment, program: &Program) -> io::Result<Option<RootRecord>> {
        read_record(&self.record_path(assignment, program))
    }

    fn record_path(&self, assignment: &Assignment, program: &Program) -> PathBuf {
        self.places.container(&assignment.uid, &program.name).join("root.json")
    }

    fn root_record(&self, assignment: &Assignment, program: &Program) -> Result<RootRecord, Trouble> {
        let recorded = self.recorded(assignment, program);
        if let Some(record) = recorded.map_err(|e| create_error("read the root record", e))? {
            return Ok(record);
        }
        let folder = self.places.container(&assignment.uid, &program.name);
        let path = self.record_path(assignment, program);
        let record = self.resolve(program)?;
        fs::create_dir_all(&folder)
            .and_then(|()| write_whole(&path, &serde_json::to_vec(&record)?))
            .map_err(|e| create_error("write the root record", e))?;
        Ok(record)
    }

    fn resolve(&self, program: &Program) -> Result<RootRecord, Trouble> {
        match (&program.root, self.views) {
            (Root::Host, Views::Refused) => {
                let message =
                    "this node runs no Task without image: its agent was started without --allow-host-root";
                Err(Trouble { reason: IMAGE_ERROR, message: message.into() })
            }
            (Root::Host, Views::Allowed) => Ok(RootRecord {
                digest: String::new(),
                layers: vec![PathBuf::from("/")],
                says: ImageSays::default(),
                user: User::without_image(program.user, program.group),
            }),
            (Root::Layout { dir, tag }, _) => self.resolve_image(program, dir, tag.as_deref()),
        }
    }

    fn resolve_image(&self, program: &Program, dir: &Path, tag: Option<&str>) -> Result<RootRecord, Trouble> {
        let image = self.images.prepare(dir, tag).map_err(image_error)?;
        let tree = Tree::new(&image.layers);
        let named = tree.user(&image.user).map_err(image_error)?;
        let gid = program.group.unwrap_or(named.gid);
        let user = match program.user.filter(|uid| *uid != named.uid) {
            None => User { gid, ..named },
            // Another user's home directory is not used; supplementary groups are those of the chosen user.
            Some(uid) => {
                let other = tree.user(&uid.to_string()).map_err(image_error)?;
                User { uid, gid, home: None, groups: other.groups }
            }
        };
        Ok(RootRecord { digest: image.digest, layers: image.layers, says: image.says, user })
    }

    fn write_bundle(&self, assignment: &Assignment) -> io::Result<()> {
        let task = &assignment.uid;
        for folder in [self.places.task(task).join("exits"), self.places.runtime_state()] {
            fs::create_dir_all(folder)?;
        }
        fs::create_dir_all(self.places.socket(task).parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        let containers = assignment.containers.iter().map(|program| TaskContainer {
            name: program.name.clone(),
            cgroup: self.places.container_cgroup(task, &program.name),
        });
        let bundle = TaskBundle {
            task_uid: task.to_string(),
            socket: self.places.socket(task),
            state_root: self.places.runtime_state(),
            directory: self.places.task(task),
            log_rotation: ROTATION,
            containers: containers.collect(),
        };
        write_whole(&self.places.bundle(task), &serde_json::to_vec(&bundle)?)
    }

    /// Makes one attempt's folder and config; tells what to ask of the shim. The attempt before the one before goes.
    pub fn furnish(&self, assignment: &Assignment, program: &Program, number: u32) -> Result<Start, Trouble> {
        let record = self.root_record(assignment, program)?;
        let failed = |e: io::Error| create_error("make the container's folder", e);
        self.clear_old_attempts(assignment, program, number).map_err(failed)?;
        let folder = self.places.attempt(&assignment.uid, &program.name, number);
        let sandbox = self.sandbox(assignment, program, &record.user).map_err(failed)?;
        let plan = Blueprint {
            program,
            image: record.says,
            user: record.user,
            root: folder.join("root"),
            cgroup: self.places.container_cgroup(&assignment.uid, &program.name),
            hostname: assignment.name.chars().take(63).collect(),
            hosts: folder.join("hosts"),
            node: &self.node,
            sandbox,
        };
        let spec =
            runtime_spec(&plan).map_err(|e| Trouble { reason: CREATE_ERROR, message: e.to_string() })?;
        let upper = folder.join("upper");
        let log = self.places.log(assignment, &program.name, number);
        make_folder(&upper)
            .and_then(|()| {
                make_working_dir(&Tree::new(&record.layers), &upper, &working_dir(&plan), &plan.user)
            })
            .and_then(|()| fs::create_dir_all(log.parent().ok_or(io::ErrorKind::InvalidInput)?))
            .and_then(|()| self.write_hosts(&plan))
            .and_then(|()| fs::write(folder.join("config.json"), serde_json::to_vec(&spec)?))
            .map_err(failed)?;
        let root =
            Mount::Overlay { target: plan.root, lower: record.layers, upper, work: folder.join("work") };
        Ok(Start {
            container: program.name.clone(),
            attempt: number,
            bundle: folder,
            mounts: vec![root],
            log,
        })
    }

    /// What cannot be read of the node's file is missing in the container's.
    fn write_hosts(&self, plan: &Blueprint<'_>) -> io::Result<()> {
        let mut nodes = Vec::new();
        if let Ok(file) = fs::File::open(&self.node.hosts) {
            file.take(MAX_HOSTS).read_to_end(&mut nodes)?;
        }
        fs::write(&plan.hosts, hosts_file(&String::from_utf8_lossy(&nodes), &plan.hostname))?;
        fs::set_permissions(&plan.hosts, fs::Permissions::from_mode(0o644))
    }

    /// The folder of the attempt before may still be mounted; logs and ends of a few attempts are kept to be read.
    fn clear_old_attempts(&self, assignment: &Assignment, program: &Program, number: u32) -> io::Result<()> {
        if let Some(old) = number.checked_sub(2) {
            remove_tree(&self.places.attempt(&assignment.uid, &program.name, old))?;
        }
        let Some(old) = number.checked_sub(ATTEMPTS_READABLE) else { return Ok(()) };
        let log = self.places.log(assignment, &program.name, old);
        for age in 0..ROTATION.files {
            remove_file(&rotated_name(&log, age))?;
        }
        let exits = self.places.task(&assignment.uid).join("exits");
        remove_file(&exits.join(format!("{}.{old}.json", program.name)))
    }

    fn sandbox(
        &self,
        assignment: &Assignment,
        program: &Program,
        user: &User,
    ) -> io::Result<Option<PathBuf>> {
        if program.root != Root::Host {
            return Ok(None);
        }
        let sandbox = self.places.container(&assignment.uid, &program.name).join("sandbox");
        make_folder(&sandbox)?;
        rustix::fs::chown(&sandbox, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)))?;
        Ok(Some(sandbox))
    }

    /// Removes layers that no Task here needs and that were not asked for since `before`.
    pub fn collect_layers(&self, before: SystemTime) -> io::Result<usize> {
        let mut used = BTreeSet::new();
        for task in entries(&self.places.tasks())? {
            for container in entries(&task.path().join("c"))? {
                let path = container.path().join("root.json");
                if let Some(record) = read_record(&path)? {
                    used.extend(record.layers);
                }
            }
        }
        if !self.places.layers().is_dir() {
            return Ok(0);
        }
        collect(&self.places.layers(), &used, before)
    }

    /// Removes all that a Task has on disk but its logs.
    pub fn remove(&self, task: &TaskUid) -> io::Result<()> {
        remove_tree(&self.places.task(task))?;
        remove_file(&self.places.socket(task))?;
        for entry in entries(&self.places.runtime_state())? {
            if entry.file_name().to_string_lossy().starts_with(task.as_str()) {
                remove_tree(&entry.path())?;
            }
        }
        Ok(())
    }
}

fn read_record(path: &Path) -> io::Result<Option<RootRecord>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn entries(folder: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A folder that every user of the container may enter, whatever our umask is.
fn make_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// A working directory that the image lacks is made in the writable layer; the runtime refuses to start without.
fn make_working_dir(image: &Tree, upper: &Path, dir: &Path, user: &User) -> io::Result<()> {
    if dir == Path::new("/") || !image.lacks_folder(dir) {
        return Ok(());
    }
    let mut made = upper.to_path_buf();
    for part in dir.components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(word) => made.push(word),
            // The runtime refuses it.
            Component::ParentDir | Component::Prefix(_) => return Ok(()),
        }
    }
    make_folder(&made)?;
    rustix::fs::chown(&made, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)))?;
    Ok(())
}

/// Whoever reads the file finds it whole, or as it was; `sync` has it on disk.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, bytes)?;
    fs::rename(&beside, path)
}

#[cfg(test)]
#[path = "homes_tests.rs"]
mod tests;
