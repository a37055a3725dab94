//! The bounds of a rolling update, looked at in every revision that a watch of ours is told.

use std::collections::BTreeMap;
use std::thread::JoinHandle;
use std::time::Duration;

use berth_client::{Change, Client, Query, Update};
use berth_e2e::World;
use berth_e2e::world::{condition, name};
use berth_types::task::Task;
use serde_json::Value;
use tokio::sync::oneshot;

/// Watches the Tasks of one App until it is asked what it saw.
pub struct Bounds {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Seen>,
}

/// The fewest available Tasks and the most Tasks that may be seen.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The fewest available, once there were as many as are asked for.
    pub fewest: usize,
    /// As many as are asked for.
    pub asked: usize,
    /// The most that are not at their end.
    pub most: usize,
}

/// What was seen.
#[derive(Debug, Default)]
struct Seen {
    tasks: BTreeMap<String, Value>,
    /// Whether all were available once.
    complete: bool,
    revisions: usize,
    breaches: Vec<String>,
}

impl Bounds {
    /// Begins to watch the Tasks of the world; there is one App.
    pub fn watch(world: &World, limits: Limits) -> Self {
        let servers: Vec<String> = world.servers().split(',').map(str::to_owned).collect();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(follow(&servers, limits, stopped))
        });
        Self { stop, thread }
    }

    /// How many revisions were looked at.
    ///
    /// # Panics
    /// When one of them broke the bounds.
    pub fn held(self) -> usize {
        // It fails only when the watcher is gone, which the next line tells.
        let _ = self.stop.send(());
        let seen = self.thread.join().expect("the watcher did not panic");
        assert!(seen.breaches.is_empty(), "the bounds broke: {:#?}", seen.breaches);
        seen.revisions
    }
}

async fn follow(servers: &[String], limits: Limits, mut stopped: oneshot::Receiver<()>) -> Seen {
    let client = Client::new(servers).expect("addresses of a world");
    let mut watch = client.watch(&Query::of::<Task>());
    let mut seen = Seen::default();
    loop {
        tokio::select! {
            _ = &mut stopped => return seen,
            update = watch.next() => match update {
                Ok(update) => seen.take(update, limits),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
        }
    }
}

impl Seen {
    fn take(&mut self, update: Update<Value>, limits: Limits) {
        let version = match update {
            Update::Initial { objects, version } | Update::Restarted { objects, version } => {
                self.tasks = objects.into_iter().map(|task| (name(&task).to_owned(), task)).collect();
                version
            }
            Update::Changes { changes, version } => {
                for change in changes {
                    match change {
                        Change::Added(task) | Change::Modified(task) => {
                            self.tasks.insert(name(&task).to_owned(), task);
                        }
                        Change::Deleted(task) => drop(self.tasks.remove(name(&task))),
                    }
                }
                version
            }
            Update::Bookmark { .. } => return,
        };
        self.revisions += 1;
        self.judge(&version, limits);
    }

    fn judge(&mut self, version: &str, Limits { fewest, asked, most }: Limits) {
        let is_over =
            |task: &&Value| ["Succeeded", "Failed"].iter().any(|end| task["status"]["phase"] == *end);
        let is_available = |task: &&Value| {
            task["status"]["phase"] == "Running"
                && task["metadata"]["deletionTimestamp"].is_null()
                && condition(task, "Ready") == "True"
        };
        let there = self.tasks.len() - self.tasks.values().filter(is_over).count();
        let available = self.tasks.values().filter(is_available).count();
        self.complete |= available == asked;
        if there > most || (self.complete && available < fewest) {
            self.breaches.push(format!("at {version}: {there} there, {available} available"));
        }
    }
}
