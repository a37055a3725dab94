//! A small disk that can be filled up.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::statvfs;

use super::log::{FaultLog, InForce};

/// A tmpfs at a folder, unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
    full: Option<InForce>,
    log: FaultLog,
}

impl SmallDisk {
    /// Mounts a disk of this many MiB at `folder`, which it makes.
    pub fn mount(folder: &Path, mebibytes: u32, log: &FaultLog) -> Self {
        fs::create_dir_all(folder).expect("a folder for the disk");
        let options = format!("size={mebibytes}m");
        mount(Some("small"), folder, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
            .expect("a tmpfs can be mounted");
        Self { folder: folder.into(), full: None, log: log.clone() }
    }

    /// Fills it up to the last byte: the next write of anybody finds no room.
    pub fn fill(&mut self) {
        let mut file =
            File::options().create(true).append(true).open(self.filler()).expect("room for a name");
        let block = vec![0_u8; 64 << 10];
        let mut size = block.len();
        while size > 0 {
            match file.write(&block[..size]) {
                Ok(written) if written > 0 => {}
                Ok(_) => size /= 2,
                Err(error) if error.kind() == ErrorKind::StorageFull => size /= 2,
                Err(error) => panic!("the disk at {}: {error}", self.folder.display()),
            }
        }
        self.full = Some(self.log.begin(format!("the disk at {} is full", self.folder.display())));
    }

    /// Fills it until more than this share of it is in use.
    pub fn fill_past(&mut self, percent: u64) {
        let mut file =
            File::options().create(true).append(true).open(self.filler()).expect("room for a name");
        let in_use = |folder: &Path| {
            let disk = statvfs(folder).expect("the disk is mounted");
            (disk.blocks() - disk.blocks_free()) * 100 > disk.blocks() * percent
        };
        while !in_use(&self.folder) {
            file.write_all(&[0; 64 << 10]).expect("there is room");
        }
        let what = format!("the disk at {} is in use to more than {percent} %", self.folder.display());
        self.full = Some(self.log.begin(what));
    }

    /// Makes room again.
    pub fn free(&mut self) {
        fs::remove_file(self.filler()).expect("the disk was full");
        self.full = None;
    }

    /// Where it is mounted.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn filler(&self) -> PathBuf {
        self.folder.join(".filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What still has a file open there keeps it until it ends.
        let _ = umount2(&self.folder, MntFlags::MNT_DETACH);
    }
}
