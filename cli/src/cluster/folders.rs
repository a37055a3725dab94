//! What lies where in the data and the run folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::processes::Process;
use crate::args;
use crate::suggested::Suggested;

/// The two folders of a cluster on one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// What lasts: the store, the agent's journal and images, logs.
    pub data: PathBuf,
    /// What does not outlive a boot: sockets and locks.
    pub run: PathBuf,
}

impl Home {
    /// The folders at these paths, made absolute.
    pub fn new(data: &Path, run: &Path) -> io::Result<Self> {
        Ok(Self { data: std::path::absolute(data)?, run: std::path::absolute(run)? })
    }

    /// A command of `ctl` on these folders, as a message suggests it.
    pub fn command(&self, words: &str) -> Suggested {
        let (data, run) = (self.data.display().to_string(), self.run.display().to_string());
        Suggested::ctl(words).flag("--data", &data, args::DATA).flag("--run", &run, args::RUN)
    }

    /// Makes both folders and those of the parts, closed to other users.
    pub fn make(&self) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        for folder in [&self.data, &self.run, &self.agent_data(), &self.agent_run(), &self.logs()] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        Ok(())
    }

    /// Socket of the API.
    pub fn socket(&self) -> PathBuf {
        self.run.join("api.sock")
    }

    /// The API as `--server` names it.
    pub fn server(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// Held by the one `ctl up` of this cluster.
    pub fn lock(&self) -> PathBuf {
        self.run.join("up.lock")
    }

    /// Held by the one `ctl up` that uses the data folder, whatever its run folder.
    pub fn data_lock(&self) -> PathBuf {
        self.data.join("up.lock")
    }

    /// Makes the data folder, closed to other users.
    pub fn make_data(&self) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.data)
    }

    /// The embedded store.
    pub fn store(&self) -> PathBuf {
        self.data.join("store")
    }

    /// The node agent's lasting folder.
    pub fn agent_data(&self) -> PathBuf {
        self.data.join("node")
    }

    /// A folder per Task of the node.
    pub fn sandboxes(&self) -> PathBuf {
        self.agent_data().join("tasks")
    }

    /// The same for a self-test of the node agent that ran while the data folder's disk was full.
    pub fn self_test_sandboxes(&self) -> PathBuf {
        self.agent_run().join("self-test").join("tasks")
    }

    /// The node agent's sockets and container state.
    pub fn agent_run(&self) -> PathBuf {
        self.run.join("node")
    }

    /// Logs of the parts.
    pub fn logs(&self) -> PathBuf {
        self.data.join("log")
    }

    /// Says that this process stops everything here, from now until the file is removed.
    pub fn announce_down(&self) -> io::Result<()> {
        let own = Process::own();
        fs::write(self.down_file(), format!("{} {}\n", own.pid, own.started))
    }

    /// Whether a running process stops everything here.
    pub fn goes_down(&self) -> bool {
        let text = fs::read_to_string(self.down_file()).unwrap_or_default();
        let process = text.trim().split_once(' ').and_then(|(pid, started)| {
            Some(Process { pid: pid.parse().ok()?, started: started.parse().ok()? })
        });
        process.is_some_and(Process::runs)
    }

    /// Names the `ctl down` that is at work.
    pub fn down_file(&self) -> PathBuf {
        self.run.join("down")
    }

    /// Names the cluster that the data folder belongs to.
    pub fn claim_file(&self) -> PathBuf {
        self.data.join("cluster")
    }

    /// uid of the cluster that the data folder belongs to.
    pub fn cluster(&self) -> Option<String> {
        [self.claim_file(), self.agent_data().join("cluster")].iter().find_map(|file| {
            let uid = fs::read_to_string(file).ok()?.trim().to_owned();
            (uid.len() == 32 && uid.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(uid)
        })
    }

    /// Says that the data folder belongs to the cluster `uid`.
    pub fn claim(&self, uid: &str) -> io::Result<()> {
        fs::write(self.claim_file(), format!("{uid}\n"))
    }
}

/// Name of the cgroup that holds all Tasks of a cluster, in every hierarchy.
pub fn cgroup_of(cluster: &str) -> String {
    format!("berth-{}", &cluster[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_runs_goes_down() {
        let top = tempfile::tempdir().unwrap();
        let home = Home { data: top.path().into(), run: top.path().into() };
        assert!(!home.goes_down());
        home.announce_down().unwrap();
        assert!(home.goes_down());
        let own = Process::own();
        for text in [format!("{} {}", own.pid, own.started + 1), String::new(), "x y".into()] {
            fs::write(home.down_file(), text).unwrap();
            assert!(!home.goes_down());
        }
    }
}
