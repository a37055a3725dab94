//! A data folder belongs to one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
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
            match error.kind() {
                std::io::ErrorKind::StorageFull => StoreError::Full(format!("{why}; free some space there")),
                _ => StoreError::Unavailable(why),
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
        lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(failed)?;
        Ok(Self { path: dir.into(), _lock: lock })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What may still be written there; 0 when nobody tells.
    pub(super) fn free_bytes(&self) -> u64 {
        rustix::fs::statvfs(&self.path).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }
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
