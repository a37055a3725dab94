//! Nodes without machines: sessions, watches and status, no containers. One process carries thousands.
//!
//! All of them share one watch of Tasks and one of nothing else: their Tasks run and are ready at once, and stop at
//! once. For tests and benchmarks of everything but the machine.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use berth_client::{
    Atomicity, Change, Client, Error, FromServer, Hello, ObjectKey, Options, Query, Session, Update, Write,
};
use berth_types::clock::Clock;
use berth_types::meta::{Condition, ConditionStatus};
use berth_types::node::{Node, NodeInfo, NodeStatus, PortRange};
use berth_types::quantity::{Bytes, Millicores, Quantity};
use berth_types::task::{ContainerState, ContainerStatus, Running, Task, TaskStatus};
use berth_types::{ObjectMeta, Resource, SteadyClock, Timestamp};
use serde_json::json;
use tokio::task::JoinSet;

/// Writes of one call.
const BATCH: usize = 200;
/// Calls in flight.
const CALLS: usize = 4;
/// Before statuses that were not written are tried again.
const AGAIN: Duration = Duration::from_millis(500);
/// Nodes whose sessions share one connection: servers bound the open streams of each.
const SESSIONS: usize = 100;
/// What a simulated node has.
const CPU: Millicores = Millicores(32_000);
const MEMORY: Bytes = Bytes(128 << 30);
const DISK: Bytes = Bytes(1 << 40);

/// What simulated nodes are like.
#[derive(Debug)]
pub struct About {
    /// They are called `<prefix>-0` to `<prefix>-<count - 1>`.
    pub prefix: String,
    /// How many.
    pub count: u32,
    /// Host ports that may be assigned.
    pub ports: PortRange,
    /// Address under which their Tasks answer.
    pub address: String,
    /// Before a server that failed is asked again.
    pub reconnect: Duration,
}

/// Simulated nodes.
#[derive(Debug)]
pub struct Fleet {
    client: Client,
    servers: Vec<String>,
    options: Options,
    about: About,
}

impl Fleet {
    /// A fleet at these servers.
    pub fn new(servers: &[String], options: Options, about: About) -> Result<Self, Error> {
        let client = Client::with_options(servers, options.clone())?;
        Ok(Self { client, servers: servers.to_vec(), options, about })
    }

    /// What it speaks to the servers with.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Registers all, keeps them present and lets their Tasks run; ends only with an error that waiting does not heal.
    pub async fn run(self) -> Result<std::convert::Infallible, Error> {
        let (nodes, first) = self.register().await?;
        tracing::info!(nodes = nodes.len(), "simulated nodes are registered");
        let mut sessions = JoinSet::new();
        for some in nodes.chunks(SESSIONS) {
            let client = Client::with_options(&self.servers, self.options.clone())?;
            for (name, uid) in some {
                sessions.spawn(attend(
                    client.clone(),
                    name.clone(),
                    uid.clone(),
                    first,
                    self.about.reconnect,
                ));
            }
        }
        let mut tasks = Tasks {
            client: self.client.clone(),
            nodes: nodes.into_iter().collect(),
            address: self.about.address,
            due: BTreeMap::new(),
            calls: JoinSet::new(),
        };
        tasks.follow().await
    }

    /// Creates what is missing of the Nodes, many in a call. Names and uids, and the number before their first sessions.
    async fn register(&self) -> Result<(Vec<(String, String)>, u64), Error> {
        let names: Vec<String> =
            (0..self.about.count).map(|n| format!("{}-{n}", self.about.prefix)).collect();
        let known = self.client.list_as::<Node>(&Query::of::<Node>()).await?;
        let first = number_after(&known.version);
        let mut uids: HashMap<String, String> =
            known.items.into_iter().map(|node| (node.metadata.name, node.metadata.uid)).collect();
        let missing: Vec<&String> = names.iter().filter(|name| !uids.contains_key(*name)).collect();
        for some in missing.chunks(BATCH) {
            let writes: Vec<Write> = some.iter().map(|name| Write::create(&new_node(name))).collect();
            for outcome in self.client.batch(&writes, Atomicity::Each).await? {
                let node = outcome?.read::<Node>()?;
                uids.insert(node.metadata.name, node.metadata.uid);
            }
        }
        for some in names.chunks(BATCH) {
            let writes: Vec<Write> = some.iter().map(|name| self.status_write(name)).collect();
            for outcome in self.client.batch(&writes, Atomicity::Each).await? {
                outcome?;
            }
        }
        let registered = names.into_iter().filter_map(|name| Some((name.clone(), uids.remove(&name)?)));
        Ok((registered.collect(), first))
    }

