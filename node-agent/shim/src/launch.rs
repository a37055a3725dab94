//! How a shim comes to be: checks and preparations that can fail while somebody is there to be told, then away.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use berth_shim_api::{BundleError, LaunchError, ProcessId, SealedShim, TaskBundle, cgroup};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{ForkResult, fork, setsid};
use rustix::fs::{FlockOperation, SealFlags};

use crate::forked;
use crate::mounts;
use crate::seccomp::{self, SeccompError};
use crate::shim::Shim;

/// Why there is no shim.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The bundle cannot be used.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The binary could not be sealed.
    #[error(transparent)]
    Seal(#[from] LaunchError),
    /// There is no filter for containers.
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
    /// The Task has a shim.
    #[error("another shim holds {0}")]
    Held(PathBuf),
    /// A step failed.
    #[error("could not {step}")]
    Step {
        /// The step.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

fn could_not<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> StartError {
    move |source| StartError::Step { step, source: source.into() }
}

/// Starts the shim of the bundle in the file `path`. The calling process returns as soon as the shim listens; the
/// shim's own when it has ended.
pub fn launch(path: &Path) -> Result<(), StartError> {
    if !is_sealed().map_err(could_not("look at the own binary"))? {
        return Err(seal(path));
    }
    let bundle = TaskBundle::read(path)?;
    occupy_standard_streams().map_err(could_not("open standard streams"))?;
    umask(Mode::from_bits_truncate(0o077));
    let folder = bundle.directory.join("exits");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(could_not("make the exits folder"))?;
    let lock = hold(&bundle.directory.join("shim.lock"))?;
    let filter = seccomp::compile()?;
    mounts::enter_own_namespace().map_err(could_not("enter an own mount namespace"))?;
    let children = watch_children().map_err(could_not("watch children"))?;
    let listener = listen(&bundle.socket).map_err(could_not("listen"))?;
    berth_failpoint::reach("shim.launch.bound");
    // SAFETY: this process has a single thread.
    #[expect(unsafe_code)]
    let forked = unsafe { fork() }.map_err(could_not("fork"))?;
    if let ForkResult::Parent { child } = forked {
        return report(child.as_raw());
    }
    berth_failpoint::reach("shim.launch.spawned");
    detach().map_err(could_not("detach"))?;
    // Without it the first start takes longer; nothing else depends on it.
    let _ = forked::aside(cgroup::make_moves_quick);
    let mut shim = Shim::new(bundle, listener, children, filter).map_err(could_not("set up"))?;
    let served = shim.run().map_err(could_not("wait for events"));
    drop(lock);
    served
}

fn is_sealed() -> io::Result<bool> {
    let binary = File::open("/proc/self/exe")?;
    match rustix::fs::fcntl_get_seals(&binary) {
        Ok(seals) => {
            Ok(seals.contains(SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL))
        }
        // Only files in memory have seals.
        Err(rustix::io::Errno::INVAL) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Becomes a sealed copy of itself; returns only when that fails.
fn seal(bundle: &Path) -> StartError {
    match SealedShim::load(Path::new("/proc/self/exe")) {
        Ok(sealed) => match std::path::absolute(bundle) {
            Ok(bundle) => could_not("execute the sealed copy")(sealed.command(&bundle).exec()),
            Err(error) => could_not("find the bundle")(error),
        },
        Err(error) => error.into(),
    }
}

/// libcontainer needs all descriptors it is given to be above 2.
fn occupy_standard_streams() -> io::Result<()> {
    while rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty()).map(
        |opened| {
            use std::os::fd::IntoRawFd;
            opened.into_raw_fd() <= 2
        },
    )? {}
    Ok(())
}

/// One shim per Task, whoever starts it twice. The lock is gone when the last process that has the file is: the shim.
fn hold(path: &Path) -> Result<File, StartError> {
    let file = File::create(path).map_err(could_not("open the shim's lock"))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StartError::Held(path.into())),
        Err(error) => Err(could_not("lock the shim's lock")(error)),
    }
}

fn watch_children() -> nix::Result<SignalFd> {
    let mut ends = SigSet::empty();
    ends.add(Signal::SIGCHLD);
    ends.thread_block()?;
    SignalFd::with_flags(&ends, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

fn listen(socket: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(socket) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    UnixListener::bind(socket)
}

/// Tells who started us which process the shim is.
fn report(pid: i32) -> Result<(), StartError> {
    let process = ProcessId::of(pid).map_err(could_not("see the shim's process"))?;
    let line = serde_json::to_string(&process).expect("plain data") + "\n";
    io::stdout().write_all(line.as_bytes()).map_err(could_not("tell its process"))
}

fn detach() -> nix::Result<()> {
    setsid()?;
    nix::sys::prctl::set_child_subreaper(true)?;
    let nothing =
        File::options().read(true).write(true).open("/dev/null").map_err(|_| nix::errno::Errno::EIO)?;
    nix::unistd::dup2_stdin(nothing.as_fd())?;
    nix::unistd::dup2_stdout(nothing.as_fd())?;
    nix::unistd::dup2_stderr(nothing.as_fd())
}
