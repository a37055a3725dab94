//! The tests' own mount and network namespace: what they mount and listen on is seen by nobody else.

use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Moves this process into namespaces of its own. Must run before any thread is started.
///
/// # Panics
/// Without root, or where namespaces are not to be had: the tests cannot run there.
pub fn enter() {
    assert!(nix::unistd::geteuid().is_root(), "the end-to-end tests start containers and need root");
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("own mount and network namespaces");
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .expect("mounts stay in the namespace");
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("`ip` of iproute2 runs");
    assert!(up.success(), "loopback of the new network namespace comes up");
}
