//! One agent per Node on a machine. Two would each kill what the other runs, for both use the same cgroups: a copy of a
//! data folder does that, although its own folders are free.
//!
//! The lock is a file `<cluster>/<node>` in a folder that no flag moves, locked by `flock`: it ends with its holder,
//! however that ends, and a boot empties the folder. Assumption: agents that share the cgroups of a machine share its
//! `/run`. An agent in a container needs that folder mounted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Where the locks of all Nodes of a machine lie.
pub const FOLDER: &str = "/run/berth-nodes";

/// The most bytes read of who holds a lock.
const HOLDER_BYTES: u64 = 16 << 10;

/// The lock, held until dropped.
#[derive(Debug)]
pub struct NodeLock {
    path: PathBuf,
    _file: File,
}

/// Who takes the lock.
#[derive(Debug, Clone, Copy)]
pub struct Holder<'a> {
    /// uid of the cluster.
    pub cluster: &'a str,
    /// Name of the Node.
    pub node: &'a str,
    /// Its data folder.
    pub data: &'a Path,
    /// Its run folder.
    pub run: &'a Path,
}

/// Why the lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum NoNodeLock {
    /// Another agent has it.
    #[error(
        "another agent already runs Node `{node}` of cluster {cluster} on this machine ({holder}); stop it, or give \
         this one another --node-name and an empty data folder (a copy of a data folder cannot run beside the original)"
    )]
    Held {
        /// Name of the Node.
        node: String,
        /// uid of the cluster.
        cluster: String,
        /// Its pid and folders.
        holder: String,
    },
    /// The uid or name cannot be part of a file's name.
    #[error("cannot lock Node `{node}` of cluster `{cluster}`: not a name and a uid")]
    Named {
        /// Name of the Node.
        node: String,
        /// uid of the cluster.
        cluster: String,
    },
    /// The file cannot be used.
    #[error("could not lock {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl NodeLock {
    /// Takes the lock in `folder` for this process.
    pub fn take(folder: &Path, holder: &Holder) -> Result<Self, NoNodeLock> {
        let (node, cluster) = (holder.node.to_owned(), holder.cluster.to_owned());
        let plain = |word: &str| word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
        let dots = |word: &str| word.bytes().all(|b| b == b'.');
        if !plain(&node) || !plain(&cluster) || dots(&node) || dots(&cluster) {
            return Err(NoNodeLock::Named { node, cluster });
        }
        // A name of its own length fits into a file's name, but not with anything beside it.
        let folder = folder.join(&cluster);
        let path = folder.join(&node);
        match lock(&folder, &path, holder) {
            Ok(Attempt::Taken(file)) => Ok(Self { path, _file: file }),
            Ok(Attempt::Held(holder)) => Err(NoNodeLock::Held { node, cluster, holder }),
            Err(source) => Err(NoNodeLock::File { path, source }),
        }
    }
}

impl Drop for NodeLock {
    fn drop(&mut self) {
        // While it is held: whoever opened it meanwhile sees that it is gone. What stays is emptied by the next boot.
        let _ = fs::remove_file(&self.path);
        // Fails while another Node of the cluster is locked; whoever just takes a lock makes it again.
        let _ = self.path.parent().map(fs::remove_dir);
    }
}

enum Attempt {
    Taken(File),
    Held(String),
}

fn lock(folder: &Path, path: &Path, holder: &Holder) -> io::Result<Attempt> {
    let parent = folder.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    loop {
        match fs::DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = match opened {
            // The last lock of the cluster was just dropped, and the folder with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if file.metadata()?.nlink() == 0 => continue,
            Ok(()) => {
                file.set_len(0)?;
                file.rewind()?;
                let (data, run) = (holder.data.display(), holder.run.display());
                writeln!(file, "pid {}, data folder {data}, run folder {run}", std::process::id())?;
                return Ok(Attempt::Taken(file));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                (&mut file).take(HOLDER_BYTES).read_to_string(&mut text)?;
                let held = if text.is_empty() { "it is still starting" } else { text.trim_end() };
                return Ok(Attempt::Held(held.to_owned()));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder<'a>(cluster: &'a str, node: &'a str, data: &'a str) -> Holder<'a> {
        Holder { cluster, node, data: Path::new(data), run: Path::new("/run/a") }
    }

    #[test]
    fn a_second_agent_of_a_node_is_refused_and_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("nodes");
        let first = NodeLock::take(&folder, &holder("c1", "one", "/data/a")).unwrap();
        let refused = NodeLock::take(&folder, &holder("c1", "one", "/data/copy")).unwrap_err().to_string();
        let told = format!("(pid {}, data folder /data/a, run folder /run/a)", std::process::id());
        assert!(refused.contains(&told) && refused.contains("`one` of cluster c1"), "{refused}");
        // Another Node of the cluster, and the same name in another one.
        let others = [holder("c1", "two", "/data/b"), holder("c2", "one", "/data/c")];
        let others = others.map(|other| NodeLock::take(&folder, &other).unwrap());
        drop(first);
        let again = NodeLock::take(&folder, &holder("c1", "one", "/data/copy")).unwrap();
        drop((others, again));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "no folder of a cluster is left");
    }

    #[test]
    fn a_lock_can_be_taken_whenever_another_of_its_cluster_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for node in ["one", "two", "three"] {
                let folder = dir.path();
                scope.spawn(move || {
                    for _ in 0..2_000 {
                        NodeLock::take(folder, &holder("c1", node, "/data/a")).unwrap();
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_longest_name_of_a_node_can_be_locked() {
        let dir = tempfile::tempdir().unwrap();
        let (cluster, node) = ("c".repeat(32), format!("{0}.{0}.{0}.{1}", "n".repeat(63), "m".repeat(61)));
        assert_eq!(node.len(), 253);
        NodeLock::take(dir.path(), &holder(&cluster, &node, "/data/a")).unwrap();
    }

    #[test]
    fn a_holder_that_was_killed_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("c1")).unwrap();
        fs::write(dir.path().join("c1/one"), "pid 1, data folder /old, run folder /old\n").unwrap();
        NodeLock::take(dir.path(), &holder("c1", "one", "/data/a")).unwrap();
    }

    #[test]
    fn what_is_not_a_name_touches_no_file() {
        let dir = tempfile::tempdir().unwrap();
        for (cluster, node) in
            [("../c", "one"), ("c", "../one"), ("..", "one"), ("c", ".."), ("c", ""), ("", "one")]
        {
            let refused = NodeLock::take(dir.path(), &holder(cluster, node, "/data/a"));
            assert!(matches!(refused, Err(NoNodeLock::Named { .. })), "{refused:?}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
