//! Sessions of agents at this server.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use berth_proto::to_grpc;
use berth_proto::v1;
use berth_proto::v1::agent_message::Message as FromAgent;
use berth_proto::v1::server_message::Message;
use berth_store::committer::Ended;
use berth_store::{Condition, Group, Kv, Must, Rev, Submission, Urgency, Write};
use berth_types::{Reason, Status};
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::follow::{get, node_uid};
use super::keys::{self, SessionValue, read};
use super::roll::Roll;
use super::standing::{Standing, author};
use super::{Shared, failure};

/// What an agent sends.
pub(super) type Inbound = Pin<Box<dyn Stream<Item = Result<v1::AgentMessage, tonic::Status>> + Send>>;
/// What it is sent.
pub(super) type Outbound = Pin<Box<dyn Stream<Item = Result<v1::ServerMessage, tonic::Status>> + Send>>;

/// Messages that wait for an agent; requests for logs beyond are refused.
const WAITING: usize = 64;

/// The sessions that this server has put, by node.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: BTreeMap<String, Open>,
}

/// One session that this server has put.
#[derive(Debug)]
pub(super) struct Open {
    /// The revision in which it was put: as long as the key is of this revision the session is ours.
    pub(super) rev: Rev,
    /// The id of this server then.
    pub(super) server: String,
    /// uid of the Node.
    pub(super) node_uid: String,
    /// The last heartbeat, or the opening.
    pub(super) heard: Instant,
    /// To the agent; none when the session is only known from the store.
    pub(super) agent: Option<mpsc::Sender<Result<Message, Status>>>,
}

impl Sessions {
    pub(super) fn insert(&mut self, node: &str, session: Open) {
        self.open.insert(node.into(), session);
    }

    pub(super) fn get(&self, node: &str) -> Option<&Open> {
        self.open.get(node)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&String, &mut Open)> {
        self.open.iter_mut()
    }

    /// Ends a session on this side if it still is the one of this revision; the agent is told why.
    pub(super) fn close(&mut self, node: &str, rev: Rev, why: &Status) {
        if self.open.get(node).is_some_and(|open| open.rev == rev) {
            self.open.remove(node).expect("just seen").tell(why);
        }
    }

    pub(super) fn close_all(&mut self, why: &str) {
        let why = Status::new(Reason::Unavailable, why);
        std::mem::take(&mut self.open).into_values().for_each(|open| open.tell(&why));
    }

    /// Ends a session that the store shows to be replaced by a newer one.
    pub(super) fn drop_replaced(&mut self, node: &str, roll: &Roll) {
        let Some((open, now)) = self.open.get(node).zip(roll.session(node)) else { return };
        if now.rev > open.rev {
            let why = Status::new(Reason::Conflict, "a newer session of this node was opened");
            self.close(node, open.rev, &why);
        }
    }

    /// Notes a heartbeat; none when the session is not the open one any more.
    fn heard(&mut self, node: &str, rev: Rev) -> Option<()> {
        let open = self.open.get_mut(node).filter(|open| open.rev == rev)?;
        open.heard = Instant::now();
        Some(())
    }
}

impl Open {
    fn tell(self, why: &Status) {
        if let Some(agent) = self.agent {
            // An agent that does not read learns it from the end of the stream.
            let _ = agent.try_send(Err(why.clone()));
        }
    }
}

/// Accepts the session that the agent asks for, and carries it on in the stream that is returned. Its key is put when
/// the agent's first heartbeat came: it heard that it was accepted then. One that is heard and hears nothing has none.
pub(super) async fn open(shared: Arc<Shared>, mut inbound: Inbound) -> Result<Outbound, Status> {
    let hello = match inbound.next().await {
        Some(Ok(v1::AgentMessage { message: Some(FromAgent::Hello(hello)) })) => hello,
        Some(Ok(_)) | Some(Err(_)) | None => {
            return Err(Status::new(Reason::BadRequest, "a session begins with a hello"));
        }
    };
    let standing = shared.valid_standing(shared.timing.answer_margin).ok_or_else(not_known)?;
    before(&shared, &hello).await?;
    let accepted = v1::Accepted {
        server_id: standing.id.clone(),
        cluster_uid: shared.cluster_uid.clone(),
        heartbeat_milliseconds: u64::try_from(shared.timing.heartbeat.as_millis()).unwrap_or(u64::MAX),
        missed_heartbeats: shared.timing.missed.into(),
    };
    let first = answer(Message::Accepted(accepted));
    let offer = Stage::Offered(Offer { shared, hello, standing, inbound });
    let rest = futures::stream::unfold(Some(offer), |stage| async move {
        let (message, stage) = stage?.next().await?;
        let more = message.is_ok().then_some(stage);
        Some((message.map_err(|why| to_grpc(&why)), more))
    });
    Ok(futures::stream::once(async { Ok(first) }).chain(rest).boxed())
}

