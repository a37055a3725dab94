//! Which nodes are present, as one apiserver believes.

use std::sync::Arc;
use std::time::Duration;

use berth_proto::v1;
use tokio::time::Instant;
use tonic::Streaming;

use crate::client::nodes;
use crate::endpoint::Endpoint;
use crate::error::{Error, Failure};
use crate::failover::{Backoff, Servers};

/// What a presence stream delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// The stream broke: nothing is known until the next `All`, perhaps from another server.
    Lost,
    /// All nodes that the server knows.
    All {
        /// Whether the server may be judged by: false shortly after its start and while it is cut off.
        believed: bool,
        /// Each node once.
        nodes: Vec<NodePresence>,
    },
    /// What changed since.
    Changes {
        /// Whether the server may be judged by now.
        believed: bool,
        /// Each changed node once.
        nodes: Vec<NodePresence>,
    },
}

/// Whether one node is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePresence {
    /// Name of the node.
    pub node: String,
    /// Its uid.
    pub node_uid: String,
    /// What is known of it.
    pub state: PresenceState,
}

/// What is known of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresenceState {
    /// Its agent has a session.
    Present,
    /// Its agent has had none for this long, as the server measured when it said so.
    Absent(Duration),
    /// There is no such Node any more.
    Removed,
}

/// Follows which nodes are present; see [`crate::Client::presence`]. Dropping it ends it.
#[derive(Debug)]
pub struct PresenceStream {
    servers: Arc<Servers>,
    stream: Option<(Endpoint, Streaming<v1::PresenceReport>, Told)>,
    backoff: Backoff,
    not_before: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    All,
}

impl PresenceStream {
    pub(crate) fn new(servers: Arc<Servers>) -> Self {
        let backoff = servers.backoff();
        Self { servers, stream: None, backoff, not_before: Instant::now() }
    }

    /// The next report. Opens the stream again when it broke; fails only for what waiting does not heal.
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Presence, Error> {
        loop {
            let Some((endpoint, stream, told)) = &mut self.stream else {
                self.open().await?;
                continue;
            };
            let failure = match stream.message().await {
                Ok(Some(report)) => {
                    self.backoff.reset();
                    let told = std::mem::replace(told, Told::All);
                    return Ok(Presence::read(report, told));
                }
                Ok(None) => Failure::timed_out(&endpoint.name),
                Err(grpc) => Failure::of(&grpc, &endpoint.name),
            };
            let (endpoint, told) = (endpoint.clone(), *told);
            self.leave(&endpoint, failure)?;
            if told == Told::All {
                return Ok(Presence::Lost);
            }
        }
    }

    async fn open(&mut self) -> Result<(), Error> {
        tokio::time::sleep_until(self.not_before).await;
        let endpoint = self.servers.current();
        let mut api = nodes(endpoint.clone());
        let call = api.presence(v1::PresenceRequest {});
        let failure = match tokio::time::timeout(self.servers.options.attempt_timeout, call).await {
            Ok(Ok(response)) => {
                self.stream = Some((endpoint, response.into_inner(), Told::Nothing));
                return Ok(());
            }
            Ok(Err(grpc)) => Failure::of(&grpc, &endpoint.name),
            Err(_) => Failure::timed_out(&endpoint.name),
        };
        self.leave(&endpoint, failure)
    }

    fn leave(&mut self, endpoint: &Endpoint, failure: Failure) -> Result<(), Error> {
        self.stream = None;
        let may_pass = failure.may_pass();
        let status = failure.into_status();
        self.not_before = Instant::now() + self.backoff.pause(&status);
        if !may_pass {
            return Err(status.into());
        }
        self.servers.leave(endpoint);
        Ok(())
    }
}

impl Presence {
    fn read(report: v1::PresenceReport, told: Told) -> Self {
        let believed = report.believed;
        let nodes = report.nodes.into_iter().map(NodePresence::read).collect();
        match told {
            Told::Nothing => Self::All { believed, nodes },
            Told::All => Self::Changes { believed, nodes },
        }
    }
}

impl NodePresence {
    fn read(wire: v1::NodePresence) -> Self {
        let state = match (wire.removed, wire.present) {
            (true, _) => PresenceState::Removed,
            (false, true) => PresenceState::Present,
            (false, false) => PresenceState::Absent(Duration::from_millis(wire.absent_milliseconds)),
        };
        Self { node: wire.node, node_uid: wire.node_uid, state }
    }
}
