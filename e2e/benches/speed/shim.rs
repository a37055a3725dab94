//! Our shim on a bundle.

use std::fs;
use std::path::{Path, PathBuf};

use berth_shim_api::message::Start;
use berth_shim_api::{Client, LogRotation, Mount, SealedShim, TaskBundle, TaskContainer};

use crate::bundle::{self, Bundle, CONTAINER, PATIENCE, Root, State};

/// A shim's binary and a container's bundle.
#[derive(Debug)]
pub struct Shim {
    dir: PathBuf,
    cgroup: String,
    mounts: Vec<Mount>,
    binary: SealedShim,
    _root: Option<Root>,
    _state: State,
}

/// Where the container's root filesystem comes from.
#[derive(Debug, Clone, Copy)]
pub enum RootFrom {
    /// It is mounted before, as crun's is.
    Outside,
    /// The shim mounts it for each attempt, as agents have it done.
    Shim,
}

impl Shim {
    /// Lays the bundle out in the new folder `dir`, with the shim at `binary` sealed, as an agent does at its start.
    /// `uid` is 32 hex digits that no other shim here has.
    pub fn new(bundle: &Bundle, dir: &Path, binary: &Path, uid: &str, from: RootFrom) -> Self {
        for folder in ["bundle", "task/exits"] {
            fs::create_dir_all(dir.join(folder)).expect("folders for the shim");
        }
        let state = State::mount(dir);
        let cgroup = bundle::cgroup(&format!("shim-{}", &uid[..4]));
        let (root, mounts, path) = match from {
            RootFrom::Outside => {
                let root = Root::mount(bundle, dir);
                let path = root.path.clone();
                (Some(root), vec![], path)
            }
            RootFrom::Shim => (None, vec![overlay(bundle, dir)], dir.join("bundle/root")),
        };
        let spec = bundle.placed(&path, &cgroup).to_string();
        fs::write(dir.join("bundle/config.json"), spec).expect("the folder is writable");
        let task = TaskBundle {
            task_uid: uid.into(),
            socket: dir.join("s.sock"),
            state_root: state.path.clone(),
            directory: dir.join("task"),
            log_rotation: LogRotation { bytes: 10 << 20, files: 3 },
            containers: vec![TaskContainer { name: CONTAINER.into(), cgroup: cgroup.clone() }],
        };
        task.write(&dir.join("task.json")).expect("the folder is writable");
        let binary = SealedShim::load(binary).expect("the shim is built");
        Self { dir: dir.into(), cgroup, mounts, binary, _root: root, _state: state }
    }

    /// A new shim, told that we want to hear of ends.
    pub fn launch(&self) -> Client {
        self.binary.launch(&self.dir.join("task.json")).expect("the shim starts");
        let mut client = Client::connect(&self.dir.join("s.sock"), PATIENCE).expect("the shim answers");
        client.subscribe().expect("the shim answers");
        client
    }

    /// Makes and starts the container; no two rounds have the same `attempt`.
    pub fn create_and_start(&self, client: &mut Client, attempt: u32) {
        let start = Start {
            container: CONTAINER.into(),
            attempt,
            bundle: self.dir.join("bundle"),
            mounts: self.mounts.clone(),
            log: self.dir.join("log"),
        };
        client.start(start).expect("the container starts");
    }

    /// Kills the container, hears that its end is on disk, and removes what is left of it.
    pub fn delete(&self, client: &mut Client) {
        client.kill(CONTAINER).expect("the shim kills");
        client.next_exit().expect("the container ends");
        client.delete(CONTAINER).expect("the shim deletes");
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        bundle::remove_cgroup(&self.cgroup);
    }
}

fn overlay(bundle: &Bundle, dir: &Path) -> Mount {
    Mount::Overlay {
        target: dir.join("bundle/root"),
        lower: bundle.layers.clone(),
        upper: dir.join("bundle/upper"),
        work: dir.join("bundle/work"),
    }
}
