//! Where things lie on a node: every path and name is made of uids and container names, which are checked words.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::assignment::{Assignment, TaskUid};

/// Where this agent keeps what it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    data: PathBuf,
    run: PathBuf,
    cgroup_parent: String,
}

impl Places {
    /// Durable things below `data`, things of this boot below `run`, containers in `/<cgroup_parent>`.
    pub fn new(data: &Path, run: &Path, cgroup_parent: &str) -> Self {
        Self { data: data.into(), run: run.into(), cgroup_parent: cgroup_parent.into() }
    }

    /// What was promised and started.
    pub fn journal(&self) -> PathBuf {
        self.data.join("journal")
    }

    /// The cluster this folder belongs to.
    pub fn cluster_mark(&self) -> PathBuf {
        self.data.join("cluster")
    }

    /// The self-test under way: what a crash leaves of it goes at the next one.
    pub fn self_test_mark(&self) -> PathBuf {
        self.data.join("self-test")
    }

    /// Unpacked layers, one folder by digest.
    pub fn layers(&self) -> PathBuf {
        self.data.join("images").join("layers")
    }

    /// All that a Task has on disk but logs.
    pub fn task(&self, task: &TaskUid) -> PathBuf {
        self.data.join("tasks").join(task.as_str())
    }

    /// Every Task's folder lies here.
    pub fn tasks(&self) -> PathBuf {
        self.data.join("tasks")
    }

    /// What a Task's shim is told.
    pub fn bundle(&self, task: &TaskUid) -> PathBuf {
        self.task(task).join("bundle.json")
    }

    /// What a container of a Task has on disk.
    pub fn container(&self, task: &TaskUid, container: &str) -> PathBuf {
        self.task(task).join("c").join(container)
    }

    /// One attempt's config and writable layer.
    pub fn attempt(&self, task: &TaskUid, container: &str, number: u32) -> PathBuf {
        self.container(task, container).join(number.to_string())
    }

    /// Where a Task's shim listens.
    pub fn socket(&self, task: &TaskUid) -> PathBuf {
        self.run.join("s").join(format!("{}.sock", task.short()))
    }

    /// The container runtime's state.
    pub fn runtime_state(&self) -> PathBuf {
        self.run.join("c")
    }

    /// A Task's logs: they outlive it.
    pub fn logs(&self, assignment: &Assignment) -> PathBuf {
        let name = format!("{}_{}_{}", assignment.namespace, assignment.name, assignment.uid);
        self.data.join("logs").join(name)
    }

    /// Every Task's logs lie here.
    pub fn all_logs(&self) -> PathBuf {
        self.data.join("logs")
    }

    /// One attempt's log.
    pub fn log(&self, assignment: &Assignment, container: &str, number: u32) -> PathBuf {
        self.logs(assignment).join(container).join(format!("{number}.log"))
    }

    /// A Task's cgroup, in each hierarchy.
    pub fn task_cgroup(&self, task: &TaskUid) -> String {
        format!("/{}/{task}", self.cgroup_parent)
    }

    /// A container's cgroup, in each hierarchy.
    pub fn container_cgroup(&self, task: &TaskUid, container: &str) -> String {
        format!("{}/{container}", self.task_cgroup(task))
    }

    /// The folder of durable things.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The folder of this boot's things.
    pub fn run(&self) -> &Path {
        &self.run
    }
}
