//! What calls carry beside objects and writes, and their wire form.

use berth_proto::v1;
use berth_proto::v1::outcome::Result as WireResult;
use berth_types::node::Node;
use berth_types::status::{Reason, Status};
use berth_types::task::Task;

use crate::error::Error;
use crate::object::{Object, parse};

/// Objects of one state of the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed<T> {
    /// In the order of namespace and name.
    pub items: Vec<T>,
    /// The version of the state: a watch from here misses nothing.
    pub version: String,
    /// The history of the store that the version is of.
    pub history: String,
    /// What gives the next page; none on the last.
    pub continue_token: Option<String>,
}

/// What answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Version of the server.
    pub version: String,
    /// The cluster's uid.
    pub cluster_uid: String,
    /// Which server; new with every start.
    pub server_id: String,
    /// As `embedded` or `etcd 3.5.1`.
    pub store: String,
    /// The history of the store; another one after it was restored from a backup.
    pub history: String,
}

/// Whether and how well a server works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// It answers current reads.
    pub ready: bool,
    /// It answers writes, too.
    pub writable: bool,
    /// What is wrong and what helps, for a person.
    pub faults: Vec<String>,
}

/// Places one Task on one Node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindItem {
    /// Namespace of the Task.
    pub namespace: String,
    /// Name of the Task.
    pub task: String,
    /// uid of the Task.
    pub task_uid: String,
    /// Name of the Node.
    pub node: String,
    /// uid of the Node.
    pub node_uid: String,
    /// resourceVersion of the Node that the decision was made on.
    pub node_version: String,
    /// A host port for each port that the manifest leaves open.
    pub ports: Vec<(String, u16)>,
}

/// Which log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogsQuery {
    /// Namespace of the Task.
    pub namespace: String,
    /// Name of the Task.
    pub task: String,
    /// Name of the container; empty for the only one.
    pub container: String,
    /// Goes on as more is written.
    pub follow: bool,
    /// The attempt before the present one.
    pub previous: bool,
    /// Only the last lines.
    pub tail_lines: Option<u32>,
}

impl BindItem {
    /// Places a Task that leaves no port open on a Node, as both were seen.
    pub fn new(task: &Task, node: &Node) -> Self {
        let (task, node) = (&task.metadata, &node.metadata);
        Self {
            namespace: task.namespace.clone(),
            task: task.name.clone(),
            task_uid: task.uid.clone(),
            node: node.name.clone(),
            node_uid: node.uid.clone(),
            node_version: node.resource_version.clone(),
            ports: Vec::new(),
        }
    }

    pub(crate) fn wire(&self) -> v1::BindItem {
        let ports = self.ports.iter();
        v1::BindItem {
            namespace: self.namespace.clone(),
            task: self.task.clone(),
            task_uid: self.task_uid.clone(),
            node: self.node.clone(),
            node_uid: self.node_uid.clone(),
            node_resource_version: self.node_version.clone(),
            ports: ports
                .map(|(name, port)| v1::AssignedPort { name: name.clone(), port: u32::from(*port) })
                .collect(),
        }
    }
}

impl LogsQuery {
    pub(crate) fn wire(&self) -> v1::LogsRequest {
        v1::LogsRequest {
            namespace: self.namespace.clone(),
            task: self.task.clone(),
            task_uid: String::new(),
            container: self.container.clone(),
            follow: self.follow,
            previous: self.previous,
            tail_lines: self.tail_lines,
        }
    }
}

/// One outcome for each item that was asked for.
pub(crate) fn outcomes(
    answered: Vec<v1::Outcome>,
    asked: usize,
) -> Result<Vec<Result<Object, Error>>, Error> {
    if answered.len() != asked {
        let message = format!("the server answered {} of {asked} items", answered.len());
        return Err(Error::Broken(Status::new(Reason::InternalError, message)));
    }
    Ok(answered.into_iter().map(outcome).collect())
}

fn outcome(answered: v1::Outcome) -> Result<Object, Error> {
    match answered.result {
        Some(WireResult::Json(json)) => Ok(Object(json)),
        Some(WireResult::Status(status)) => Err(parse::<Status>(&status)?.into()),
        None => {
            let message = "the server gave an item no outcome";
            Err(Error::Broken(Status::new(Reason::InternalError, message)))
        }
    }
}