/// How far a session is.
enum Stage {
    Offered(Offer),
    Open(Live),
}

impl Stage {
    /// What the agent is sent next; none when the session is over on the agent's side.
    async fn next(self) -> Option<(Result<v1::ServerMessage, Status>, Self)> {
        match self {
            Self::Offered(mut offer) => {
                let beat = match offer.first_beat().await? {
                    Ok(beat) => beat,
                    Err(why) => return Some((Err(why), Self::Offered(offer))),
                };
                match offer.put().await {
                    Ok((rev, requests)) => {
                        let Offer { shared, hello, inbound, .. } = offer;
                        let live = Live { shared, node: hello.node, rev, inbound, requests };
                        Some((live.beat(&beat), Self::Open(live)))
                    }
                    Err(why) => Some((Err(why), Self::Offered(offer))),
                }
            }
            Self::Open(mut live) => live.next().await.map(|message| (message, Self::Open(live))),
        }
    }
}

/// A session that was accepted, and whose agent did not show yet that it knows.
struct Offer {
    shared: Arc<Shared>,
    hello: v1::Hello,
    standing: Standing,
    inbound: Inbound,
}

impl Offer {
    async fn first_beat(&mut self) -> Option<Result<v1::Heartbeat, Status>> {
        let limit = self.shared.timing.silence;
        match tokio::time::timeout(limit, self.inbound.next()).await {
            Ok(Some(Ok(v1::AgentMessage { message: Some(FromAgent::Heartbeat(beat)) }))) => Some(Ok(beat)),
            Ok(Some(Ok(_))) => {
                Some(Err(Status::new(Reason::BadRequest, "after the hello of a session comes a heartbeat")))
            }
            Ok(Some(Err(_)) | None) => None,
            Err(_) => {
                let why = format!("node `{}` said nothing for {limit:?} after its hello", self.hello.node);
                Some(Err(Status::new(Reason::Unavailable, why)))
            }
        }
    }

    /// Makes the session known: in the store, and here.
    async fn put(&mut self) -> Result<(Rev, mpsc::Receiver<Result<Message, Status>>), Status> {
        berth_failpoint::reach("server.session.before");
        let rev = put(&self.shared, &self.hello, &self.standing).await?;
        berth_failpoint::reach("server.session.put");
        let (agent, requests) = mpsc::channel(WAITING);
        let session = Open {
            rev,
            server: self.standing.id.clone(),
            node_uid: self.hello.node_uid.clone(),
            heard: Instant::now(),
            agent: Some(agent),
        };
        self.shared.sessions().insert(&self.hello.node, session);
        tracing::info!(node = self.hello.node, number = self.hello.number, "session opened");
        Ok((rev, requests))
    }
}

/// The session's key as it is now; refused where the one that is asked for may not follow it.
async fn before(shared: &Shared, hello: &v1::Hello) -> Result<Option<Kv>, Status> {
    let store = |error| failure(&error);
    match node_uid(shared, &hello.node).await.map_err(store)? {
        Some(uid) if uid == hello.node_uid => {}
        Some(_) | None => return Err(no_such_node(&hello.node, &hello.node_uid)),
    }
    let before = get(shared, &keys::session(&hello.node)).await.map_err(store)?;
    let held = before.as_ref().and_then(read::<SessionValue>).filter(|held| held.node_uid == hello.node_uid);
    match held.filter(|held| held.number >= hello.number) {
        Some(held) => Err(newer_exists(hello, held.number)),
        None => Ok(before),
    }
}

