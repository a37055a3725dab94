//! The OCI runtime spec of a container: pure, from what the Task asks, what its image says and what the node allows.
//! Nothing is left to a default of the runtime (`shim-api` says what must be explicit, and why).

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use berth_types::expand::{Expansion, STACK, Text, TooLarge, together};
use berth_types::task::SecurityContext;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::assignment::{Program, Root};

/// Processes and threads of a container that names no limit.
const PIDS: i64 = 1024;
/// Length of the window that a CPU limit is measured over, in microseconds.
const CPU_PERIOD: i64 = 100_000;
/// Size of a container's private `/tmp`, counted against its memory.
const TMP_BYTES: u64 = 512 << 20;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where a container looks for the addresses of hosts, its own among them.
pub const HOSTS: &str = "/etc/hosts";

/// Where a container without image may write, and starts.
pub const SANDBOX: &str = "/sandbox";

/// All that a spec is made of.
#[derive(Debug, Clone)]
pub struct Blueprint<'a> {
    /// What the Task asks.
    pub program: &'a Program,
    /// What its image says; the empty one without image.
    pub image: ImageSays,
    /// Who it runs as, resolved.
    pub user: User,
    /// Where its root filesystem appears.
    pub root: PathBuf,
    /// `/<parent>/<task uid>/<container>`.
    pub cgroup: String,
    /// Host name it sees.
    pub hostname: String,
    /// The file that it sees at [`HOSTS`].
    pub hosts: PathBuf,
    /// What the node adds and allows.
    pub node: &'a NodeSays,
    /// Its private writable folder, without image.
    pub sandbox: Option<PathBuf>,
}

/// The parts of an image's config that matter to a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSays {
    /// Command without arguments.
    pub entrypoint: Vec<String>,
    /// Arguments, or the command where there is no entrypoint.
    pub cmd: Vec<String>,
    /// Variables.
    pub env: Vec<(String, String)>,
    /// Where the command starts.
    pub working_dir: String,
}

/// Who a container runs as.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Home directory; none when nobody says.
    pub home: Option<String>,
    /// Further groups.
    #[serde(default)]
    pub groups: Vec<u32>,
}

impl User {
    /// The user of a container without image.
    pub fn without_image(uid: Option<u32>, gid: Option<u32>) -> Self {
        let (uid, gid) = SecurityContext { run_as_user: uid, run_as_group: gid }.without_image();
        Self { uid, gid, home: None, groups: Vec::new() }
    }
}

/// What a node adds to and allows every container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSays {
    /// Hidden in a view of the node's root: Berth's folders, and what belongs to the node's people.
    pub hidden_folders: Vec<PathBuf>,
    /// Files hidden there.
    pub hidden_files: Vec<PathBuf>,
    /// Files of the node that a container with an image sees: where they lie, and where they are seen.
    pub shown_to_images: Vec<(PathBuf, PathBuf)>,
    /// Where the node's own [`HOSTS`] lies.
    pub hosts: PathBuf,
    /// Files of the node that hiding would take out of its view.
    pub shown_in_views: Vec<PathBuf>,
    /// Resource limits, already within the agent's own.
    pub rlimits: Vec<Rlimit>,
    /// Never below the agent's own: that takes a capability.
    pub oom_score_adj: i32,
}

/// One resource limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// As `RLIMIT_NOFILE`.
    pub name: Cow<'static, str>,
    /// The limit.
    pub soft: u64,
    /// How far it may be raised.
    pub hard: u64,
}

/// Why no spec can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoSpec {
    /// Nothing says what to run.
    #[error("container {0} has no command: its manifest names none and its image has no entrypoint")]
    NoCommand(String),
    /// No process can be started with this.
    #[error("container {container}: {why}")]
    TooLarge {
        /// Its name.
        container: String,
        /// What is.
        why: TooLarge,
    },
}

/// The spec, as `config.json` holds it.
pub fn runtime_spec(plan: &Blueprint) -> Result<Value, NoSpec> {
    let too_large = |why| NoSpec::TooLarge { container: plan.program.name.clone(), why };
    let mut expansion = environment(plan).map_err(too_large)?;
    let args = expansion.command(command(plan)).map_err(too_large)?;
    if args.is_empty() {
        return Err(NoSpec::NoCommand(plan.program.name.clone()));
    }
    let env = expansion.variables();
    let namespaces: Vec<Value> = NAMESPACES.iter().map(|kind| json!({ "type": kind })).collect();
    Ok(json!({
        "ociVersion": "1.0.2",
        "hostname": plan.hostname,
        "root": { "path": plan.root, "readonly": plan.program.root == Root::Host },
        "process": {
            "terminal": false,
            "user": {
                "uid": plan.user.uid, "gid": plan.user.gid, "umask": 0o022, "additionalGids": plan.user.groups
            },
            "args": args,
            "env": env.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(),
            "cwd": working_dir(plan),
            "capabilities": {
                "bounding": [], "effective": [], "inheritable": [], "permitted": [], "ambient": []
            },
            "rlimits": plan.node.rlimits.iter().map(|limit| {
                json!({ "type": limit.name, "soft": limit.soft, "hard": limit.hard })
            }).collect::<Vec<_>>(),
            "noNewPrivileges": true,
            "oomScoreAdj": plan.node.oom_score_adj,
        },
        "mounts": mounts(plan),
        "linux": {
            "namespaces": namespaces,
            "cgroupsPath": plan.cgroup,
            "resources": resources(plan.program),
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
        },
    }))
}

/// The network is the node's own.
const NAMESPACES: &[&str] = &["pid", "ipc", "uts", "mount", "cgroup"];

