//! Removing a folder that a container has filled: however deep it nests, neither the stack nor the open files run out.

use std::ffi::CStr;
use std::io;
use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// Removes what lies at `path`, with all below it; done when there is nothing. No link is followed.
///
/// What is below a folder's folders is first moved up into the folder itself, so two of them are open at most.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let top = match open_folder(CWD, path) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => return std::fs::remove_file(path),
        Err(error) => return Err(error.into()),
    };
    let mut moved = 0;
    while each_entry(&top, |name| remove_entry(&top, name, &mut moved))? {}
    Ok(rustix::fs::unlinkat(CWD, path, AtFlags::REMOVEDIR)?)
}

/// Removes an entry of `top`; the folders in it become entries of `top`.
fn remove_entry(top: &OwnedFd, name: &CStr, moved: &mut u64) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(top, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        outcome => return outcome,
    }
    let folder = open_folder(top, name)?;
    while each_entry(&folder, |below| match rustix::fs::unlinkat(&folder, below, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => move_up(&folder, below, top, moved),
        outcome => outcome,
    })? {}
    rustix::fs::unlinkat(top, name, AtFlags::REMOVEDIR)
}

/// Under a name that nothing in `top` has.
fn move_up(from: &OwnedFd, name: &CStr, top: &OwnedFd, moved: &mut u64) -> rustix::io::Result<()> {
    loop {
        *moved += 1;
        let new = format!("moved-{moved}");
        match rustix::fs::renameat_with(from, name, top, new.as_str(), RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            outcome => return outcome,
        }
    }
}

/// Whether there was an entry. One that is gone already is as good as removed.
fn each_entry(
    folder: &OwnedFd,
    mut remove: impl FnMut(&CStr) -> rustix::io::Result<()>,
) -> rustix::io::Result<bool> {
    let mut found = false;
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if [c".", c".."].contains(&name) {
            continue;
        }
        found = true;
        match remove(name) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn open_folder<P: rustix::path::Arg>(at: impl rustix::fd::AsFd, path: P) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, path, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_folder_nested_ten_thousand_deep_is_removed() {
        // In memory: a disk takes its time for so many folders.
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let mut folder = open_folder(CWD, &tree).unwrap();
        for _ in 0..10_000 {
            rustix::fs::mkdirat(&folder, "a", Mode::RWXU).unwrap();
            rustix::fs::mkdirat(&folder, "moved-1", Mode::RWXU).unwrap();
            folder = open_folder(&folder, "a").unwrap();
        }
        remove_tree(&tree).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_link_leads_to_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, other) = (dir.path().join("tree"), dir.path().join("other"));
        fs::create_dir_all(tree.join("below")).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(other.join("file"), "").unwrap();
        symlink(&other, tree.join("below/link")).unwrap();
        symlink(&other, dir.path().join("link")).unwrap();
        remove_tree(&tree).unwrap();
        remove_tree(&dir.path().join("link")).unwrap();
        remove_tree(&dir.path().join("nothing")).unwrap();
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["other"]);
        assert!(other.join("file").exists());
    }
}