/// Puts the session's key: unchanged since it was read, with a larger number, while this server is known.
async fn put(shared: &Shared, hello: &v1::Hello, standing: &Standing) -> Result<Rev, Status> {
    let before = before(shared, hello).await?;
    let key = keys::session(&hello.node);
    let unchanged = |kv: &Kv| Must::BeUnchangedSince(kv.mod_rev);
    let value = SessionValue {
        server: standing.id.clone(),
        node_uid: hello.node_uid.clone(),
        boot_id: hello.boot_id.clone(),
        number: hello.number,
    };
    let value = serde_json::to_vec(&value).expect("a session's value is always JSON");
    let group = Group {
        conditions: vec![
            Condition { key: key.clone(), must: before.as_ref().map_or(Must::BeAbsent, unchanged) },
            Condition { key: keys::server(&standing.id), must: Must::BeUnchangedSince(standing.rev) },
        ],
        writes: vec![Write::Put { key, value: value.into(), lease: 0 }],
    };
    match shared
        .committer
        .carry_out(Submission { group, urgency: Urgency::Upkeep, ..Submission::default() }, &author())
        .await
        .map_err(|error| failure(&error))?
    {
        Ended::Applied { rev, .. } => Ok(rev),
        Ended::Conflict { .. } | Ended::Unclear { .. } => {
            let message = format!("the session of node `{}` changed meanwhile; try again", hello.node);
            Err(Status::new(Reason::Unavailable, message))
        }
    }
}

/// The two directions of an open session.
struct Live {
    shared: Arc<Shared>,
    node: String,
    rev: Rev,
    inbound: Inbound,
    requests: mpsc::Receiver<Result<Message, Status>>,
}

impl Live {
    /// What the agent is sent next; none when the session is over on the agent's side.
    async fn next(&mut self) -> Option<Result<v1::ServerMessage, Status>> {
        loop {
            tokio::select! {
                request = self.requests.recv() => {
                    return Some(match request {
                        Some(request) => request.map(answer),
                        None => Err(not_ours(&self.node)),
                    });
                }
                message = self.inbound.next() => match message? {
                    Ok(v1::AgentMessage { message: Some(FromAgent::Heartbeat(beat)) }) => {
                        return Some(self.beat(&beat));
                    }
                    // A second hello, or a message of a newer agent: nothing to answer.
                    Ok(v1::AgentMessage { message: Some(FromAgent::Hello(_)) | None }) => {}
                    Err(_) => return None,
                }
            }
        }
    }

    fn beat(&self, beat: &v1::Heartbeat) -> Result<v1::ServerMessage, Status> {
        let margin = self.shared.timing.answer_margin;
        let standing = self.shared.valid_standing(margin).ok_or_else(not_known)?;
        let mut sessions = self.shared.sessions();
        let is_same_server = sessions.get(&self.node).is_some_and(|open| open.server == standing.id);
        if !is_same_server || sessions.heard(&self.node, self.rev).is_none() {
            return Err(not_ours(&self.node));
        }
        Ok(answer(Message::Heartbeat(v1::HeartbeatAnswer { sequence: beat.sequence })))
    }
}

fn answer(message: Message) -> v1::ServerMessage {
    v1::ServerMessage { message: Some(message) }
}

fn not_known() -> Status {
    Status::new(
        Reason::Unavailable,
        "this server cannot keep sessions at present: it is not sure of its own key",
    )
}

fn not_ours(node: &str) -> Status {
    Status::new(Reason::Unavailable, format!("the session of node `{node}` is not this server's any more"))
}

/// The Node is not there, or another incarnation of it.
pub(super) fn no_such_node(node: &str, uid: &str) -> Status {
    Status::new(Reason::NotFound, format!("node `{node}` with uid {uid} was not found")).about("Node", node)
}

fn newer_exists(hello: &v1::Hello, number: u64) -> Status {
    let message = format!("node `{}` has session {number}, asked for was {}", hello.node, hello.number);
    Status::new(Reason::Conflict, message).about("Node", &hello.node)
}
