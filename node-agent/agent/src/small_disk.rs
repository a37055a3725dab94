//! For tests: a disk that is soon full.

use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Runs `test` in a thread that alone sees a disk of so many MiB at the folder that it is given.
pub fn on_a_disk_of(mebibytes: usize, test: impl FnOnce(&Path) + Send + 'static) {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().to_owned();
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let (none, private) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
        mount(none, "/", none, private, none).unwrap();
        let size = format!("size={mebibytes}m");
        mount(Some("disk"), &disk, Some("tmpfs"), MsFlags::empty(), Some(size.as_str())).unwrap();
        test(&disk);
    };
    std::thread::spawn(run).join().unwrap();
}