    fn status_write(&self, name: &str) -> Write {
        let list = |cpu, memory, disk| {
            BTreeMap::from([
                ("cpu".to_owned(), Quantity::of_millicores(cpu)),
                ("memory".to_owned(), Quantity::of_bytes(memory)),
                ("disk".to_owned(), Quantity::of_bytes(disk)),
            ])
        };
        let status = NodeStatus {
            capacity: list(CPU, MEMORY, DISK),
            allocatable: list(CPU, MEMORY, DISK),
            port_range: Some(self.about.ports.clone()),
            address: self.about.address.clone(),
            node_info: NodeInfo {
                hostname: name.into(),
                operating_system: "linux".into(),
                architecture: std::env::consts::ARCH.into(),
                boot_id: name.into(),
                kernel_version: String::new(),
                agent_version: env!("CARGO_PKG_VERSION").into(),
            },
            conditions: Vec::new(),
        };
        Write::patch_status::<Node>("", name, json!({ "status": status }))
    }
}

fn new_node(name: &str) -> Node {
    let labels = BTreeMap::from([
        ("berth.dev/hostname".to_owned(), name.to_owned()),
        ("berth.dev/os".to_owned(), "linux".to_owned()),
        ("berth.dev/simulated".to_owned(), "true".to_owned()),
    ]);
    Node { metadata: ObjectMeta { labels, ..ObjectMeta::named("", name) }, ..Node::default() }
}

/// What the numbers of sessions begin after. They must grow over restarts; a real agent journals them. Every session
/// makes a revision, and versions count a thousand to each: so the store's version is beyond all that were opened before,
/// whatever the clock says.
fn number_after(version: &str) -> u64 {
    version.parse().unwrap_or(0)
}

/// Keeps one node present.
async fn attend(client: Client, node: String, node_uid: String, first: u64, reconnect: Duration) {
    let mut number = first;
    loop {
        number += 1;
        let hello = Hello { node: node.clone(), node_uid: node_uid.clone(), boot_id: node.clone(), number };
        match client.session(&hello).await {
            Ok(session) => beat(session).await,
            Err(error) => tracing::debug!(node, error = %error, "no session yet"),
        }
        tokio::time::sleep(reconnect).await;
    }
}

async fn beat(mut session: Session) {
    let (mut sent, mut answered) = (0u64, 0u64);
    let mut beat = tokio::time::interval(session.heartbeat);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = beat.tick() => {
                if sent - answered >= session.missed {
                    return session.leave();
                }
                sent += 1;
                if session.heartbeat(sent).await.is_err() {
                    return;
                }
            }
            said = session.next() => match said {
                Ok(FromServer::HeartbeatAnswered { sequence }) => answered = answered.max(sequence.min(sent)),
                // There is no log to send.
                Ok(FromServer::OpenLogs(request)) => {
                    let none = futures::stream::iter([Err("a simulated node has no logs".to_owned())]);
                    let _ = session.tunnels().open(&request.id, none).await;
                }
                Err(_) => return,
            },
        }
    }
}

/// The Tasks of all nodes.
struct Tasks {
    client: Client,
    /// Name to uid.
    nodes: HashMap<String, String>,
    address: String,
    /// What is to be written, by namespace and name: the last word about a Task wins.
    due: BTreeMap<(String, String), Write>,
    calls: JoinSet<Vec<Task>>,
}

impl Tasks {
    async fn follow(&mut self) -> Result<std::convert::Infallible, Error> {
        let mut watch = self.client.watch_as::<Task>(&Query::of::<Task>());
        loop {
            self.send();
            tokio::select! {
                update = watch.next() => match update? {
                    Update::Initial { objects, .. } | Update::Restarted { objects, .. } => {
                        objects.iter().for_each(|task| self.see(task));
                    }
                    Update::Changes { changes, .. } => {
                        for change in &changes {
                            match change {
                                Change::Added(task) | Change::Modified(task) => self.see(task),
                                Change::Deleted(task) => {
                                    self.due.remove(&key(task));
                                }
                            }
                        }
                    }
                    Update::Bookmark { .. } => {}
                },
                Some(again) = self.calls.join_next() => {
                    again.unwrap_or_default().iter().for_each(|task| self.see(task));
                }
            }
        }
    }

