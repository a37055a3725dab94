//! A world and what a client sees of its Tasks, change by change.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use berth_client::{Change, Client, ObjectKey, Query, Update, Watch, Write};
use berth_e2e::World;
use berth_types::ConditionStatus;
use berth_types::task::Task;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// The longest recovery that is waited for.
const LIMIT: Duration = Duration::from_secs(180);

/// A world that is watched.
pub struct Scene {
    /// The world.
    pub world: World,
    runtime: Runtime,
    watch: Watch<Task>,
    tasks: BTreeMap<String, Task>,
    count: usize,
}

impl Scene {
    /// Watches the Tasks of `world`.
    pub fn of(world: World) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let _entered = runtime.enter();
        let servers = world.servers();
        let client = Client::new(&servers.split(',').collect::<Vec<_>>()).expect("addresses");
        let watch = client.watch_as::<Task>(&Query::of::<Task>());
        drop(_entered);
        Self { world, runtime, watch, tasks: BTreeMap::new(), count: 0 }
    }

    /// Waits until the Tasks are as `reached` says; what it gives.
    pub fn until<T>(&mut self, what: &str, reached: impl Fn(&BTreeMap<String, Task>) -> Option<T>) -> T {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(found) = reached(&self.tasks) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            let update = self.runtime.block_on(async { timeout(left, self.watch.next()).await });
            let Ok(update) = update else {
                panic!("waited {LIMIT:?} until {what}; last seen: {:#?}", self.tasks)
            };
            self.take(update.expect("the watch goes on"));
        }
    }

    fn take(&mut self, update: Update<Task>) {
        match update {
            Update::Initial { objects, .. } | Update::Restarted { objects, .. } => {
                self.tasks = objects.into_iter().map(|task| (task.metadata.name.clone(), task)).collect();
            }
            Update::Changes { changes, .. } => {
                for change in changes {
                    match change {
                        Change::Added(task) | Change::Modified(task) => {
                            self.tasks.insert(task.metadata.name.clone(), task);
                        }
                        Change::Deleted(task) => drop(self.tasks.remove(&task.metadata.name)),
                    }
                }
            }
            Update::Bookmark { .. } => {}
        }
    }

    /// A client that knows these servers, the first preferred.
    pub fn client(&self, servers: &str) -> Client {
        let _entered = self.runtime.enter();
        Client::new(&servers.split(',').collect::<Vec<_>>()).expect("addresses")
    }

    /// Writes until one write is answered; each changes something.
    pub fn write(&mut self, client: &Client) {
        let key = ObjectKey::new(berth_client::KindName::new("v1", "Namespace"), "", "default");
        let end = Instant::now() + LIMIT;
        loop {
            self.count += 1;
            let patch = json!({ "metadata": { "annotations": { "count": self.count.to_string() } } });
            match self.runtime.block_on(client.write(&Write::patch_json(&key, &patch))) {
                Ok(_) => return,
                Err(error) => assert!(Instant::now() < end, "no write is answered: {error}"),
            }
        }
    }

    /// Kills with -9 everything that runs for a Task on its node: its shim and its containers.
    pub fn kill_processes_of(&self, uid: &str) {
        let shims = shims_of(uid);
        assert!(!shims.is_empty(), "Task {uid} has a shim");
        let containers = berth_e2e::leftovers::processes_of_task(self.world.dir(), uid);
        shims.into_iter().chain(containers).for_each(kill);
    }
}

/// A Task's phase says that it runs, and it is Ready.
pub fn runs(task: &Task) -> bool {
    let ready = |condition: &&berth_types::Condition| condition.type_ == "Ready";
    task.status.phase == "Running"
        && task.metadata.deletion_timestamp.is_none()
        && task
            .status
            .conditions
            .iter()
            .find(ready)
            .is_some_and(|condition| condition.status == ConditionStatus::True)
}

/// The processes whose command line names the Task: shims are told its bundle.
pub fn shims_of(uid: &str) -> Vec<u32> {
    let own = std::process::id();
    let entries = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != own)
        .filter(|pid| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&words).contains(&format!("tasks/{uid}/"))
        })
        .collect()
}

/// Kills a process with -9; one that is gone already is none.
pub fn kill(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a process id fits"));
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
}
