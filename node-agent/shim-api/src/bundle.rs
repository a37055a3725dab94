//! What a shim is told before it starts: a file in the Task's directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A Task as its shim sees it; the agent writes it as JSON and gives the file's path as the shim's only argument.
/// All paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskBundle {
    /// The Task's uid: 32 lower-case hex digits.
    pub task_uid: String,
    /// Where the shim listens; shorter than 108 bytes. A stale file there is replaced.
    pub socket: PathBuf,
    /// Folder of libcontainer's state, shared by all shims of a node; on a file system that a reboot empties.
    pub state_root: PathBuf,
    /// The Task's directory: the shim writes `exits/<container>.<attempt>.json` and `shim.log` there.
    pub directory: PathBuf,
    /// How container logs are cut.
    pub log_rotation: LogRotation,
    /// The Task's containers; none is started unasked.
    pub containers: Vec<TaskContainer>,
}

/// A container that a shim may be asked to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskContainer {
    /// The container's name in the Task.
    pub name: String,
    /// Its own cgroup, as `/<parent>/<task uid>/<container>`, the same below each hierarchy's mount point; equal to
    /// `linux.cgroupsPath` of its OCI spec. Nothing else may live in it: it is killed and removed with the container.
    pub cgroup: String,
}

/// When a log file is set aside, and how many of one container's attempt are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogRotation {
    /// A file that would grow past so many bytes is set aside.
    pub bytes: u64,
    /// Files kept in all, the one written to included; at least 1.
    pub files: u32,
}

/// A mount that the shim makes in its own mount namespace for one attempt of a container, before create.
///
/// Nobody outside sees it, and it goes with the last process of shim and container, however they end. It is taken
/// down when the attempt is deleted or the next one starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Mount {
    /// An overlay of read-only layers under a writable one; no device file works in it.
    Overlay {
        /// Where it appears; made if missing.
        target: PathBuf,
        /// Layers, the topmost first; at least one.
        lower: Vec<PathBuf>,
        /// The writable layer; made if missing.
        upper: PathBuf,
        /// An empty folder beside `upper`; made if missing.
        work: PathBuf,
    },
    /// A folder or file seen at a second place, without what is mounted below it.
    Bind {
        /// What is shown.
        source: PathBuf,
        /// Where it appears; must exist.
        target: PathBuf,
        /// Whether it can be written through the second place.
        access: Access,
    },
    /// An empty folder in memory.
    Tmpfs {
        /// Where it appears; must exist.
        target: PathBuf,
        /// Most bytes it may hold.
        bytes: u64,
        /// Permission bits of its root, as 0o755.
        mode: u32,
        /// Whether it can be written.
        access: Access,
    },
}

/// Whether a mount can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Access {
    /// Writes are refused.
    ReadOnly,
    /// Writes are let through.
    ReadWrite,
}

/// Why a bundle file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The file cannot be read.
    #[error("could not read task bundle {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not JSON of this form.
    #[error("could not parse task bundle {path}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The bundle breaks rules; all that it breaks are listed.
    #[error("task bundle {path} is not valid: {}", faults.join("; "))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Field and rule, one each.
        faults: Vec<String>,
    },
}

impl TaskBundle {
    /// Reads and checks the bundle in the file `path`.
    pub fn read(path: &Path) -> Result<Self, BundleError> {
        let text = fs::read(path).map_err(|source| BundleError::Read { path: path.into(), source })?;
        let bundle: Self = serde_json::from_slice(&text)
            .map_err(|source| BundleError::Parse { path: path.into(), source })?;
        match bundle.faults() {
            faults if faults.is_empty() => Ok(bundle),
            faults => Err(BundleError::Invalid { path: path.into(), faults }),
        }
    }

