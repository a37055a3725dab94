//! Watches every Task from beginning to end, and judges each revision: a Task that is told to stop leaves enough
//! available ones, and no Task is made beyond the most. It shares nothing with what it judges but the wire form.

use std::collections::BTreeMap;

use berth_client::{Change, Client, Query, Update};
use berth_types::task::Task;
use berth_types::{Condition, ConditionStatus};
use tokio::task::JoinHandle;
use tokio::time::{Duration, timeout};

/// What happened to the Tasks of one App whose bounds stay the same.
pub struct History {
    judged: JoinHandle<usize>,
}

impl History {
    /// Begins to watch. At least `keep` Tasks stay available, at most `most` are there.
    pub fn begin(client: &Client, keep: usize, most: usize) -> Self {
        let mut watch = client.watch_as::<Task>(&Query::of::<Task>());
        let judged = async move {
            let (mut tasks, mut revisions) = (BTreeMap::new(), 0);
            // Quiet for this long means that it is over.
            while let Ok(update) = timeout(Duration::from_secs(2), next_change(&mut watch)).await {
                match update {
                    Update::Initial { objects, .. } | Update::Restarted { objects, .. } => {
                        tasks = objects.into_iter().map(|task| (task.metadata.uid.clone(), task)).collect();
                    }
                    Update::Changes { changes, version } => {
                        judge(&mut tasks, changes, &version, keep, most);
                        revisions += 1;
                    }
                    Update::Bookmark { .. } => {}
                }
            }
            revisions
        };
        Self { judged: tokio::spawn(judged) }
    }

    /// Waits until nothing happens any more; fails when something was wrong, or nothing was seen.
    pub async fn end(self) {
        assert!(self.judged.await.unwrap() > 10, "there is a history to judge");
    }
}

async fn next_change(watch: &mut berth_client::Watch<Task>) -> Update<Task> {
    loop {
        match watch.next().await.unwrap() {
            Update::Bookmark { .. } => {}
            update => return update,
        }
    }
}

fn judge(
    tasks: &mut BTreeMap<String, Task>,
    changes: Vec<Change<Task>>,
    version: &str,
    keep: usize,
    most: usize,
) {
    let before = tasks.values().filter(|task| is_available(task)).count();
    let (mut told, mut made) = (0, 0);
    for change in changes {
        match change {
            Change::Added(task) | Change::Modified(task) => {
                let old = tasks.insert(task.metadata.uid.clone(), task.clone());
                made += usize::from(old.is_none());
                let was = old.is_some_and(|old| is_available(&old));
                told += usize::from(was && task.metadata.deleting());
            }
            Change::Deleted(task) => {
                told += usize::from(tasks.remove(&task.metadata.uid).is_some_and(|old| is_available(&old)));
            }
        }
    }
    assert!(
        told == 0 || before - told >= keep,
        "at {version}: {told} of {before} available Tasks told to stop"
    );
    let there = tasks.values().filter(|task| !is_over(task)).count();
    assert!(made == 0 || there <= most, "at {version}: {there} Tasks after {made} were made");
}

fn is_over(task: &Task) -> bool {
    matches!(task.status.phase.as_str(), "Succeeded" | "Failed")
}

fn is_available(task: &Task) -> bool {
    let ready = Condition::find(&task.status.conditions, "Ready");
    let ready = ready.is_some_and(|condition| condition.status == ConditionStatus::True);
    ready && task.status.phase == "Running" && !task.metadata.deleting()
}
