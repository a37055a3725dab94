//! Logs of a Task's container: through the session of its node, at whichever server that is.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use berth_proto::v1::nodes_client::NodesClient;
use berth_proto::v1::server_message::Message;
use berth_proto::v1::{LogChunk, LogsRequest, OpenLogs};
use berth_proto::{from_grpc, to_grpc};
use berth_types::{Reason, Status};
use futures::{Stream, StreamExt};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use super::follow::get;
use super::keys::{self, TaskValue, read};
use super::tunnels::Expected;
use super::{Shared, failure};

/// Marks a request that came from another server: it goes no further.
pub(super) const FORWARDED: &str = "berth-forwarded";
/// For reaching another server.
const CONNECT: Duration = Duration::from_secs(3);

/// What a reader gets.
pub(super) type Chunks = Pin<Box<dyn Stream<Item = Result<LogChunk, tonic::Status>> + Send>>;

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Client,
    OtherServer,
}

/// The log that the request names.
pub(super) async fn open(shared: &Arc<Shared>, request: LogsRequest, from: From) -> Result<Chunks, Status> {
    let (node, request) = locate(shared, request).await?;
    let session = shared.roll().session(&node).cloned();
    let me = shared.standing.borrow().as_ref().map(|standing| standing.id.clone());
    match session {
        Some(session) if Some(&session.value.server) == me.as_ref() => here(shared, &node, request).await,
        Some(session) if from == From::Client => {
            let endpoints = shared.roll().endpoints(&session.value.server).map(<[String]>::to_vec);
            elsewhere(endpoints.ok_or_else(|| away(&node))?, request).await
        }
        Some(_) | None => Err(away(&node)),
    }
}

/// The node that the Task is bound to, and the request with the Task's uid.
async fn locate(shared: &Shared, mut request: LogsRequest) -> Result<(String, LogsRequest), Status> {
    let (namespace, name) = (&request.namespace, &request.task);
    let stored = get(shared, &keys::task(namespace, name)).await.map_err(|error| failure(&error))?;
    let Some(task) = stored.as_ref().and_then(read::<TaskValue>) else {
        return Err(Status::new(Reason::NotFound, format!("Task `{name}` was not found")).about("Task", name));
    };
    if task.spec.node_name.is_empty() {
        let message = format!("task `{name}` has no log yet: it is not placed on a node");
        return Err(Status::new(Reason::BadRequest, message).about("Task", name));
    }
    request.task_uid = task.metadata.uid;
    Ok((task.spec.node_name, request))
}

async fn here(shared: &Arc<Shared>, node: &str, request: LogsRequest) -> Result<Chunks, Status> {
    let agent = shared.sessions().get(node).and_then(|open| open.agent.clone()).ok_or_else(|| away(node))?;
    let mut tunnel = shared.tunnels.expect();
    let asked = OpenLogs { id: tunnel.id.clone(), request: Some(request) };
    agent.try_send(Ok(Message::OpenLogs(asked))).map_err(|_| away(node))?;
    match timeout(shared.timing.tunnel_within, tunnel.next()).await {
        Ok(Some(first)) => Ok(chunks(first?, tunnel)),
        Ok(None) | Err(_) => {
            let message = format!("the agent of node `{node}` did not open the log in time");
            Err(Status::new(Reason::Unavailable, message))
        }
    }
}

fn chunks(first: bytes::Bytes, tunnel: Expected) -> Chunks {
    let rest = futures::stream::unfold(Some(tunnel), |tunnel| async move {
        let mut tunnel = tunnel?;
        let chunk = tunnel.next().await?;
        // Nothing comes after an error.
        let more = chunk.is_ok().then_some(tunnel);
        Some((chunk, more))
    });
    let all = futures::stream::once(async move { Ok(first) }).chain(rest);
    all.filter_map(|chunk| async move {
        match chunk {
            Ok(data) if data.is_empty() => None,
            Ok(data) => Some(Ok(LogChunk { data })),
            Err(why) => Some(Err(to_grpc(&why))),
        }
    })
    .boxed()
}

/// Asks the server that has the session, at the first of its addresses that answers.
async fn elsewhere(endpoints: Vec<String>, request: LogsRequest) -> Result<Chunks, Status> {
    let mut last =
        Status::new(Reason::Unavailable, "the server that has the node's session names no address");
    for endpoint in endpoints {
        let channel = match connect(&endpoint).await {
            Ok(channel) => channel,
            Err(why) => {
                last = Status::new(Reason::Unavailable, format!("could not reach server {endpoint}: {why}"));
                continue;
            }
        };
        let mut forwarded = tonic::Request::new(request);
        forwarded.metadata_mut().insert(FORWARDED, MetadataValue::from_static("1"));
        let answer = NodesClient::new(channel).logs(forwarded).await.map_err(|grpc| from_grpc(&grpc))?;
        return Ok(answer.into_inner().boxed());
    }
    Err(last)
}

async fn connect(address: &str) -> Result<Channel, String> {
    let text = |error: tonic::transport::Error| error.to_string();
    let Some(path) = address.strip_prefix("unix:") else {
        let endpoint = Endpoint::from_shared(address.to_owned()).map_err(text)?;
        return endpoint.connect_timeout(CONNECT).connect().await.map_err(text);
    };
    let path = PathBuf::from(path);
    let socket = service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://localhost").connect_timeout(CONNECT);
    endpoint.connect_with_connector(socket).await.map_err(text)
}

fn away(node: &str) -> Status {
    let message = format!("node `{node}` is not connected at present; try again when it is back");
    Status::new(Reason::Unavailable, message).about("Node", node)
}
