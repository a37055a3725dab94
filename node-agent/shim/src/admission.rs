//! What may be run: the rules a spec and a root filesystem must keep before libcontainer sees them.
//!
//! libcontainer trusts its input in places where that is dangerous: it follows an image's `/dev` when that is a link
//! (CVE-2026-41579), skips a filter it was built without, falls back to looking up HOME in the container.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use berth_shim_api::TaskContainer;
use libcontainer::oci_spec::runtime::{LinuxNamespaceType, Process, Spec};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Folders that libcontainer makes links and devices in.
const TOUCHED: [&str; 3] = ["dev", "proc", "sys"];

/// Why something must not be run as it is.
#[derive(Debug, thiserror::Error)]
pub enum Unsafe {
    /// The spec cannot be read.
    #[error("could not read the spec in {bundle}: {why}")]
    Unreadable {
        /// The bundle's folder.
        bundle: PathBuf,
        /// The cause.
        why: String,
    },
    /// The spec breaks rules; all that it breaks are listed.
    #[error("the spec in {bundle} must not be run: {}", faults.join("; "))]
    Spec {
        /// The bundle's folder.
        bundle: PathBuf,
        /// Field and rule, one each.
        faults: Vec<String>,
    },
    /// A folder of the root filesystem is something else.
    #[error("/{folder} of root filesystem {root} is not a real directory")]
    NoFolder {
        /// The root filesystem.
        root: PathBuf,
        /// The folder, relative to it.
        folder: String,
    },
    /// A folder of the root filesystem cannot be looked at.
    #[error("could not look at /{folder} of root filesystem {root}")]
    Look {
        /// The root filesystem.
        root: PathBuf,
        /// The folder, relative to it.
        folder: String,
        /// What the system said.
        source: io::Error,
    },
}

/// The spec in the folder `bundle`, if it may be run as `container`; with the root filesystem's path.
pub fn admit(bundle: &Path, container: &TaskContainer) -> Result<(Spec, PathBuf), Unsafe> {
    let spec = Spec::load(bundle.join("config.json"))
        .map_err(|error| Unsafe::Unreadable { bundle: bundle.into(), why: error.to_string() })?;
    let faults = faults(&spec, container);
    if !faults.is_empty() {
        return Err(Unsafe::Spec { bundle: bundle.into(), faults });
    }
    let root = spec.root().as_ref().expect("a spec without faults has a root").path().clone();
    Ok((spec, root))
}

/// Whether the folders libcontainer touches before it has changed root are real directories.
pub fn check_root(root: &Path) -> Result<(), Unsafe> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, root, flags, Mode::empty());
    let top = opened.map_err(|error| look_or_refuse(root, "", error))?;
    let strictly = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::BENEATH;
    for folder in TOUCHED {
        let found =
            rustix::fs::openat2(&top, folder, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), strictly);
        match found.and_then(rustix::fs::fstat) {
            Ok(seen) if FileType::from_raw_mode(seen.st_mode) == FileType::Directory => {}
            Err(Errno::NOENT) => {}
            Ok(_) => return Err(look_or_refuse(root, folder, Errno::NOTDIR)),
            Err(error) => return Err(look_or_refuse(root, folder, error)),
        }
    }
    Ok(())
}

fn look_or_refuse(root: &Path, folder: &str, error: Errno) -> Unsafe {
    let (root, folder) = (root.to_path_buf(), folder.to_owned());
    match error {
        Errno::LOOP | Errno::NOTDIR | Errno::XDEV => Unsafe::NoFolder { root, folder },
        other => Unsafe::Look { root, folder, source: other.into() },
    }
}

fn faults(spec: &Spec, container: &TaskContainer) -> Vec<String> {
    let mut faults = Vec::new();
    let mut must = |holds: bool, rule: &str| {
        if !holds {
            faults.push(rule.to_owned());
        }
    };
    let linux = spec.linux().as_ref();
    let cgroup = linux.and_then(|linux| linux.cgroups_path().as_ref());
    must(
        cgroup.is_some_and(|path| path == Path::new(&container.cgroup)),
        "linux.cgroupsPath: must be the container's",
    );
    must(
        linux.is_some_and(|linux| linux.seccomp().is_none()),
        "linux.seccomp: must be absent, the filter is the shim's",
    );
    let namespaces = linux.and_then(|linux| linux.namespaces().as_ref());
    let own_mounts = |n: &libcontainer::oci_spec::runtime::LinuxNamespace| {
        n.typ() == LinuxNamespaceType::Mount && n.path().is_none()
    };
    must(
        namespaces.is_some_and(|all| all.iter().any(own_mounts)),
        "linux.namespaces: must have a new mount namespace",
    );
    must(spec.hooks().is_none(), "hooks: must be absent");
    must(spec.root().as_ref().is_some_and(|root| root.path().is_absolute()), "root.path: must be absolute");
    must(mounts(spec, "/dev", "tmpfs"), "mounts: must have a tmpfs at /dev");
    must(mounts(spec, "/proc", "proc"), "mounts: must have proc at /proc");
    match spec.process() {
        Some(process) => faults.extend(process_faults(process)),
        None => faults.push("process: must be there".into()),
    }
    faults
}

fn process_faults(process: &Process) -> Vec<String> {
    let mut faults = Vec::new();
    let mut must = |holds: bool, rule: &str| {
        if !holds {
            faults.push(rule.to_owned());
        }
    };
    let has = |name: &str| process.env().iter().flatten().any(|entry| entry.starts_with(name));
    must(has("PATH="), "process.env: must set PATH");
    must(has("HOME="), "process.env: must set HOME");
    must(process.args().as_ref().is_some_and(|args| !args.is_empty()), "process.args: must not be empty");
    must(process.no_new_privileges() == Some(true), "process.noNewPrivileges: must be true");
    must(process.terminal() != Some(true), "process.terminal: must not be true");
    must(
        process.rlimits().as_ref().is_some_and(|limits| !limits.is_empty()),
        "process.rlimits: must not be empty",
    );
    must(process.user().umask().is_some(), "process.user.umask: must be set");
    faults
}

fn mounts(spec: &Spec, place: &str, kind: &str) -> bool {
    let is_it = |mount: &libcontainer::oci_spec::runtime::Mount| {
        mount.destination().as_os_str() == OsStr::new(place) && mount.typ().as_deref() == Some(kind)
    };
    spec.mounts().iter().flatten().any(is_it)
}
