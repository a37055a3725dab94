//! A Task for a test: a root filesystem of busybox, a running shim, a client; all of it gone at the end.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use berth_shim_api::cgroup::{Hierarchies, Subtree};
use berth_shim_api::message::{Running, Start};
use berth_shim_api::{
    Client, ExitRecord, LogEntry, LogRotation, Mount, ProcessId, SealedShim, TaskBundle, TaskContainer,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

static SHIM: LazyLock<SealedShim> =
    LazyLock::new(|| SealedShim::load(Path::new(env!("CARGO_BIN_EXE_shim"))).unwrap());

/// A Task of one container `main` (or more) with its shim.
pub struct World {
    pub dir: TempDir,
    pub bundle: TaskBundle,
    pub shim: ProcessId,
}

/// One attempt of a container, as a test asks for it.
#[derive(Clone)]
pub struct Ask {
    pub container: &'static str,
    pub attempt: u32,
    pub spec: Value,
}

impl World {
    pub fn new() -> Self {
        Self::with(&["main"], LogRotation { bytes: 1 << 20, files: 3 })
    }

    pub fn with(containers: &[&str], log_rotation: LogRotation) -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests make real containers and need root");
        let (dir, bundle) = Self::bundle(containers, log_rotation);
        bundle.write(&dir.path().join("task.json")).unwrap();
        let shim = SHIM.launch(&dir.path().join("task.json")).unwrap();
        Self { dir, bundle, shim }
    }

    /// A bundle on disk, and no shim.
    pub fn bundle(containers: &[&str], log_rotation: LogRotation) -> (TempDir, TaskBundle) {
        let dir = tempfile::Builder::new().prefix("berth-shim-").tempdir().unwrap();
        fs::create_dir(dir.path().join("logs")).unwrap();
        fs::create_dir(dir.path().join("image")).unwrap();
        make_busybox_root(&dir.path().join("image"));
        let task_uid = new_uid();
        let container = |name: &&str| TaskContainer {
            name: (*name).into(),
            cgroup: format!("/berth-shim-test/{task_uid}/{name}"),
        };
        let bundle = TaskBundle {
            socket: dir.path().join("s.sock"),
            state_root: dir.path().join("state"),
            directory: dir.path().join("task"),
            log_rotation,
            containers: containers.iter().map(container).collect(),
            task_uid: task_uid.clone(),
        };
        (dir, bundle)
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.bundle.socket, PATIENCE).unwrap()
    }

    /// A client that hears of ends.
    pub fn listener(&self) -> Client {
        let mut client = self.client();
        client.subscribe().unwrap();
        client
    }

    /// `main`'s first attempt running `script` in a shell.
    pub fn shell(&self, script: &str) -> Ask {
        self.program(&["/bin/sh", "-c", script])
    }

    /// `main`'s first attempt running `args`.
    pub fn program(&self, args: &[&str]) -> Ask {
        let cgroup = &self.bundle.containers[0].cgroup;
        Ask { container: "main", attempt: 1, spec: spec(&self.path("root"), cgroup, args) }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn log(&self, ask: &Ask) -> PathBuf {
        self.path(&format!("logs/{}.{}.log", ask.container, ask.attempt))
    }

    /// The call that starts `ask` on busybox' files under a writable layer of its own.
    pub fn starting(&self, ask: &Ask) -> Start {
        let bundle = self.path(&format!("{}.{}", ask.container, ask.attempt));
        fs::create_dir_all(&bundle).unwrap();
        fs::write(bundle.join("config.json"), ask.spec.to_string()).unwrap();
        let overlay = Mount::Overlay {
            target: self.path("root"),
            lower: vec![self.path("image")],
            upper: self.path("upper"),
            work: self.path("work"),
        };
        Start {
            container: ask.container.into(),
            attempt: ask.attempt,
            bundle,
            mounts: vec![overlay],
            log: self.log(ask),
        }
    }

    /// The same, on a root filesystem of its own beside `main`'s.
    pub fn starting_beside(&self, ask: &Ask) -> Start {
        let overlay = Mount::Overlay {
            target: self.path("other-root"),
            lower: vec![self.path("image")],
            upper: self.path("other-upper"),
            work: self.path("other-work"),
        };
        Start { mounts: vec![overlay], ..self.starting(ask) }
    }

    /// The shim's mounts below this Task's folder, a line each.
    pub fn mounts(&self) -> String {
        let all = fs::read_to_string(format!("/proc/{}/mountinfo", self.shim.pid)).unwrap();
        let ours = self.dir.path().to_str().unwrap();
        all.lines().filter(|line| line.contains(ours)).map(|line| format!("{line}\n")).collect()
    }

    pub fn start(&self, client: &mut Client, ask: &Ask) -> Running {
        client.start(self.starting(ask)).unwrap_or_else(|error| panic!("{error}\n{}", self.shim_log()))
    }

    /// Starts `ask` and waits for its end.
    pub fn run(&self, ask: &Ask) -> ExitRecord {
        let mut client = self.listener();
        self.start(&mut client, ask);
        client.next_exit().unwrap()
    }

    /// What `ask` wrote, line by line as `stdout hello`.
    pub fn output(&self, ask: &Ask) -> String {
        read_log(&self.log(ask))
    }

    pub fn shim_log(&self) -> String {
        fs::read_to_string(self.bundle.shim_log()).unwrap_or_default()
    }

    pub fn cgroups(&self) -> Subtree {
        Hierarchies::discover().unwrap().subtree(&self.bundle.containers[0].cgroup)
    }

    pub fn kill_shim(&self) {
        let pid = rustix::process::Pid::from_raw(self.shim.pid).unwrap();
        if self.shim.exists() {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
        eventually("the shim is gone", || !self.shim.exists());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill_shim();
        let hierarchies = Hierarchies::discover().unwrap();
        let task = format!("/berth-shim-test/{}", self.bundle.task_uid);
        hierarchies.subtree(&task).remove(PATIENCE).unwrap();
        // Other tests may still have Tasks below it; the last one to leave takes it away.
        for folder in hierarchies.subtree("/berth-shim-test").folders() {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// The lines of a log file as `stdout hello`.
pub fn read_log(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mut text = String::new();
    for line in lines {
        let entry = LogEntry::parse(line).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(line)));
        text += &format!("{} {}\n", entry.stream.name(), String::from_utf8_lossy(entry.text));
    }
    text
}

/// Waits until `holds`.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}");
        std::thread::yield_now();
    }
}

