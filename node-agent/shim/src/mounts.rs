//! Mounts of containers, in a mount namespace that only the shim and its containers have.

use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use berth_shim_api::{Access, Mount};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    UnmountFlags,
};

/// What the kernel takes as the text of mount options.
const OPTIONS_ROOM: usize = 4000;
/// No set-uid program and no device file works in what a container sees.
const TAMED: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// A step of a mount that failed.
#[derive(Debug, thiserror::Error)]
#[error("could not {step} {path}")]
pub struct MountError {
    step: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MountError {
    let path = path.to_path_buf();
    move |source| MountError { step, path, source }
}

/// Moves this process into a mount namespace of its own. Unmounts outside still reach it, so that it holds nobody's
/// disk; nothing it mounts gets out.
pub fn enter_own_namespace() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    Ok(rustix::mount::mount_change("/", flags)?)
}

/// Where `mount` appears.
pub fn target(mount: &Mount) -> &Path {
    match mount {
        Mount::Overlay { target, .. } | Mount::Bind { target, .. } | Mount::Tmpfs { target, .. } => target,
    }
}

/// Makes `mount`.
pub fn make(mount: &Mount) -> Result<(), MountError> {
    match mount {
        Mount::Overlay { target, lower, upper, work } => overlay(target, lower, upper, work),
        Mount::Bind { source, target, access } => bind(source, target, *access),
        Mount::Tmpfs { target, bytes, mode, access } => tmpfs(target, *bytes, *mode, *access),
    }
}

/// Takes down what is mounted at `targets`, the last first; where nothing is mounted that is well.
pub fn take_down(targets: &[PathBuf]) -> Result<(), MountError> {
    for target in targets.iter().rev() {
        match rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(error) => return Err(failed("unmount", target)(error.into())),
        }
    }
    Ok(())
}

/// The writable layer dies with the machine's boot, so it need not be synced (`volatile`): unmounting would flush the
/// whole disk otherwise. The mark that keeps such a layer from being mounted again guards against a crash of the
/// machine, and that the agent knows from the boot id.
fn overlay(target: &Path, lower: &[PathBuf], upper: &Path, work: &Path) -> Result<(), MountError> {
    for folder in [target, work] {
        fs::create_dir_all(folder).map_err(failed("make folder", folder))?;
    }
    if !upper.exists() {
        let top = lower
            .first()
            .ok_or(io::ErrorKind::InvalidInput.into())
            .map_err(failed("find layers for", target))?;
        make_like(upper, top).map_err(failed("make folder", upper))?;
    }
    let mark = work.join("work/incompat");
    match fs::remove_dir_all(&mark) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("remove", &mark)(error)),
    }
    let options = overlay_options(lower, upper, work);
    let mounted = if options.len() < OPTIONS_ROOM {
        let options = CString::new(options).map_err(|_| io::ErrorKind::InvalidInput.into());
        options.and_then(|options| {
            Ok(rustix::mount::mount("overlay", target, "overlay", TAMED, options.as_c_str())?)
        })
    } else {
        many_layers(target, lower, upper, work).map_err(io::Error::from)
    };
    mounted.map_err(failed("mount overlay at", target))
}

/// The root folder's owner and permissions are those of the writable layer, so it takes them from the image.
fn make_like(folder: &Path, model: &Path) -> io::Result<()> {
    let seen = fs::metadata(model)?;
    fs::create_dir_all(folder)?;
    std::os::unix::fs::chown(folder, Some(seen.uid()), Some(seen.gid()))?;
    fs::set_permissions(folder, seen.permissions())
}

fn overlay_options(lower: &[PathBuf], upper: &Path, work: &Path) -> Vec<u8> {
    let mut options = b"volatile,lowerdir=".to_vec();
    for (n, layer) in lower.iter().enumerate() {
        if n > 0 {
            options.push(b':');
        }
        escape(layer.as_os_str(), &mut options);
    }
    for (name, folder) in [(",upperdir=", upper), (",workdir=", work)] {
        options.extend_from_slice(name.as_bytes());
        escape(folder.as_os_str(), &mut options);
    }
    options
}

/// Overlay splits its options at commas and layers at colons; digests have colons.
fn escape(path: &OsStr, options: &mut Vec<u8>) {
    for byte in path.as_bytes() {
        if b":,\\".contains(byte) {
            options.push(b'\\');
        }
        options.push(*byte);
    }
}

/// The form without a limit to the length of all layers' names; for kernels from 6.8 on.
fn many_layers(target: &Path, lower: &[PathBuf], upper: &Path, work: &Path) -> rustix::io::Result<()> {
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for layer in lower {
        rustix::mount::fsconfig_set_string(&context, "lowerdir+", layer.as_path())?;
    }
    rustix::mount::fsconfig_set_string(&context, "upperdir", upper)?;
    rustix::mount::fsconfig_set_string(&context, "workdir", work)?;
    rustix::mount::fsconfig_set_flag(&context, "volatile")?;
    rustix::mount::fsconfig_create(&context)?;
    let tamed = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mount = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, tamed)?;
    rustix::mount::move_mount(&mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

fn bind(source: &Path, target: &Path, access: Access) -> Result<(), MountError> {
    let place = place(target)?;
    rustix::mount::mount_bind(source, by_number(&place)).map_err(|e| failed("bind to", target)(e.into()))?;
    // The number still names what is below; the path now names the mount.
    let flags = MountFlags::BIND | TAMED | read_only(access);
    rustix::mount::mount_remount(target, flags, c"").map_err(|e| failed("protect bind at", target)(e.into()))
}

fn tmpfs(target: &Path, bytes: u64, mode: u32, access: Access) -> Result<(), MountError> {
    let place = place(target)?;
    let options = CString::new(format!("size={bytes},mode={mode:o}")).expect("numbers have no NUL");
    let flags = TAMED | read_only(access);
    rustix::mount::mount("tmpfs", by_number(&place), "tmpfs", flags, options.as_c_str())
        .map_err(|e| failed("mount tmpfs at", target)(e.into()))
}

fn read_only(access: Access) -> MountFlags {
    match access {
        Access::ReadOnly => MountFlags::RDONLY,
        Access::ReadWrite => MountFlags::empty(),
    }
}

/// The target may lie in an image's tree, which must not lead us elsewhere by a link.
fn place(target: &Path) -> Result<OwnedFd, MountError> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let strictly = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(CWD, target, flags, Mode::empty(), strictly)
        .map_err(|error| failed("open mount target", target)(error.into()))
}

fn by_number(place: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", place.as_raw_fd()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_or_comma_in_a_layers_name_separates_nothing() {
        let options =
            overlay_options(&["/l/sha256:a,b".into(), "/m".into()], Path::new("/u"), Path::new("/w"));
        assert_eq!(
            String::from_utf8(options).unwrap(),
            r"volatile,lowerdir=/l/sha256\:a\,b:/m,upperdir=/u,workdir=/w"
        );
    }
}