    /// Writes the bundle to the file `path`.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        fs::write(path, serde_json::to_vec_pretty(self)?)
    }

    /// Every rule that the bundle breaks.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if self.task_uid.len() != 32 || !self.task_uid.chars().all(hex) {
            faults.push(format!("taskUid: must be 32 lower-case hex digits, got `{}`", self.task_uid));
        }
        for (field, path) in
            [("socket", &self.socket), ("stateRoot", &self.state_root), ("directory", &self.directory)]
        {
            if !path.is_absolute() {
                faults.push(format!("{field}: must be an absolute path, got `{}`", path.display()));
            }
        }
        if self.socket.as_os_str().len() >= 108 {
            faults.push(format!("socket: must be shorter than 108 bytes, got `{}`", self.socket.display()));
        }
        if self.log_rotation.files == 0 || self.log_rotation.bytes == 0 {
            faults.push("logRotation: bytes and files must be at least 1".into());
        }
        for (n, container) in self.containers.iter().enumerate() {
            faults.extend(container.faults().into_iter().map(|fault| format!("containers[{n}].{fault}")));
        }
        faults
    }

    /// The durable record of how attempt `attempt` of `container` ended.
    pub fn exit_path(&self, container: &str, attempt: u32) -> PathBuf {
        self.directory.join("exits").join(format!("{container}.{attempt}.json"))
    }

    /// Where the shim logs.
    pub fn shim_log(&self) -> PathBuf {
        self.directory.join("shim.log")
    }

    /// The id that libcontainer knows attempt `attempt` of the container at `position` by; its folder below the
    /// state root has this name.
    pub fn runtime_id(&self, position: usize, attempt: u32) -> String {
        format!("{}{attempt:08x}", self.runtime_ids(position))
    }

    /// How the ids of all attempts of the container at `position` begin.
    pub fn runtime_ids(&self, position: usize) -> String {
        format!("{}{position:04x}", self.task_uid)
    }
}

impl TaskContainer {
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || self.name.len() > 63 || !self.name.chars().all(plain) {
            faults.push(format!("name: must be 1 to 63 of a-z, 0-9 and `-`, got `{}`", self.name));
        }
        let own = self.cgroup.strip_prefix('/').unwrap_or_default();
        let named = |part: &str| !part.is_empty() && part != "." && part != "..";
        if own.split('/').count() < 2 || !own.split('/').all(named) {
            faults.push(format!("cgroup: must be `/<parent>/<name>` or deeper, got `{}`", self.cgroup));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> TaskBundle {
        TaskBundle {
            task_uid: "0123456789abcdef0123456789abcdef".into(),
            socket: "/run/berth/node/s/0123456789ab.sock".into(),
            state_root: "/run/berth/node/c".into(),
            directory: "/var/lib/berth/node/tasks/x".into(),
            log_rotation: LogRotation { bytes: 1, files: 1 },
            containers: vec![TaskContainer { name: "web".into(), cgroup: "/berth-1/x/web".into() }],
        }
    }

    #[test]
    fn every_broken_rule_is_named() {
        assert_eq!(bundle().faults(), Vec::<String>::new());
        type Change = fn(&mut TaskBundle);
        let table: [(Change, &str); 9] = [
            (|b| b.task_uid = "../../x".into(), "taskUid: must be 32 lower-case hex digits, got `../../x`"),
            (|b| b.task_uid.make_ascii_uppercase(), "taskUid: must be 32 lower-case hex digits"),
            (|b| b.socket = "s".into(), "socket: must be an absolute path, got `s`"),
            (|b| b.socket = format!("/{}", "x".repeat(107)).into(), "socket: must be shorter than 108 bytes"),
            (|b| b.state_root = "c".into(), "stateRoot: must be an absolute path"),
            (|b| b.log_rotation.files = 0, "logRotation: bytes and files must be at least 1"),
            (|b| b.containers[0].name = "a/b".into(), "containers[0].name: must be 1 to 63 of a-z"),
            (
                |b| b.containers[0].cgroup = "/a/../b".into(),
                "containers[0].cgroup: must be `/<parent>/<name>`",
            ),
            (|b| b.containers[0].cgroup = "/".into(), "containers[0].cgroup: must be `/<parent>/<name>`"),
        ];
        for (change, rule) in table {
            let mut broken = bundle();
            change(&mut broken);
            let faults = broken.faults();
            assert!(faults.len() == 1 && faults[0].starts_with(rule), "{rule}: {faults:?}");
        }
    }

    #[test]
    fn an_id_is_hex_and_no_other_containers() {
        let bundle = bundle();
        let id = bundle.runtime_id(10, 255);
        assert_eq!(id, "0123456789abcdef0123456789abcdef000a000000ff");
        assert!(id.starts_with(&bundle.runtime_ids(10)) && !id.starts_with(&bundle.runtime_ids(1)));
    }

    #[test]
    fn a_field_nobody_knows_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("task.json");
        let mut tree = serde_json::to_value(bundle()).unwrap();
        tree["colour"] = "red".into();
        fs::write(&path, tree.to_string()).unwrap();
        assert!(matches!(TaskBundle::read(&path), Err(BundleError::Parse { .. })));
        bundle().write(&path).unwrap();
        assert_eq!(TaskBundle::read(&path).unwrap(), bundle());
    }
}
