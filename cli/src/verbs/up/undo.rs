//! A failed `ctl up` leaves nothing behind: what it made is removed, and what was there before stays.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use berth_client::{Error, ObjectKey, Write};
use berth_types::node::Node;

use crate::api::Api;
use crate::cluster::folders::{Home, cgroup_of};
use crate::cluster::lock::UpLock;
use crate::cluster::parts::Parts;
use crate::cluster::{cgroups, mounts};
use crate::request::Up;
use crate::verbs::delete::tasks_on;
use crate::verbs::down;
use berth_removal::remove_tree;

/// Where an agent writes the word that it registers its Node with.
const CLAIM: &str = "berth.dev/claim";

/// What was there before `ctl up` made anything.
#[derive(Debug)]
pub struct Before {
    home: Home,
    /// Folders that did not exist, the deepest first.
    absent: Vec<PathBuf>,
    /// What Berth puts into the data folder and was not there, or an empty folder.
    new_data: Vec<PathBuf>,
    /// The same of the run folder.
    new_run: Vec<PathBuf>,
    lock_was_there: bool,
}

impl Before {
    /// Looks before anything is made.
    pub fn look(home: &Home) -> Self {
        let above = home.data.ancestors().chain(home.run.ancestors());
        let mut absent: Vec<PathBuf> = above.filter(|folder| !folder.exists()).map(Path::to_owned).collect();
        absent.sort_by_key(|folder| std::cmp::Reverse(folder.components().count()));
        let new = |paths: Vec<PathBuf>| paths.into_iter().filter(|path| holds_nothing(path)).collect();
        Self {
            home: home.clone(),
            absent,
            new_data: new(vec![home.store(), home.agent_data(), home.claim_file(), home.logs()]),
            new_run: new(vec![home.agent_run(), home.socket()]),
            lock_was_there: home.lock().exists(),
        }
    }

    /// Whether no cluster has anything in the data folder: what is in it after a failure is of the failed run alone.
    pub fn is_new(&self) -> bool {
        [self.home.store(), self.home.agent_data(), self.home.claim_file()]
            .iter()
            .all(|path| self.new_data.contains(path))
    }

    /// Removes what the failed run made; its parts have ended, and `lock` keeps another run from beginning.
    pub async fn undo(self, task: &Up, lock: UpLock) {
        if self.is_new() {
            self.end_tasks(task).await;
            mounts::unmount_below(&self.home.data);
            self.new_data.iter().for_each(|path| remove(path));
        }
        // The sockets of shims that run on stay with them.
        if self.is_new() || !down::has_shims(&self.home) {
            mounts::unmount_below(&self.home.run);
            self.new_run.iter().for_each(|path| remove(path));
        }
        if !self.lock_was_there {
            // Another run takes a lock that stays.
            let _ = lock.remove();
        }
        self.sweep();
    }

    /// Removes what a run in the background left beside what that removed itself: its logs.
    pub fn undo_logs(&self) {
        let lasts = self.home.cluster().is_some() || !holds_nothing(&self.home.agent_data());
        let Ok(lock) = UpLock::take(&self.home.lock()) else { return };
        if self.is_new() && !lasts {
            remove(&self.home.logs());
        }
        if !self.lock_was_there {
            let _ = lock.remove();
        }
        self.sweep();
    }

    /// Removes the folders that the run made and that are empty.
    pub fn sweep(&self) {
        for folder in self.new_data.iter().chain(&self.new_run).chain(&self.absent) {
            // One that is not empty, or not a folder, is of use to somebody.
            let _ = fs::remove_dir(folder);
        }
    }

    async fn end_tasks(&self, task: &Up) {
        if task.etcd.is_empty() {
            // What cannot be ended now, `ctl down` names.
            let _ = down::kill_tasks(&self.home, &mut Vec::new()).await;
        } else if let Some(cluster) = self.home.cluster() {
            // Other nodes of the cluster may run Tasks on this machine.
            cgroups::remove_empty(&cgroup_of(&cluster));
        }
    }
}

/// Takes back the Node that the agent of a failed run registered in a store that stays. The reason, if the Node stays:
/// then the data must stay too, for the agent's claim on the Node is in it.
pub async fn unregister(parts: &mut Parts, task: &Up, before: &Before) -> Option<String> {
    if task.etcd.is_empty() || !before.is_new() {
        return None;
    }
    parts.stop_one("node-agent").await;
    let claim = fs::read_to_string(task.home.agent_data().join("claim")).ok()?;
    let why = forget(task, claim.trim()).await.err()?;
    let data = task.home.data.display();
    Some(format!("node/{} may be registered, so {data} stays, with which it starts again: {why}", task.node))
}

async fn forget(task: &Up, claim: &str) -> Result<(), String> {
    let api = Api::at(&[task.home.server()]).map_err(|failure| failure.to_string())?;
    let key = ObjectKey::of::<Node>("", &task.node);
    let node = match api.client.get_as::<Node>(&key.namespace, &key.name).await {
        Ok(node) => node,
        Err(Error::NotFound(_)) => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    if node.metadata.annotations.get(CLAIM).map(String::as_str) != Some(claim) {
        return Ok(());
    }
    if tasks_on(&api, &key).await.map_err(|failure| failure.to_string())? > 0 {
        return Err("tasks were bound to it".into());
    }
    let write = Write::delete(&key).expecting_uid(&node.metadata.uid);
    api.client.write(&write).await.map(drop).map_err(|error| error.to_string())
}

/// Whether nothing is at `path`, or an empty folder.
fn holds_nothing(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

fn remove(path: &Path) {
    if mounts::below(path).is_empty() {
        // What stays is found by the next `ctl up`, which takes it for its own.
        let _ = remove_tree(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_before_is_no_trace_of_a_run() {
        let top = tempfile::tempdir().unwrap();
        let home = Home { data: top.path().join("a/data"), run: top.path().join("run") };
        let before = Before::look(&home);
        assert!(before.is_new() && !before.lock_was_there);
        home.make().unwrap();
        before.sweep();
        assert!(!top.path().join("a").exists() && !home.run.exists());

        home.make().unwrap();
        fs::write(home.agent_data().join("journal"), "x").unwrap();
        fs::write(home.logs().join("up.log"), "x").unwrap();
        let again = Before::look(&home);
        assert!(!again.is_new());
        again.sweep();
        assert!(home.agent_data().join("journal").exists() && home.logs().join("up.log").exists());
        // The run before made them both, and does not know whose the contents are.
        before.sweep();
        assert!(home.agent_data().join("journal").exists() && home.data.exists());
    }
}