const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Image, then manifest and ports; PATH and HOME are always there.
fn environment(plan: &Blueprint) -> Result<Expansion, TooLarge> {
    let home = match (&plan.sandbox, &plan.user.home) {
        (Some(_), _) => SANDBOX,
        (None, Some(home)) => home,
        (None, None) => "/",
    };
    let stack = plan.node.rlimits.iter().find(|limit| limit.name == "RLIMIT_STACK");
    let mut expansion = Expansion::within(together(stack.map_or(STACK, |limit| limit.soft)));
    for (name, value) in [("PATH", PATH), ("HOME", home), ("HOSTNAME", &plan.hostname)] {
        expansion.define(name, value, Text::Plain)?;
    }
    for (written, text) in [(&plan.image.env, Text::Plain), (&plan.program.env, Text::Expanded)] {
        for (name, value) in written {
            expansion.define(name, value, text)?;
        }
    }
    Ok(expansion)
}

/// The words to run, as they are written.
fn command<'a>(plan: &'a Blueprint) -> impl Iterator<Item = (&'a String, Text)> {
    let (program, image) = (plan.program, &plan.image);
    let (command, args) = match (program.command.is_empty(), program.args.is_empty()) {
        (true, true) => ((&image.entrypoint, Text::Plain), (&image.cmd, Text::Plain)),
        (true, false) => ((&image.entrypoint, Text::Plain), (&program.args, Text::Expanded)),
        // A command of the manifest's own makes the image's arguments meaningless.
        (false, _) => ((&program.command, Text::Expanded), (&program.args, Text::Expanded)),
    };
    [command, args].into_iter().flat_map(|(words, text)| words.iter().map(move |word| (word, text)))
}

/// The directory a container starts in.
pub fn working_dir(plan: &Blueprint) -> PathBuf {
    let given = [&plan.program.working_dir, &plan.image.working_dir];
    let default = if plan.sandbox.is_some() { SANDBOX } else { "/" };
    let chosen = given.into_iter().find(|dir| !dir.is_empty()).map_or(default, String::as_str);
    Path::new("/").join(chosen)
}

fn mounts(plan: &Blueprint) -> Vec<Value> {
    let mount = |at: &str, kind: &str, options: &[&str]| json!({ "destination": at, "type": kind, "source": kind, "options": options });
    let tmp_size = format!("size={TMP_BYTES}");
    let mut mounts = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        // Without the cgroup hierarchies: their version 1 would be writable, and the limits with it.
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ];
    let shown = ["bind", "nosuid", "nodev", "noexec", "ro", "rprivate"];
    let Some(sandbox) = &plan.sandbox else {
        mounts.extend(plan.node.shown_to_images.iter().map(|(from, to)| bind(from, to, &shown)));
        mounts.push(bind(&plan.hosts, Path::new(HOSTS), &shown));
        return mounts;
    };
    mounts.push(mount("/tmp", "tmpfs", &["nosuid", "nodev", "mode=1777", &tmp_size]));
    mounts.extend(hiding(plan.node));
    mounts.push(bind(sandbox, Path::new(SANDBOX), &["rbind", "nosuid", "nodev", "rw", "rprivate"]));
    mounts.extend(plan.node.shown_in_views.iter().map(|file| bind(file, file, &shown)));
    mounts.push(bind(&plan.hosts, &plan.node.hosts, &shown));
    mounts
}

/// The text of a container's [`HOSTS`]: the node's, and the container's own name.
pub fn hosts_file(nodes: &str, hostname: &str) -> String {
    let end = if nodes.is_empty() || nodes.ends_with('\n') { "" } else { "\n" };
    format!("{nodes}{end}127.0.0.1 {hostname}\n")
}

fn bind(source: &Path, target: &Path, options: &[&str]) -> Value {
    json!({ "destination": target, "type": "bind", "source": source, "options": options })
}

/// A folder is hidden under an empty one, which stays writable so that what is shown below it finds its place.
fn hiding(node: &NodeSays) -> Vec<Value> {
    let folder = |path: &PathBuf| {
        json!({ "destination": path, "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "nodev", "noexec", "mode=755", "size=1024k"] })
    };
    let file =
        |path: &PathBuf| bind(Path::new("/dev/null"), path, &["bind", "nosuid", "noexec", "ro", "rprivate"]);
    node.hidden_folders.iter().map(folder).chain(node.hidden_files.iter().map(file)).collect()
}

fn resources(program: &Program) -> Value {
    let mut resources = json!({
        "devices": [{ "allow": false, "access": "rwm" }],
        "pids": { "limit": program.pids_limit.unwrap_or(PIDS) },
        "cpu": { "shares": cpu_shares(program) },
    });
    if let Some(limit) = program.cpu_limit {
        // The kernel takes no quota below one millisecond.
        resources["cpu"]["quota"] = json!((limit.0 * CPU_PERIOD / 1000).max(1000));
        resources["cpu"]["period"] = json!(CPU_PERIOD);
    }
    if let Some(limit) = program.memory_limit {
        resources["memory"] = json!({ "limit": limit.0, "swap": limit.0 });
    }
    resources
}

/// 1024 for a core; a container that asks for nothing gets the least.
fn cpu_shares(program: &Program) -> i64 {
    let millicores = program.cpu_request.or(program.cpu_limit).map_or(0, |cpu| cpu.0);
    (millicores.saturating_mul(1024) / 1000).clamp(2, 262_144)
}

#[cfg(test)]
#[path = "runtime_spec_tests.rs"]
mod tests;
