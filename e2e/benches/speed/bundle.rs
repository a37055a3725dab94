//! One container's bundle as the agent made it, given to our shim and to crun: the same spec on the same layers.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_e2e::World;
use berth_shim_api::cgroup::Hierarchies;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::Value;

/// The longest wait for a runtime.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The container's name.
pub const CONTAINER: &str = "main";

/// What a container is made of.
#[derive(Debug, Clone)]
pub struct Bundle {
    spec: Value,
    /// Topmost first.
    pub layers: Vec<PathBuf>,
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
        let mut spec = read(spec);
        keep_files(&mut spec, &container, &world.dir().join("kept"));
        Self { spec, layers: serde_json::from_value(layers).expect("layers are paths") }
    }

    /// The spec with its root at `root` and its processes in `cgroup`.
    pub fn placed(&self, root: &Path, cgroup: &str) -> Value {
        let mut spec = self.spec.clone();
        spec["root"]["path"] = root.display().to_string().into();
        spec["linux"]["cgroupsPath"] = cgroup.into();
        spec
    }
}

/// Mounts of files in `container` are of copies in the folder `kept`: the Task may be gone when they are used.
fn keep_files(spec: &mut Value, container: &Path, kept: &Path) {
    fs::create_dir_all(kept).expect("the world's folder is writable");
    for mount in spec["mounts"].as_array_mut().expect("a spec has mounts") {
        let Some(source) = mount["source"].as_str().map(PathBuf::from) else { continue };
        if source.starts_with(container) && source.is_file() {
            let copy = kept.join(source.file_name().expect("a file has a name"));
            fs::copy(&source, &copy).expect("the agent's files are readable");
            mount["source"] = copy.display().to_string().into();
        }
    }
}

/// The bundle's root filesystem, mounted once, before anything is measured.
#[derive(Debug)]
pub struct Root {
    /// Where it is seen.
    pub path: PathBuf,
}

impl Root {
    /// Mounts it below the new folder `dir`.
    pub fn mount(bundle: &Bundle, dir: &Path) -> Self {
        for folder in ["root", "upper", "work"] {
            fs::create_dir_all(dir.join(folder)).expect("folders for an overlay");
        }
        let lower = bundle.layers.iter().map(|layer| layer.display().to_string()).collect::<Vec<_>>();
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.join(":"),
            dir.join("upper").display(),
            dir.join("work").display()
        );
        let path = dir.join("root");
        mount(Some("overlay"), &path, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
            .expect("an overlay of the image's layers");
        Self { path }
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        umount2(&self.path, MntFlags::MNT_DETACH).expect("it is mounted");
    }
}

/// A runtime's own state, in memory as on a machine whose `/run` is, which is where both keep it.
#[derive(Debug)]
pub struct State {
    /// The folder.
    pub path: PathBuf,
}

impl State {
    /// An empty one below the folder `dir`.
    pub fn mount(dir: &Path) -> Self {
        let path = dir.join("state");
        fs::create_dir_all(&path).expect("a folder for state");
        mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), Some("mode=700")).expect("a tmpfs");
        Self { path }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        umount2(&self.path, MntFlags::MNT_DETACH).expect("it is mounted");
    }
}

/// The cgroup of `whose` container.
pub fn cgroup(whose: &str) -> String {
    format!("/berth-bench-{}/{whose}", std::process::id())
}

/// Removes a container's cgroup.
pub fn remove_cgroup(cgroup: &str) {
    let hierarchies = Hierarchies::discover().expect("cgroups are mounted");
    hierarchies.subtree(cgroup).remove(PATIENCE).expect("the benchmark's cgroup can be removed");
    let parent = cgroup.rsplit_once('/').expect("a cgroup has a parent").0;
    for folder in hierarchies.subtree(parent).folders() {
        // The other side may still have its own below it; the last one takes the parent away.
        let _ = fs::remove_dir(folder);
    }
}
