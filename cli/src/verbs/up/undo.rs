//! A failed `ctl up` leaves nothing behind: what it made is removed, and what was there before stays. What others wrote
//! to its API meanwhile stays too, for they were told that it is stored.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_client::{Error, KindName, ObjectKey, Query, Write};
use berth_types::Resource;
use berth_types::core::{Event, Namespace};
use berth_types::kinds::KINDS;
use berth_types::lease::Lease;
use berth_types::node::Node;
use serde_json::Value;

use super::start;
use crate::api::Api;
use crate::cluster::folders::{Home, cgroup_of};
use crate::cluster::lock::{NoLock, UpLock, Verb};
use crate::cluster::parts::Parts;
use crate::cluster::{cgroups, mounts};
use crate::request::Up;
use crate::verbs::delete::tasks_on;
use crate::verbs::down;
use berth_removal::remove_tree;

/// Where an agent writes the word that it registers its Node with.
const CLAIM: &str = "berth.dev/claim";

/// The Namespaces that every store has.
const NAMESPACES: [&str; 2] = ["default", SYSTEM];
/// The Namespace with the Leases of the controllers.
const SYSTEM: &str = "berth-system";

/// How long the API of a failed run may take to list what it holds.
const LISTED_WITHIN: Duration = Duration::from_secs(10);
/// Objects per page of that list.
const PAGE: u32 = 100;

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
    /// Held while `ctl up` runs: without it, what is in the data folder is another run's.
    data_lock: Option<UpLock>,
    data_lock_was_there: bool,
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
            data_lock: None,
            data_lock_was_there: home.data_lock().exists(),
        }
    }

    /// Makes the data folder, locks it, and looks again: from here on no other run puts anything into it.
    pub fn lock_data(home: &Home) -> Result<Self, NoLock> {
        let first = Self::look(home);
        let made = home.make_data().map_err(|error| NoLock::File(home.data.clone(), error));
        match made.and_then(|()| UpLock::take(&home.data_lock(), Verb::Up)) {
            Ok(lock) => Ok(Self {
                absent: first.absent,
                data_lock: Some(lock),
                data_lock_was_there: first.data_lock_was_there,
                ..Self::look(home)
            }),
            Err(error) => {
                first.sweep_absent();
                Err(error)
            }
        }
    }

    /// Whether no cluster has anything in the data folder: what is in it after a failure is of the failed run alone.
    pub fn is_new(&self) -> bool {
        [self.home.store(), self.home.agent_data(), self.home.claim_file()]
            .iter()
            .all(|path| self.new_data.contains(path))
    }

    /// Removes what the failed run made; its parts have ended, and `lock` keeps another run from beginning.
    pub async fn undo(mut self, task: &Up, lock: UpLock) {
        if self.is_new() {
            self.end_tasks(task).await;
            mounts::unmount_below(&self.home.agent_data());
            self.new_data.iter().for_each(|path| remove(path));
        }
        // The sockets of shims that run on stay with them.
        if self.is_new() || !down::has_shims(&self.home) {
            mounts::unmount_below(&self.home.agent_run());
            self.new_run.iter().for_each(|path| remove(path));
        }
        if !self.lock_was_there {
            // Another run takes a lock that stays.
            let _ = lock.remove();
        }
        self.sweep();
    }

    /// Removes what a run in the background left beside what that removed itself: its logs.
    pub fn undo_logs(&mut self) {
        let lasting = [self.home.agent_data(), self.home.store()];
        let lasts = self.home.cluster().is_some() || !lasting.iter().all(|path| holds_nothing(path));
        // Held by a run on another data folder, whose files are in the run folder.
        let lock = UpLock::take(&self.home.lock(), Verb::Up).ok();
        if lock.is_none() {
            self.new_run.clear();
        }
        match UpLock::take(&self.home.data_lock(), Verb::Up) {
            Ok(lock) => self.data_lock = Some(lock),
            Err(_) => self.new_data.clear(),
        }
        if self.is_new() && !lasts {
            remove(&self.home.logs());
        }
        if let Some(lock) = lock.filter(|_| !self.lock_was_there) {
            let _ = lock.remove();
        }
        self.sweep();
    }

    /// Removes the folders that the run made and that are empty.
    pub fn sweep(&mut self) {
        for folder in self.new_data.iter().chain(&self.new_run) {
            // One that is not empty, or not a folder, is of use to somebody.
            let _ = fs::remove_dir(folder);
        }
        if let Some(lock) = self.data_lock.take_if(|_| !self.data_lock_was_there) {
            // Another run takes a lock that stays.
            let _ = lock.remove();
        }
        self.sweep_absent();
    }

    fn sweep_absent(&self) {
        for folder in &self.absent {
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

/// The reason for which the data of a failed run must stay, if there is one.
pub async fn why_data_stays(
    parts: &mut Parts,
    task: &Up,
    programs: &Path,
    before: &Before,
) -> Option<String> {
    match (before.is_new(), task.etcd.is_empty()) {
        (false, _) => None,
        (true, true) => written_by_others(parts, task, programs).await,
        (true, false) => unregister(parts, task).await,
    }
}

/// Whether the store of a failed run holds, or may hold, an object that the run did not cause: its writer was told that
/// it is stored.
async fn written_by_others(parts: &mut Parts, task: &Up, programs: &Path) -> Option<String> {
    if !task.home.socket().exists() && !task.home.claim_file().exists() {
        // The API never listened, so nobody could write.
        return None;
    }
    // A client that is connected could still write after the list is made. So the apiserver ends first; another one lists
    // what is stored, at an address that nobody else has.
    for part in ["node-agent", "controllers", "apiserver"] {
        parts.stop_one(part).await;
    }
    let aside = task.home.agent_run().join("undo.sock");
    parts.keep(start::apiserver(task, programs, &address(&aside)));
    let looked = tokio::time::timeout(LISTED_WITHIN, object_of_others(task, &aside))
        .await
        .unwrap_or_else(|_| Err("the apiserver does not answer".into()));
    parts.stop_one("apiserver").await;
    let why = match looked {
        Ok(None) => return None,
        Ok(Some(object)) => format!("its store holds {object}"),
        Err(error) => format!("its store may hold what others wrote: {error}"),
    };
    let (data, up) = (task.home.data.display(), task.command());
    let delete = task.home.command("down --delete-data");
    Some(format!(
        "{data} stays, as {why} (`{up}` starts on it again, `{delete}` deletes it and stops its tasks)"
    ))
}

/// An object that a `ctl up` does not cause, as `app/web`.
async fn object_of_others(task: &Up, socket: &Path) -> Result<Option<String>, String> {
    while !socket.exists() {
        tokio::time::sleep(start::LOOK_AGAIN).await;
    }
    let api = Api::at(&[address(socket)]).map_err(|failure| failure.to_string())?;
    // Events only tell about other objects.
    for kind in KINDS.iter().filter(|kind| kind.kind != Event::KIND) {
        let query = Query::new(KindName::new(kind.api_version, kind.kind));
        let mut next: Option<String> = None;
        loop {
            let page = api.client.page(&query, PAGE, next.as_deref()).await;
            let page = page.map_err(|error| error.to_string())?;
            if let Some(object) = page.items.iter().find(|object| !is_of_up(kind.kind, object, &task.node)) {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                return Ok(Some(format!("{}/{name}", kind.traits.singular)));
            }
            next = page.continue_token;
            if next.is_none() {
                break;
            }
        }
    }
    Ok(None)
}

fn address(socket: &Path) -> String {
    format!("unix:{}", socket.display())
}

/// Whether an object is one that every new cluster with the node `node` has.
fn is_of_up(kind: &str, object: &Value, node: &str) -> bool {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    match kind {
        Node::KIND => name == node,
        Namespace::KIND => NAMESPACES.contains(&name),
        Lease::KIND => object["metadata"]["namespace"] == SYSTEM,
        _ => false,
    }
}

/// Takes back the Node that the agent of a failed run registered in a store that stays. The reason, if the Node stays:
/// then the data must stay too, for the agent's claim on the Node is in it.
async fn unregister(parts: &mut Parts, task: &Up) -> Option<String> {
    parts.stop_one("node-agent").await;
    let claim = fs::read_to_string(task.home.agent_data().join("claim")).ok()?;
    let why = forget(task, claim.trim()).await.err()?;
    let data = task.home.data.display();
    Some(format!("node/{} may be registered; {data} is kept so that it can start again: {why}", task.node))
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
    fn a_new_cluster_has_only_its_node_namespaces_and_leases() {
        for (kind, namespace, name, is_of_up) in [
            ("Node", "", "one", true),
            ("Node", "", "two", false),
            ("Namespace", "", "default", true),
            ("Namespace", "", "berth-system", true),
            ("Namespace", "", "shop", false),
            ("Lease", "berth-system", "scheduler", true),
            ("Lease", "default", "mine", false),
            ("App", "berth-system", "web", false),
            ("Revision", "default", "web-1", false),
            ("Task", "default", "one", false),
        ] {
            let object = serde_json::json!({"metadata": {"namespace": namespace, "name": name}});
            assert_eq!(super::is_of_up(kind, &object, "one"), is_of_up, "{kind} {namespace}/{name}");
        }
    }

    #[test]
    fn what_was_there_before_is_no_trace_of_a_run() {
        let top = tempfile::tempdir().unwrap();
        let home = Home { data: top.path().join("a/data"), run: top.path().join("run") };
        let mut before = Before::look(&home);
        assert!(before.is_new() && !before.lock_was_there);
        home.make().unwrap();
        before.sweep();
        assert!(!top.path().join("a").exists() && !home.run.exists());

        home.make().unwrap();
        fs::write(home.agent_data().join("journal"), "x").unwrap();
        fs::write(home.logs().join("up.log"), "x").unwrap();
        let mut again = Before::look(&home);
        assert!(!again.is_new());
        again.sweep();
        assert!(home.agent_data().join("journal").exists() && home.logs().join("up.log").exists());
        // The run before made them both, and does not know whose the contents are.
        before.sweep();
        assert!(home.agent_data().join("journal").exists() && home.data.exists());
    }
}
