//! Starting a shim from a sealed copy of its binary in memory.
//!
//! A container can reach the binary of the runtime that made it (CVE-2019-5736); a sealed copy cannot be written to.
//! One copy serves all shims of an agent, its pages are shared, and replacing the file on disk disturbs none of them.

use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{MemfdFlags, SealFlags};

use crate::process::ProcessId;

/// What a test build tells its shims of failpoints. Containers get an environment of their own.
#[cfg(debug_assertions)]
const FAILPOINTS: [&str; 3] = ["BERTH_FAILPOINTS", "BERTH_FAILPOINT_HITS", "BERTH_SEEDED_BUG"];

/// A copy of the shim's binary that nobody can change.
#[derive(Debug)]
pub struct SealedShim {
    memory: OwnedFd,
}

/// Why a shim does not run.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The binary cannot be copied.
    #[error("could not copy shim binary {path}")]
    Copy {
        /// The binary.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No process could be started.
    #[error("could not spawn a shim")]
    Spawn(#[from] io::Error),
    /// The shim ended before it listened.
    #[error("the shim did not start: {0}")]
    Failed(String),
}

impl SealedShim {
    /// Copies and seals the binary at `path`.
    pub fn load(path: &Path) -> Result<Self, LaunchError> {
        Ok(Self { memory: seal(path).map_err(|source| LaunchError::Copy { path: path.into(), source })? })
    }

    /// Starts a shim with the bundle in the file `bundle` and waits until it listens. It is nobody's child but pid
    /// 1's, in a session of its own, with an empty environment.
    pub fn launch(&self, bundle: &Path) -> Result<ProcessId, LaunchError> {
        let shim = self.command(bundle).output()?;
        if !shim.status.success() {
            let said = String::from_utf8_lossy(&shim.stderr).trim().to_owned();
            return Err(LaunchError::Failed(if said.is_empty() { shim.status.to_string() } else { said }));
        }
        serde_json::from_slice(&shim.stdout)
            .map_err(|error| LaunchError::Failed(format!("it did not tell its process: {error}")))
    }

    /// The command that starts a shim. It ends with code 0 as soon as the shim listens, having written the shim's
    /// [`ProcessId`] as JSON to its output; or with another code, having written why to its standard error.
    pub fn command(&self, bundle: &Path) -> Command {
        // The number is valid in the child too until it executes the file, close-on-exec or not.
        let mut command = Command::new(format!("/proc/self/fd/{}", self.memory.as_raw_fd()));
        command.arg(bundle).env_clear().current_dir("/").stdin(Stdio::null());
        #[cfg(debug_assertions)]
        command.envs(FAILPOINTS.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command
    }
}

fn seal(path: &Path) -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create("berth-shim", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut copy = File::from(memory);
    io::copy(&mut File::open(path)?, &mut copy)?;
    copy.rewind()?;
    rustix::fs::fcntl_add_seals(
        &copy,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(copy.into())
}
