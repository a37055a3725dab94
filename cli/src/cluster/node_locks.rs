//! The lock by which a machine has one agent per Node (`node_lock` of the node agent): `ctl up` looks at it before it
//! starts anything, for the store of a copied data folder says that the node is ready.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// Where the locks of all Nodes of a machine lie.
pub const FOLDER: &str = "/run/berth-nodes";

/// The most bytes read of who holds a lock.
const HOLDER_BYTES: u64 = 16 << 10;

/// The agent that is the Node `node` of the cluster `cluster` on this machine, with another data folder than `data`: its
/// pid and folders.
pub fn other_agent(locks: &Path, cluster: &str, node: &str, data: &Path) -> Option<String> {
    let mut file = File::open(locks.join(cluster).join(node)).ok()?;
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    let mut holder = String::new();
    // Without a word of who holds it, the agent says so when it starts.
    (&mut file).take(HOLDER_BYTES).read_to_string(&mut holder).ok()?;
    let is_own = holder.contains(&format!("data folder {},", data.display()));
    (!is_own && !holder.is_empty()).then(|| holder.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_agent_that_runs_on_another_folder_is_another() {
        let locks = tempfile::tempdir().unwrap();
        let other = |node: &str| other_agent(locks.path(), "c1", node, Path::new("/data/node"));
        assert_eq!(other("one"), None);
        std::fs::create_dir(locks.path().join("c1")).unwrap();
        let path = locks.path().join("c1/one");
        let text = "pid 7, data folder /data/node2, run folder /run/a\n";
        std::fs::write(&path, text).unwrap();
        assert_eq!(other("one"), None, "its holder is gone");
        let held = File::open(&path).unwrap();
        flock(&held, FlockOperation::LockExclusive).unwrap();
        assert_eq!(other("one").as_deref(), Some(text.trim_end()));
        assert_eq!(other("two"), None);
        std::fs::write(&path, text.replace("node2", "node")).unwrap();
        assert_eq!(other("one"), None, "an earlier agent of this folder, which just ends");
    }
}