fn new_uid() -> String {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty()).unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Fills `root` with busybox and its applets.
pub fn make_busybox_root(root: &Path) {
    for folder in ["bin", "tmp", "root", "etc"] {
        fs::create_dir(root.join(folder)).unwrap();
    }
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(root, open).unwrap();
    fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    let applets = Command::new("/bin/busybox").arg("--list").output().unwrap();
    for applet in String::from_utf8(applets.stdout).unwrap().lines().filter(|name| *name != "busybox") {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
}

/// A spec with all that a shim insists on.
pub fn spec(root: &Path, cgroup: &str, args: &[&str]) -> Value {
    let file_system = |place: &str, kind: &str, options: &[&str]| json!({"destination": place, "type": kind, "source": kind, "options": options});
    json!({
        "ociVersion": "1.0.2",
        "root": {"path": root, "readonly": false},
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0, "umask": 0o022},
            "args": args,
            "env": ["PATH=/bin", "HOME=/root"],
            "cwd": "/",
            "capabilities": {"bounding": [], "effective": [], "permitted": [], "inheritable": [], "ambient": []},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1000, "soft": 1000}],
            "noNewPrivileges": true,
        },
        "mounts": [
            file_system("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            file_system("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            file_system("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
            file_system("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            file_system("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "cgroup"}],
            "resources": {"pids": {"limit": 100}, "memory": {"limit": 64 << 20}},
            "maskedPaths": ["/proc/kcore"],
            "readonlyPaths": ["/proc/sys"],
        },
    })
}
