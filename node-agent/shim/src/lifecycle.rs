//! What helpers do: bring a container up, and remove what is left of one.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_shim_api::cgroup::Subtree;
use berth_shim_api::message::{Refusal, RefusalReason, Start};
use berth_shim_api::{ProcessId, TaskContainer};
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid};
use seccompiler::BpfProgram;

use crate::admission::{admit, check_root};
use crate::forked::{Telling, Told, chain, refusal};
use crate::hardening::Hardened;
use crate::logs::OutputEnds;
use crate::mounts;

/// How long processes may outlive SIGKILL, and a cgroup its processes.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(20);

/// What there may be of a container on the node.
#[derive(Clone)]
pub struct Remains {
    /// Its cgroups.
    pub cgroups: Subtree,
    /// libcontainer's folder of folders.
    pub state_root: PathBuf,
    /// How the names of its folders there begin, whatever the attempt and whoever's shim.
    pub ids: String,
    /// Where its mounts may be.
    pub mounts: Vec<PathBuf>,
}

/// All that bringing up an attempt takes.
pub struct Launch {
    /// What was asked.
    pub start: Start,
    /// Which container.
    pub container: TaskContainer,
    /// The attempt's id for libcontainer.
    pub id: String,
    /// What its processes write to.
    pub output: OutputEnds,
    /// What its processes may call.
    pub filter: Arc<BpfProgram>,
    /// What there may be of earlier attempts.
    pub earlier: Remains,
}

/// Removes what is left of a container: processes, cgroups, state, mounts.
pub fn remove(remains: &Remains) -> Result<(), Refusal> {
    let leftover =
        |step: &str, error: &dyn std::error::Error| refusal(RefusalReason::Leftover, step, &chain(error));
    remains
        .cgroups
        .remove(REMOVAL_PATIENCE)
        .map_err(|e| leftover("could not remove the container's cgroup", &e))?;
    remove_state(remains).map_err(|error| leftover("could not remove the container's state", &error))?;
    mounts::take_down(&remains.mounts)
        .map_err(|error| leftover("could not take down the container's mounts", &error))
}

/// libcontainer's own delete would signal a bare process number that may long be somebody else's.
fn remove_state(remains: &Remains) -> io::Result<()> {
    let folders = match fs::read_dir(&remains.state_root) {
        Ok(folders) => folders,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for folder in folders {
        let folder = folder?;
        if folder.file_name().as_encoded_bytes().starts_with(remains.ids.as_bytes()) {
            fs::remove_dir_all(folder.path())?;
        }
    }
    Ok(())
}

/// Brings an attempt up, telling of each step; leaves nothing behind when it fails.
pub fn launch(launch: Launch, telling: &mut Telling) {
    let mut remains = launch.earlier.clone();
    remains.mounts.extend(launch.start.mounts.iter().map(|mount| mounts::target(mount).to_path_buf()));
    if let Err(refused) = remove(&launch.earlier).and_then(|()| bring_up(launch, telling)) {
        let cleaned = remove(&remains);
        telling.tell(&Told::Failed(match cleaned {
            Ok(()) => refused,
            Err(left) => refusal(refused.reason, &refused.message, &left.message),
        }));
    }
}

fn bring_up(launch: Launch, telling: &mut Telling) -> Result<(), Refusal> {
    let must_not = |error: &dyn std::error::Error| refusal(RefusalReason::Unsafe, &chain(error), "");
    let (spec, root) = admit(&launch.start.bundle, &launch.container).map_err(|error| must_not(&error))?;
    for mount in &launch.start.mounts {
        mounts::make(mount).map_err(|error| refusal(RefusalReason::CannotStart, &chain(&error), ""))?;
    }
    check_root(&root).map_err(|error| must_not(&error))?;
    own_output(&spec, &launch.output).map_err(|error| {
        refusal(RefusalReason::CannotStart, "could not give the container its output", &error)
    })?;
    umask(Mode::from_bits_truncate(0o022));
    berth_failpoint::reach("shim.helper.create");
    let mut container = create(launch).map_err(|error| cannot("could not create the container", &error))?;
    let pid = container.pid().expect("a created container has a first process").as_raw();
    let process = ProcessId::of(pid).map_err(|error| {
        refusal(RefusalReason::CannotStart, "the container's first process is gone", &chain(&error))
    })?;
    telling.tell(&Told::Created(process));
    berth_failpoint::reach("shim.helper.start");
    container.start().map_err(|error| cannot("could not start the container", &error))?;
    berth_failpoint::reach("shim.helper.started");
    telling.tell(&Told::Started);
    Ok(())
}

fn cannot(step: &str, error: &LibcontainerError) -> Refusal {
    refusal(RefusalReason::CannotStart, step, &chain(error))
}

fn create(launch: Launch) -> Result<Container, LibcontainerError> {
    let nothing = fs::File::open("/dev/null").map_err(LibcontainerError::OtherIO)?;
    ContainerBuilder::new(launch.id, SyscallType::default())
        .with_root_path(launch.earlier.state_root)?
        .with_stdin(nothing)
        .with_stdout(launch.output.stdout)
        .with_stderr(launch.output.stderr)
        .with_executor(Hardened::new(launch.filter))
        .validate_id()?
        .as_init(launch.start.bundle)
        .with_systemd(false)
        .with_detach(true)
        .as_sibling(true)
        .build()
}

/// Programs open `/dev/stdout` by name, which the pipe's owner alone may do.
fn own_output(spec: &Spec, output: &OutputEnds) -> Result<(), String> {
    let user = spec.process().as_ref().map(|process| process.user().clone()).unwrap_or_default();
    for end in [&output.stdout, &output.stderr] {
        nix::unistd::fchown(end.as_fd(), Some(Uid::from_raw(user.uid())), Some(Gid::from_raw(user.gid())))
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}