    fn see(&mut self, task: &Task) {
        let ours = self.nodes.get(&task.spec.node_name).is_some_and(|uid| *uid == task.spec.node_uid);
        if !ours {
            return;
        }
        if let Some(status) = next_status(task, &self.address, SteadyClock.now()) {
            let meta = task.meta();
            let patch = json!({ "status": status });
            let write = Write::patch_status::<Task>(&meta.namespace, &meta.name, patch)
                .unchanged(task)
                .by("node-agent");
            self.due.insert(key(task), write);
        }
    }

    fn send(&mut self) {
        while self.calls.len() < CALLS && !self.due.is_empty() {
            let mut writes = Vec::new();
            while writes.len() < BATCH
                && let Some((_, write)) = self.due.pop_first()
            {
                writes.push(write);
            }
            let client = self.client.clone();
            self.calls.spawn(async move { write_all(&client, writes).await });
        }
    }
}

fn key(task: &Task) -> (String, String) {
    (task.metadata.namespace.clone(), task.metadata.name.clone())
}

/// Writes a batch; what lost or failed is read again and comes back.
async fn write_all(client: &Client, writes: Vec<Write>) -> Vec<Task> {
    let lost: Vec<ObjectKey> = match client.batch(&writes, Atomicity::Each).await {
        Ok(outcomes) => {
            let failed = writes.iter().zip(outcomes).filter(|(_, outcome)| outcome.is_err());
            failed.map(|(write, _)| write.key()).collect()
        }
        Err(error) => {
            tracing::debug!(error = %error, "statuses were not written");
            tokio::time::sleep(AGAIN).await;
            writes.iter().map(Write::key).collect()
        }
    };
    let mut again = Vec::new();
    for key in lost {
        loop {
            match client.get_as::<Task>(&key.namespace, &key.name).await {
                Ok(task) => again.push(task),
                Err(error) if error.is_transient() => {
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
                Err(_) => {}
            }
            break;
        }
    }
    again
}

/// Running and ready at once, stopped at once; none when the store says so already.
fn next_status(task: &Task, address: &str, now: Timestamp) -> Option<TaskStatus> {
    let before = &task.status;
    let (phase, ready, reason) = match before.phase.as_str() {
        "Succeeded" | "Failed" => return None,
        _ if task.metadata.deleting() => ("Succeeded", ConditionStatus::False, "Ended"),
        "Running" => return None,
        _ => ("Running", ConditionStatus::True, "Ready"),
    };
    let mut status = before.clone();
    status.phase = phase.into();
    status.host_ip = address.into();
    status.start_time = before.start_time.or(Some(now));
    let condition = Condition {
        type_: "Ready".into(),
        status: ready,
        observed_generation: 0,
        last_transition_time: now,
        reason: reason.into(),
        message: String::new(),
    };
    condition.set(&mut status.conditions);
    let running =
        ContainerState { running: Some(Running { started_at: Some(now) }), ..ContainerState::default() };
    status.container_statuses = task
        .spec
        .containers
        .iter()
        .map(|container| ContainerStatus {
            name: container.name.clone(),
            ready: ready == ConditionStatus::True,
            state: if phase == "Running" { running.clone() } else { ContainerState::default() },
            ..ContainerStatus::default()
        })
        .collect();
    Some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_task_runs_at_once_stops_at_once_and_is_written_no_more_than_that() {
        let now = Timestamp::from_millis(0);
        let mut task = Task::default();
        task.status = next_status(&task, "127.0.0.1", now).unwrap();
        assert_eq!(task.status.phase, "Running");
        assert!(Condition::holds(&task.status.conditions, "Ready"));
        assert_eq!(next_status(&task, "127.0.0.1", now), None);
        task.metadata.deletion_timestamp = Some(now);
        task.status = next_status(&task, "127.0.0.1", now).unwrap();
        assert_eq!(task.status.phase, "Succeeded");
        assert_eq!(next_status(&task, "127.0.0.1", now), None);
    }
}
