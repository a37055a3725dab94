//! A node agent's session with one apiserver: heartbeats there, requests for logs back.

use std::sync::Arc;
use std::time::Duration;

use berth_proto::v1;
use berth_proto::v1::agent_message::Message as FromAgent;
use berth_proto::v1::server_message::Message;
use berth_types::status::{Reason, Status};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::client::nodes;
use crate::endpoint::Endpoint;
use crate::error::{Error, Failure};
use crate::failover::{Resend, Servers};
use crate::messages::LogsQuery;

/// Between two heartbeats, at a server that does not say.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Heartbeats without an answer until another server is asked, at a server that does not say.
const MISSED: u64 = 3;

/// Who opens a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Name of the Node.
    pub node: String,
    /// uid of the Node.
    pub node_uid: String,
    /// Boot id of the machine.
    pub boot_id: String,
    /// Larger than that of every session the agent opened before; journalled first.
    pub number: u64,
}

/// What the server says in a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromServer {
    /// It heard this heartbeat, and the session is its own.
    HeartbeatAnswered {
        /// Of the heartbeat.
        sequence: u64,
    },
    /// Somebody wants to read a log: answer through [`Tunnels::open`].
    OpenLogs(OpenLogs),
}

/// A request for a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenLogs {
    /// Of the request; the tunnel carries it back.
    pub id: String,
    /// uid of the Task.
    pub task_uid: String,
    /// Which log.
    pub logs: LogsQuery,
}

/// An open session. Dropping it closes it.
#[derive(Debug)]
pub struct Session {
    servers: Arc<Servers>,
    endpoint: Endpoint,
    /// The server's id; new with every start.
    pub server_id: String,
    /// The cluster that the server belongs to.
    pub cluster_uid: String,
    /// How often the server wants to hear.
    pub heartbeat: Duration,
    /// After this many heartbeats without an answer another server is to be asked.
    pub missed: u64,
    to_server: mpsc::Sender<v1::AgentMessage>,
    from_server: Streaming<v1::ServerMessage>,
}

impl Session {
    pub(crate) async fn open(servers: Arc<Servers>, hello: &Hello) -> Result<Self, Error> {
        let (endpoint, to_server, mut from_server) = servers
            .call(Resend::Safe, |endpoint| {
                let hello = hello.wire();
                async move {
                    let (to_server, receiver) = mpsc::channel(16);
                    let first = v1::AgentMessage { message: Some(FromAgent::Hello(hello)) };
                    to_server.try_send(first).expect("a new channel has room");
                    let opened = nodes(endpoint.clone()).session(ReceiverStream::new(receiver)).await?;
                    Ok(tonic::Response::new((endpoint, to_server, opened.into_inner())))
                }
            })
            .await?;
        let answer = tokio::time::timeout(servers.options.attempt_timeout, from_server.message()).await;
        let failure = match answer {
            Ok(Ok(Some(v1::ServerMessage { message: Some(Message::Accepted(accepted)) }))) => {
                return Ok(Self {
                    servers,
                    endpoint,
                    server_id: accepted.server_id,
                    cluster_uid: accepted.cluster_uid,
                    heartbeat: told(accepted.heartbeat_milliseconds).map_or(HEARTBEAT, Duration::from_millis),
                    missed: told(accepted.missed_heartbeats).unwrap_or(MISSED),
                    to_server,
                    from_server,
                });
            }
            Ok(Ok(_)) => Failure::Declined(Status::new(
                Reason::Unavailable,
                format!("{} opened no session", endpoint.name),
            )),
            Ok(Err(grpc)) => Failure::of(&grpc, &endpoint.name),
            Err(_) => Failure::timed_out(&endpoint.name),
        };
        if failure.may_pass() {
            servers.leave(&endpoint);
        }
        Err(failure.into_status().into())
    }

    /// Sends a heartbeat; the answer comes from [`Self::next`].
    pub async fn heartbeat(&self, sequence: u64) -> Result<(), Error> {
        let beat = v1::AgentMessage { message: Some(FromAgent::Heartbeat(v1::Heartbeat { sequence })) };
        self.to_server.send(beat).await.map_err(|_| self.ended())
    }

    /// What the server says next; an error when the session is over. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<FromServer, Error> {
        loop {
            let message = match self.from_server.message().await {
                Ok(Some(message)) => message.message,
                Ok(None) => return Err(self.ended()),
                Err(grpc) => return Err(Failure::of(&grpc, &self.endpoint.name).into_status().into()),
            };
            match message {
                Some(Message::Heartbeat(beat)) => {
                    return Ok(FromServer::HeartbeatAnswered { sequence: beat.sequence });
                }
                Some(Message::OpenLogs(open)) => return Ok(FromServer::OpenLogs(OpenLogs::read(open))),
                // A message of a newer server is none of ours.
                Some(Message::Accepted(_)) | None => {}
            }
        }
    }

    /// The tunnels of this session: a log must go back to the server that asked for it.
    pub fn tunnels(&self) -> Tunnels {
        Tunnels { endpoint: self.endpoint.clone() }
    }

    /// Closes the session for silence of the server: the next one is opened at the endpoint after it.
    pub fn leave(self) {
        self.servers.leave(&self.endpoint);
    }

    fn ended(&self) -> Error {
        let message = format!("session with {} ended", self.endpoint.name);
        Error::Unavailable(Status::new(Reason::Unavailable, message))
    }
}

fn told(value: u64) -> Option<u64> {
    (value > 0).then_some(value)
}

/// Opens tunnels to the server of one session.
#[derive(Debug, Clone)]
pub struct Tunnels {
    endpoint: Endpoint,
}

impl Tunnels {
    /// Sends what was asked for by `id`, until the stream ends or the reader goes away. An `Err` item ends it and is
    /// what the reader is told.
    pub async fn open(
        &self,
        id: &str,
        chunks: impl Stream<Item = Result<Bytes, String>> + Send + 'static,
    ) -> Result<(), Error> {
        let first = v1::TunnelChunk { id: id.to_owned(), ..Default::default() };
        let rest = chunks.map(|chunk| match chunk {
            Ok(data) => v1::TunnelChunk { data, ..Default::default() },
            Err(error) => v1::TunnelChunk { error, ..Default::default() },
        });
        let last = v1::TunnelChunk { ends: true, ..Default::default() };
        let all = futures::stream::iter([first]).chain(rest).chain(futures::stream::iter([last]));
        match nodes(self.endpoint.clone()).tunnel(all).await {
            Ok(_) => Ok(()),
            Err(grpc) => Err(Failure::of(&grpc, &self.endpoint.name).into_status().into()),
        }
    }
}

impl Hello {
    fn wire(&self) -> v1::Hello {
        v1::Hello {
            node: self.node.clone(),
            node_uid: self.node_uid.clone(),
            boot_id: self.boot_id.clone(),
            number: self.number,
        }
    }
}

impl OpenLogs {
    fn read(wire: v1::OpenLogs) -> Self {
        let request = wire.request.unwrap_or_default();
        Self {
            id: wire.id,
            task_uid: request.task_uid,
            logs: LogsQuery {
                namespace: request.namespace,
                task: request.task,
                container: request.container,
                follow: request.follow,
                previous: request.previous,
                tail_lines: request.tail_lines,
            },
        }
    }
}
