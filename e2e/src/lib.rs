//! The harness of the end-to-end tests: a world of real processes, real containers and a real store, what can be
//! done to it, and how to see that nothing of it is left.

pub mod crowd;
pub mod etcd;
pub mod faults;
pub mod history;
pub mod hits;
pub mod http;
pub mod identity;
pub mod leftovers;
pub mod limited;
pub mod load;
pub mod many;
pub mod monotonic;
pub mod namespaces;
pub mod overdue;
pub mod pace;
pub mod port;
pub mod process;
pub mod record;
pub mod soak;
pub mod sockets;
pub mod wait;
pub mod world;

pub use world::{Part, Plan, StoreForm, World};

use std::path::{Path, PathBuf};

/// The workspace's folder.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("e2e lies in the workspace").to_path_buf()
}

/// A binary of the workspace, as `cargo build --workspace` left it beside the test's own.
pub fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a process has an executable");
    let folder = own.ancestors().find(|dir| dir.join("ctl").exists());
    let folder = folder.unwrap_or_else(|| panic!("`ctl` is not built: run `cargo build --workspace` first"));
    let path = folder.join(name);
    assert!(path.exists(), "{} is not built: run `cargo build --workspace` first", path.display());
    path
}
