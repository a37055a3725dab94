//! A network of its own for one node: what listens there is seen by nobody else.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use tempfile::TempDir;

/// A network namespace with nothing but loopback; gone when dropped and left by the last process in it.
#[derive(Debug)]
pub struct Network {
    dir: TempDir,
}

impl Network {
    /// A new one.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("berth-net-").tempdir_in("/var/lib").expect("a folder");
        let network = Self { dir };
        File::create(network.file()).expect("the folder is writable");
        let file = network.file();
        // A thread of its own: namespaces are a thread's.
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace of its own");
            let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("`ip` runs");
            assert!(up.success(), "loopback of the new network namespace comes up");
            bind(Path::new("/proc/thread-self/ns/net"), &file);
        })
        .join()
        .expect("the namespace is made");
        network
    }

    /// What starts a process in it.
    pub fn launcher(&self) -> Vec<String> {
        vec!["nsenter".into(), format!("--net={}", self.file().display())]
    }

    /// Does something in it.
    pub fn inside<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        let file = self.file();
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                let namespace = File::open(file).expect("the namespace is there");
                setns(namespace, CloneFlags::CLONE_NEWNET).expect("it can be entered");
                what()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("net")
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Not mounted when `new` failed half-way.
        let _ = umount2(&self.file(), MntFlags::MNT_DETACH);
    }
}

fn bind(from: &Path, to: &Path) {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("a namespace can be mounted");
}
