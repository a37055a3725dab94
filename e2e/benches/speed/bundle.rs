//! One container's bundle as the agent made it, given to our shim and to crun: the same spec on the same layers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use berth_e2e::World;
use berth_shim_api::cgroup::Hierarchies;
use berth_shim_api::message::Start;
use berth_shim_api::{Client, LogRotation, Mount, SealedShim, TaskBundle, TaskContainer};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::Value;

/// The longest wait for a runtime.
const PATIENCE: Duration = Duration::from_secs(60);
const CONTAINER: &str = "main";

/// What a container is made of.
#[derive(Debug, Clone)]
pub struct Bundle {
    spec: Value,
    /// Topmost first.
    layers: Vec<PathBuf>,
}

impl Bundle {
    /// The first attempt of the container `main` of a Task that runs in `world`.
    pub fn of_task(world: &World, uid: &str) -> Self {
        let container = world.data().join("node/tasks").join(uid).join("c").join(CONTAINER);
        let read = |path: PathBuf| -> Value {
            let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            serde_json::from_slice(&bytes).expect("the agent writes JSON")
        };
        let spec = fs::read_dir(&container)
            .expect("the Task's container has a folder")
            .map(|entry| entry.expect("a readable entry").path().join("config.json"))
            .find(|path| path.exists())
            .expect("an attempt has a config");
        let layers = read(container.join("root.json"))["layers"].clone();
        Self { spec: read(spec), layers: serde_json::from_value(layers).expect("layers are paths") }
    }

    fn placed(&self, root: &Path, cgroup: &str) -> Value {
        let mut spec = self.spec.clone();
        spec["root"]["path"] = root.display().to_string().into();
        spec["linux"]["cgroupsPath"] = cgroup.into();
        spec
    }
}

/// crun on a bundle; its root filesystem is mounted once, before anything is measured.
#[derive(Debug)]
pub struct Crun {
    dir: PathBuf,
    cgroup: String,
}

impl Crun {
    /// Lays the bundle out in the new folder `dir`.
    pub fn new(bundle: &Bundle, dir: &Path) -> Self {
        let cgroup = format!("/berth-bench-{}/crun", std::process::id());
        for folder in ["root", "upper", "work", "state"] {
            fs::create_dir_all(dir.join(folder)).expect("folders for crun");
        }
        let lower = bundle.layers.iter().map(|layer| layer.display().to_string()).collect::<Vec<_>>();
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.join(":"),
            dir.join("upper").display(),
            dir.join("work").display()
        );
        let root = dir.join("root");
        mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
            .expect("an overlay of the image's layers");
        let spec = bundle.placed(&root, &cgroup).to_string();
        fs::write(dir.join("config.json"), spec).expect("the folder is writable");
        Self { dir: dir.into(), cgroup }
    }

    /// `crun run`: returns when the container runs.
    pub fn run(&self) {
        self.crun(&["run", "--detach"]);
    }

    /// `crun create` and `crun start`.
    pub fn create_and_start(&self) {
        self.crun(&["create"]);
        self.call(&["start"]);
    }

    /// `crun delete --force`.
    pub fn delete(&self) {
        self.call(&["delete", "--force"]);
    }

    fn crun(&self, words: &[&str]) {
        let bundle = self.dir.display().to_string();
        self.call(&[words, &["--bundle", &bundle]].concat());
    }

    fn call(&self, words: &[&str]) {
        // Output to files: crun keeps a pipe open for as long as the container lives.
        let log = fs::File::create(self.dir.join("log")).expect("the folder is writable");
        let status = Command::new("crun")
            .arg("--root")
            .arg(self.dir.join("state"))
            .args(words)
            .arg("bench")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .status()
            .expect("crun is installed: run `e2e/setup bench`");
        let said = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        assert!(status.success(), "crun {words:?}: {said}");
    }
}

impl Drop for Crun {
    fn drop(&mut self) {
        umount2(&self.dir.join("root"), MntFlags::MNT_DETACH).expect("it is mounted");
        remove_cgroup(&self.cgroup);
    }
}

/// Our shim on a bundle.
#[derive(Debug)]
pub struct Shim {
    dir: PathBuf,
    cgroup: String,
    bundle: Bundle,
    binary: SealedShim,
}

impl Shim {
    /// Lays the bundle out in the new folder `dir`, with the shim at `binary` sealed, as an agent does at its start.
    pub fn new(bundle: &Bundle, dir: &Path, binary: &Path) -> Self {
        for folder in ["bundle", "task/exits", "state"] {
            fs::create_dir_all(dir.join(folder)).expect("folders for the shim");
        }
        let cgroup = format!("/berth-bench-{}/shim", std::process::id());
        let spec = bundle.placed(&dir.join("bundle/root"), &cgroup).to_string();
        fs::write(dir.join("bundle/config.json"), spec).expect("the folder is writable");
        let task = TaskBundle {
            task_uid: "b".repeat(32),
            socket: dir.join("s.sock"),
            state_root: dir.join("state"),
            directory: dir.join("task"),
            log_rotation: LogRotation { bytes: 10 << 20, files: 3 },
            containers: vec![TaskContainer { name: CONTAINER.into(), cgroup: cgroup.clone() }],
        };
        task.write(&dir.join("task.json")).expect("the folder is writable");
        let binary = SealedShim::load(binary).expect("the shim is built");
        Self { dir: dir.into(), cgroup, bundle: bundle.clone(), binary }
    }

    /// A new shim and its container, running; no two rounds have the same `attempt`.
    pub fn create_and_start(&self, attempt: u32) -> Client {
        self.binary.launch(&self.dir.join("task.json")).expect("the shim starts");
        let mut client = Client::connect(&self.dir.join("s.sock"), PATIENCE).expect("the shim answers");
        client.subscribe().expect("the shim answers");
        let overlay = Mount::Overlay {
            target: self.dir.join("bundle/root"),
            lower: self.bundle.layers.clone(),
            upper: self.dir.join("bundle/upper"),
            work: self.dir.join("bundle/work"),
        };
        let start = Start {
            container: CONTAINER.into(),
            attempt,
            bundle: self.dir.join("bundle"),
            mounts: vec![overlay],
            log: self.dir.join("log"),
        };
        client.start(start).expect("the container starts");
        client
    }

    /// Kills the container, removes what is left of it and ends the shim.
    pub fn delete(&self, mut client: Client) {
        client.kill(CONTAINER).expect("the shim kills");
        client.next_exit().expect("the container ends");
        client.delete(CONTAINER).expect("the shim deletes");
        client.shutdown().expect("the shim ends");
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        remove_cgroup(&self.cgroup);
    }
}

fn remove_cgroup(cgroup: &str) {
    let hierarchies = Hierarchies::discover().expect("cgroups are mounted");
    hierarchies.subtree(cgroup).remove(PATIENCE).expect("the benchmark's cgroup can be removed");
    let parent = cgroup.rsplit_once('/').expect("a cgroup has a parent").0;
    for folder in hierarchies.subtree(parent).folders() {
        // The other side may still have its own below it; the last one takes the parent away.
        let _ = fs::remove_dir(folder);
    }
}
