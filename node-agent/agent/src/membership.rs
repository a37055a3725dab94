//! Being a Node: registered once under one name, present by a session, gone when the operator says so.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use berth_client::{Client, Error, FromServer, Hello, OpenLogs, Query, Session, Tunnels, Write};
use berth_types::node::{Node, NodeStatus, PortRange};
use berth_types::{ObjectMeta, Resource};
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use crate::agent::News;
use crate::blocking::blocking;
use crate::execute::World;
use crate::journal::{Identity, JournalError, Record};
use crate::logs;
use crate::machine::Machine;

/// Sessions that are journalled at once.
const AHEAD: u64 = 15;
/// The annotation by which an agent knows a Node that it created and could not journal any more.
const CLAIM: &str = "berth.dev/claim";

/// What registers.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Name of the Node.
    pub name: String,
    /// The machine.
    pub machine: Machine,
    /// Host ports that may be assigned.
    pub ports: PortRange,
    /// Address under which its Tasks answer.
    pub address: String,
    /// Before a server that failed is asked again.
    pub reconnect: Duration,
    /// How long Tasks run on that a restored store does not know.
    pub unknown_tasks: Duration,
}

/// Why this node cannot be a member; none of it passes by waiting.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// The name is another's.
    #[error(
        "a Node named `{0}` exists, and this data folder has no journal of it: choose another name with \
         --node-name; or, if nothing of that Node runs any more, delete it (`ctl delete node {0}`) and start again"
    )]
    NameTaken(String),
    /// The data folder is another cluster's.
    #[error(
        "data folder {folder} belongs to cluster {ours}, and the server to {theirs}: use another data folder"
    )]
    ForeignCluster {
        /// The folder.
        folder: String,
        /// Its cluster.
        ours: String,
        /// The server's.
        theirs: String,
    },
    /// The data folder belongs to a Node of another name.
    #[error(
        "this data folder belongs to Node `{ours}`, and this agent was started as `{given}` (by --node-name, or else \
         the host name): start it with --node-name {ours}, or with another data folder"
    )]
    OtherName {
        /// The journalled name.
        ours: String,
        /// The name of this agent.
        given: String,
    },
    /// The store was restored, and the Node is not in it.
    #[error("the store was restored or replaced, and Node `{0}` is not in it: this agent starts anew")]
    OtherHistory(String),
    /// The journal cannot be written.
    #[error("could not journal")]
    Journal(#[from] JournalError),
    /// The data folder cannot be used.
    #[error("could not use the data folder")]
    Folder(#[from] io::Error),
    /// The server refuses this Node.
    #[error("the server refuses this Node: {0}")]
    Refused(Error),
}

/// Refuses a name other than that of the Node that the data folder belongs to.
pub fn check_name(known: Option<&Identity>, given: &str) -> Result<(), MembershipError> {
    match known {
        Some(known) if known.name != given => {
            Err(MembershipError::OtherName { ours: known.name.clone(), given: given.into() })
        }
        Some(_) | None => Ok(()),
    }
}

/// Keeps this node a member.
#[derive(Debug)]
pub struct Membership {
    client: Client,
    world: Arc<World>,
    candidate: Candidate,
    known: Option<Identity>,
    session: u64,
    /// Sessions up to this number are journalled, whether they were opened or not.
    reserved: u64,
    news: mpsc::UnboundedSender<News>,
    /// The Node that this agent is.
    node: watch::Sender<Option<Identity>>,
    tunnels: JoinSet<()>,
}

enum SessionEnd {
    /// Another may be opened.
    Broken,
    /// There is no such Node any more.
    NodeGone,
}

impl Membership {
    /// A membership that the journal knows, or a new one.
    pub fn new(
        client: Client,
        world: Arc<World>,
        candidate: Candidate,
        (known, session): (Option<Identity>, u64),
        news: mpsc::UnboundedSender<News>,
    ) -> Self {
        let (reserved, node) = (session, watch::Sender::new(known.clone()));
        Self { client, world, candidate, known, session, reserved, news, node, tunnels: JoinSet::new() }
    }

    /// The Node that this agent is: the journalled one at first, then each that is registered.
    pub fn node(&self) -> watch::Receiver<Option<Identity>> {
        self.node.subscribe()
    }

    /// Registers, and stays present, until something that does not pass by waiting.
    pub async fn run(mut self) -> Result<std::convert::Infallible, MembershipError> {
        loop {
            let identity = self.join().await?;
            tracing::info!(node = identity.name, uid = identity.uid, "registered");
            self.node.send_if_modified(|node| {
                let is_new = node.as_ref().is_none_or(|known| known.uid != identity.uid);
                *node = Some(identity.clone());
                is_new
            });
            // Nobody listens only when the agent ends.
            let _ = self.news.send(News::Joined(identity.clone()));
            self.stay(&identity).await?;
            self.leave(&identity).await?;
        }
    }

    /// The Node of ours, made if there is none.
    async fn join(&mut self) -> Result<Identity, MembershipError> {
        let mut missing_since = None;
        loop {
            match self.try_join().await? {
                Joining::Done(identity) => return Ok(identity),
                Joining::NodeGone(identity) => self.leave(&identity).await?,
                Joining::NotRestored(identity) => {
                    let since = *missing_since.get_or_insert_with(|| {
                        tracing::warn!(
                            node = identity.name,
                            lives = ?self.candidate.unknown_tasks,
                            "the store was restored from before this Node: what runs is stopped when it stays missing"
                        );
                        Instant::now()
                    });
                    if since.elapsed() >= self.candidate.unknown_tasks {
                        self.leave(&identity).await?;
                    }
                    tokio::time::sleep(self.candidate.reconnect).await;
                }
                Joining::Later(error) => {
                    tracing::warn!(error = %error, "cannot register yet");
                    tokio::time::sleep(self.candidate.reconnect).await;
                }
            }
        }
    }

    async fn try_join(&mut self) -> Result<Joining, MembershipError> {
        check_name(self.known.as_ref(), &self.candidate.name)?;
        let cluster = match self.client.version().await {
            Ok(version) => version.cluster_uid,
            Err(error) => return Ok(Joining::Later(error)),
        };
        self.check_cluster(&cluster)?;
        let claim = self.claim()?;
        let found = match self.client.get_as::<Node>("", &self.candidate.name).await {
            Ok(node) => Some(node),
            Err(Error::NotFound(_)) => None,
            Err(error) => return Ok(Joining::Later(error)),
        };
        match (found, self.known.clone()) {
            (Some(node), Some(known)) if node.metadata.uid == known.uid => match self.is_past(&known).await {
                Ok(true) => self.refresh(node, known).await,
                Ok(false) => self.settle(cluster, node).await,
                Err(error) => Ok(Joining::Later(error)),
            },
            (Some(node), None) if node.metadata.annotations.get(CLAIM) == Some(&claim) => {
                self.settle(cluster, node).await
            }
            (_, Some(known)) => match self.is_past(&known).await {
                Ok(true) => Ok(Joining::NodeGone(known)),
                Ok(false) => Ok(Joining::NotRestored(known)),
                Err(error) => Ok(Joining::Later(error)),
            },
            (Some(_), None) => Err(MembershipError::NameTaken(self.candidate.name.clone())),
            (None, None) => {
                match self.client.write_as::<Node>(&Write::create(&self.new_node(&claim))).await {
                    Ok(node) => self.settle(cluster, node).await,
                    Err(error @ (Error::Invalid(_) | Error::Refused(_))) => {
                        Err(MembershipError::Refused(error))
                    }
                    Err(error) => Ok(Joining::Later(error)),
                }
            }
        }
    }

    fn check_cluster(&self, theirs: &str) -> Result<(), MembershipError> {
        let path = self.world.places.cluster_mark();
        match fs::read_to_string(&path) {
            Ok(ours) if ours.trim() == theirs => Ok(()),
            Ok(ours) => Err(MembershipError::ForeignCluster {
                folder: self.world.places.data().display().to_string(),
                ours: ours.trim().into(),
                theirs: theirs.into(),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(fs::write(&path, theirs)?),
            Err(error) => Err(error.into()),
        }
    }

    /// A word that this data folder made up once: a Node that carries it was created by us.
    fn claim(&self) -> Result<String, MembershipError> {
        let path = self.world.places.data().join("claim");
        match fs::read_to_string(&path) {
            Ok(claim) if !claim.is_empty() => Ok(claim),
            Ok(_) => Ok(write_claim(&path)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(write_claim(&path)?),
            Err(error) => Err(error.into()),
        }
    }

    /// The Node is ours; where it was seen is journalled. The history is asked for after the Node was read: a version that
    /// was told in one life of the store is of the past of each later one.
    async fn settle(&mut self, cluster: String, node: Node) -> Result<Joining, MembershipError> {
        let history = match self.client.page(&Query::of::<Node>(), 1, None).await {
            Ok(page) => page.history,
            Err(error) => return Ok(Joining::Later(error)),
        };
        let (name, uid) = (node.metadata.name.clone(), node.metadata.uid.clone());
        let version = node.metadata.resource_version.clone();
        let identity = Identity { cluster, name, uid, history, version };
        match self.world.journal.append(vec![Record::Identity(identity.clone())]).await {
            // Its Node is journalled already; only where it was seen last is not.
            Err(JournalError::NotNow { .. })
                if self.known.as_ref().is_some_and(|k| k.uid == identity.uid) => {}
            journalled => journalled?,
        }
        self.known = Some(identity.clone());
        self.refresh(node, identity).await
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let info = &self.candidate.machine.info;
        BTreeMap::from([
            ("berth.dev/hostname".to_owned(), info.hostname.clone()),
            ("berth.dev/os".to_owned(), info.operating_system.clone()),
            ("berth.dev/arch".to_owned(), info.architecture.clone()),
        ])
    }

    fn new_node(&self, claim: &str) -> Node {
        let annotations = BTreeMap::from([(CLAIM.to_owned(), claim.to_owned())]);
        let metadata =
            ObjectMeta { labels: self.labels(), annotations, ..ObjectMeta::named("", &self.candidate.name) };
        Node { metadata, ..Node::default() }
    }

    /// Writes the Node only where it changed: a bind decided on it must not fail for nothing.
    async fn refresh(&self, node: Node, identity: Identity) -> Result<Joining, MembershipError> {
        let machine = &self.candidate.machine;
        let status = NodeStatus {
            capacity: machine.capacity.clone(),
            allocatable: machine.allocatable.clone(),
            port_range: Some(self.candidate.ports.clone()),
            address: self.candidate.address.clone(),
            node_info: machine.info.clone(),
            conditions: node.status.conditions.clone(),
        };
        let labels = self.labels();
        let mut writes = Vec::new();
        if !labels.iter().all(|(name, value)| node.metadata.labels.get(name) == Some(value)) {
            let patch = json!({ "metadata": { "labels": labels } });
            writes.push(Write::patch::<Node>("", &identity.name, patch).expecting_uid(&identity.uid));
        }
        if status != node.status {
            let mut fields = serde_json::to_value(&status).expect("a status is always JSON");
            if let Some(fields) = fields.as_object_mut() {
                // Conditions are the node controller's.
                fields.remove("conditions");
            }
            let patch = json!({ "status": fields });
            writes.push(Write::patch_status::<Node>("", &identity.name, patch).expecting_uid(&identity.uid));
        }
        for write in &writes {
            match self.client.write(write).await {
                Ok(_) => {}
                Err(error @ (Error::Invalid(_) | Error::Refused(_))) => {
                    return Err(MembershipError::Refused(error));
                }
                Err(error) => return Ok(Joining::Later(error)),
            }
        }
        Ok(Joining::Done(identity))
    }

    /// Sessions, one after another, until the Node is gone.
    async fn stay(&mut self, identity: &Identity) -> Result<(), MembershipError> {
        loop {
            self.session += 1;
            let number = self.session;
            self.reserve(number).await?;
            berth_failpoint::reach("agent.session.before");
            let hello = Hello {
                node: identity.name.clone(),
                node_uid: identity.uid.clone(),
                boot_id: self.candidate.machine.info.boot_id.clone(),
                number,
            };
            let end = match self.client.session(&hello).await {
                Ok(session) => self.attend(session).await,
                Err(error) => {
                    tracing::warn!(error = %error, "no session yet");
                    SessionEnd::Broken
                }
            };
            let end = match end {
                SessionEnd::Broken => self.look_for_node(identity).await,
                SessionEnd::NodeGone => SessionEnd::NodeGone,
            };
            if let SessionEnd::NodeGone = end {
                match self.is_past(identity).await {
                    Ok(false) => return Err(MembershipError::OtherHistory(identity.name.clone())),
                    Ok(true) => return Ok(()),
                    Err(error) => {
                        tracing::warn!(error = %error, "this Node may be gone; nobody can tell yet")
                    }
                }
            }
            tokio::time::sleep(self.candidate.reconnect).await;
        }
    }

    /// Journals that sessions up to some beyond `number` may be opened: a node whose disk is full stays present.
    async fn reserve(&mut self, number: u64) -> Result<(), MembershipError> {
        while number > self.reserved {
            let reserved = number + AHEAD;
            match self.world.journal.append(vec![Record::Session { number: reserved }]).await {
                Ok(()) => self.reserved = reserved,
                Err(JournalError::NotNow { .. }) => tokio::time::sleep(self.candidate.reconnect).await,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether the store that is there now had the Node once, and so somebody deleted it.
    async fn is_past(&self, identity: &Identity) -> Result<bool, Error> {
        self.client.is_past(&Query::of::<Node>(), &identity.version, &identity.history).await
    }

    /// A session that broke may have done so because the Node was deleted.
    async fn look_for_node(&self, identity: &Identity) -> SessionEnd {
        match self.client.get_as::<Node>("", &identity.name).await {
            Ok(node) if node.meta().uid != identity.uid => SessionEnd::NodeGone,
            Err(Error::NotFound(_)) => SessionEnd::NodeGone,
            Ok(_) | Err(_) => SessionEnd::Broken,
        }
    }

    async fn attend(&mut self, mut session: Session) -> SessionEnd {
        tracing::info!(server = session.server_id, "session opened");
        let (mut sent, mut answered) = (0u64, 0u64);
        let mut beat = tokio::time::interval(session.heartbeat);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beat.tick() => {
                    if sent - answered >= session.missed {
                        tracing::warn!("the server answers no heartbeats");
                        session.leave();
                        return SessionEnd::Broken;
                    }
                    sent += 1;
                    if session.heartbeat(sent).await.is_err() {
                        return SessionEnd::Broken;
                    }
                }
                said = session.next() => match said {
                    Ok(FromServer::HeartbeatAnswered { sequence }) => answered = answered.max(sequence.min(sent)),
                    Ok(FromServer::OpenLogs(request)) => self.open_logs(session.tunnels(), request),
                    Err(Error::NotFound(_)) => return SessionEnd::NodeGone,
                    Err(error) => {
                        tracing::warn!(error = %error, "session ended");
                        return SessionEnd::Broken;
                    }
                },
            }
        }
    }

    fn open_logs(&mut self, tunnels: Tunnels, request: OpenLogs) {
        while self.tunnels.try_join_next().is_some() {}
        let (lines, chunks) = mpsc::channel(8);
        let (world, id) = (self.world.clone(), request.id.clone());
        self.tunnels.spawn(async move {
            let read = blocking(move || logs::serve(&world.places, &request, &lines));
            let send = tunnels.open(&id, ReceiverStream::new(chunks));
            let ((), sent) = tokio::join!(read, send);
            if let Err(error) = sent {
                tracing::debug!(error = %error, "a log reader is gone");
            }
        });
    }

    /// The Node is gone: nothing of it may run when the next one is made.
    async fn leave(&mut self, identity: &Identity) -> Result<(), MembershipError> {
        tracing::warn!(node = identity.name, uid = identity.uid, "this Node is gone: everything is stopped");
        let (emptied, done) = oneshot::channel();
        let _ = self.news.send(News::NodeGone(emptied));
        // Dropped only when the agent ends, and this with it.
        let _ = done.await;
        self.world.journal.append(vec![Record::IdentityGone]).await?;
        self.known = None;
        Ok(())
    }
}

enum Joining {
    Done(Identity),
    /// The journalled Node is gone, or another has its name.
    NodeGone(Identity),
    /// So it is, but in another history: nobody deleted it, a backup from before it was restored.
    NotRestored(Identity),
    Later(Error),
}

fn write_claim(path: &std::path::Path) -> io::Result<String> {
    let claim = uuid::Uuid::new_v4().simple().to_string();
    fs::write(path, &claim)?;
    fs::File::open(path)?.sync_all()?;
    Ok(claim)
}
