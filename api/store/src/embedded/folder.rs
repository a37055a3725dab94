//! A data folder belongs to one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::StoreError;

const FILE: &str = "lock";

/// The folder is ours until this is dropped or the process ends.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is missing, and takes it.
    pub(super) fn hold(dir: &Path) -> Result<Self, StoreError> {
        let failed = |error: std::io::Error| {
            let why = format!("could not take data folder {}: {error}", dir.display());
            if disk_is_full(&error) {
                StoreError::Full(format!("{why}; free some space there"))
            } else {
                StoreError::Unavailable(why)
            }
        };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
        let mut lock = options.open(dir.join(FILE)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held_by_another(&mut lock, dir)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        match name_holder(&lock) {
            // The lock is what counts: on a full disk the store must open.
            Err(error) if disk_is_full(&error) => {}
            named => named.map_err(failed)?,
        }
        Ok(Self { path: dir.into(), _lock: lock })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What may still be written there.
    pub(super) fn free_bytes(&self) -> u64 {
        free_bytes(&self.path)
    }
}

/// What may still be written to the disk of a folder; without a bound where the file system does not report it.
pub(super) fn free_bytes(path: &Path) -> u64 {
    match rustix::fs::statvfs(path) {
        Ok(disk) if disk.f_blocks > 0 => disk.f_bavail.saturating_mul(disk.f_frsize),
        Ok(_) | Err(_) => u64::MAX,
    }
}

/// Whether a write failed because the disk, or the quota of its user, has no room.
pub(super) fn disk_is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

/// Writes over the name of the holder before: that needs no space.
fn name_holder(lock: &File) -> std::io::Result<()> {
    let pid = format!("{}\n", std::process::id());
    lock.write_all_at(pid.as_bytes(), 0)?;
    lock.set_len(pid.len() as u64)
}

fn held_by_another(lock: &mut File, dir: &Path) -> StoreError {
    let mut pid = String::new();
    let holder = match lock.read_to_string(&mut pid) {
        Ok(_) if !pid.trim().is_empty() => format!("process {}", pid.trim()),
        Ok(_) | Err(_) => "another process".to_owned(),
    };
    StoreError::Unavailable(format!("data folder {} is held by {holder}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_by_one_and_the_error_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let held = Folder::hold(dir.path()).unwrap();
        let refused = Folder::hold(dir.path()).unwrap_err().to_string();
        assert!(refused.ends_with(&format!("is held by process {}", std::process::id())), "{refused}");
        drop(held);
        Folder::hold(dir.path()).unwrap();
    }
}
