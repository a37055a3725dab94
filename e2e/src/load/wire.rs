//! A bare connection to one apiserver. Nothing is asked twice and nothing is resumed here: what went wrong is what is
//! to be seen.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use berth_proto::v1 as wire;
use berth_proto::v1::outcome::Result as Ended;
use berth_proto::v1::resources_client::ResourcesClient;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

/// How long an answer is waited for, and by those in haste.
const PATIENCE: Duration = Duration::from_secs(5);
const HASTE: Duration = Duration::from_secs(1);
/// Silence of a connection after which its peer is asked for a sign of life, and how long that may take.
const SILENCE: Duration = Duration::from_secs(2);
/// The most bytes of a message.
const LARGEST: usize = 64 << 20;

/// One kind of object as requests and the store name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// As `berth.dev/v1`.
    pub api_version: &'static str,
    /// As `App`.
    pub kind: &'static str,
    /// Its folder in the store, as `/berth/berth.dev/apps/`.
    pub folder: &'static str,
}

/// Generations of templates; without an owner nobody but their clients looks at them.
pub const REVISION: Kind =
    Kind { api_version: "berth.dev/v1", kind: "Revision", folder: "/berth/berth.dev/revisions/" };
/// Applications.
pub const APP: Kind = Kind { api_version: "berth.dev/v1", kind: "App", folder: "/berth/berth.dev/apps/" };
/// Placed units.
pub const TASK: Kind = Kind { api_version: "berth.dev/v1", kind: "Task", folder: "/berth/berth.dev/tasks/" };
/// Machines.
pub const NODE: Kind = Kind { api_version: "berth.dev/v1", kind: "Node", folder: "/berth/berth.dev/nodes/" };

impl Kind {
    /// As requests name it.
    pub fn wire(self) -> wire::Kind {
        wire::Kind { api_version: self.api_version.into(), kind: self.kind.into() }
    }
}

/// Why there is no answer, or which one it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whether it happened all the same.
    pub sure: Sure,
    /// The server's reason, or `Transport`.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// Where a list that cannot go on as it was may go on.
    pub goes_on: String,
}

/// Whether a call that failed was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sure {
    /// It was not.
    NotDone,
    /// Nobody knows.
    Unknown,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

/// A server.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub name: String,
    api: ResourcesClient<Channel>,
    patience: Duration,
}

impl Peer {
    /// The server at `unix:PATH`; the connection is opened when it is used. Within a runtime.
    ///
    /// # Panics
    /// For another kind of address.
    pub fn new(address: &str) -> Self {
        let path = PathBuf::from(address.strip_prefix("unix:").expect("a world's servers listen on sockets"));
        let connect = service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The address only fills a header; the connector knows the socket.
        let channel = Endpoint::from_static("http://localhost")
            .connect_timeout(PATIENCE)
            .http2_keep_alive_interval(SILENCE)
            .keep_alive_timeout(SILENCE)
            .keep_alive_while_idle(true)
            .connect_with_connector_lazy(connect);
        let api = ResourcesClient::new(channel).max_decoding_message_size(LARGEST);
        Self { name: address.into(), api, patience: PATIENCE }
    }

    /// The same server, asked by somebody who soon gives a call up.
    pub fn hasty(self) -> Self {
        Self { patience: HASTE, ..self }
    }

    /// Carries one write out; the object then.
    pub async fn write(&self, verb: wire::write::Verb, write: wire::Write) -> Result<Value, Failure> {
        use wire::write::Verb;
        let mut api = self.api.clone();
        let answered = timed(self.patience, async move {
            match verb {
                Verb::Create => api.create(write).await,
                Verb::Update => api.update(write).await,
                Verb::UpdateStatus => api.update_status(write).await,
                Verb::Patch | Verb::PatchStatus => api.patch(write).await,
                Verb::Apply | Verb::ApplyStatus => api.apply(write).await,
                Verb::Delete => api.delete(write).await,
                Verb::Unspecified => unreachable!("every write of the load has a verb"),
            }
        });
        read(&answered.await?.json)
    }

    /// Carries many writes out; what became of each.
    pub async fn batch(&self, batch: wire::BatchRequest) -> Result<Vec<Result<Value, Failure>>, Failure> {
        let mut api = self.api.clone();
        let answer = timed(self.patience, async move { api.batch(batch).await }).await?;
        let outcome = |outcome: wire::Outcome| match outcome.result {
            Some(Ended::Json(json)) => read(&json),
            Some(Ended::Status(status)) => Err(Failure::read(&status).unwrap_or_else(Failure::unreadable)),
            None => Err(Failure::unreadable()),
        };
        Ok(answer.outcomes.into_iter().map(outcome).collect())
    }

    /// One object.
    pub async fn get(&self, key: wire::ObjectKey) -> Result<Value, Failure> {
        let mut api = self.api.clone();
        let request = wire::GetRequest { key: Some(key) };
        read(&timed(self.patience, async move { api.get(request).await }).await?.json)
    }

    /// A page of objects.
    pub async fn list(&self, request: wire::ListRequest) -> Result<wire::ListResponse, Failure> {
        let mut api = self.api.clone();
        timed(self.patience, async move { api.list(request).await }).await
    }

    /// Opens a watch.
    pub async fn watch(
        &self,
        request: wire::WatchRequest,
    ) -> Result<tonic::Streaming<wire::WatchResponse>, Failure> {
        let mut api = self.api.clone();
        timed(self.patience, async move { api.watch(request).await }).await
    }
}

async fn timed<T>(
    patience: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(patience, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(grpc)) => Err(Failure::of(&grpc)),
        Err(_) => Err(Failure::transport(Sure::Unknown, format!("no answer within {patience:?}"))),
    }
}

fn read(json: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(json).map_err(|_| Failure::unreadable())
}

impl Failure {
    /// What a refused or broken call tells.
    pub fn of(grpc: &tonic::Status) -> Self {
        if let Some(failure) = Self::read(grpc.details()) {
            return failure;
        }
        let never_sent = causes(grpc).any(|cause| cause.is::<tonic::ConnectError>());
        let sure = if never_sent { Sure::NotDone } else { Sure::Unknown };
        let root = causes(grpc).last().map_or_else(|| grpc.message().to_string(), ToString::to_string);
        Self::transport(sure, format!("{:?}: {root}", grpc.code()))
    }

    /// Reads a Status. It says itself whether something may have happened.
    fn read(status: &[u8]) -> Option<Self> {
        let status: Value = serde_json::from_slice(status).ok()?;
        let reason = status["reason"].as_str()?;
        let sure = match reason {
            "Timeout" | "InternalError" => Sure::Unknown,
            _ => Sure::NotDone,
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        Some(Self {
            sure,
            reason: reason.into(),
            message: text(&status["message"]),
            goes_on: text(&status["metadata"]["continue"]),
        })
    }

    fn transport(sure: Sure, message: String) -> Self {
        Self { sure, reason: "Transport".into(), message, goes_on: String::new() }
    }

    fn unreadable() -> Self {
        Self::transport(Sure::Unknown, "the answer cannot be read".into())
    }

    /// A batch was answered with fewer outcomes than it has writes.
    pub(super) fn short() -> Self {
        Self::transport(Sure::Unknown, "the answer has another number of outcomes".into())
    }

    /// Whether another server may answer, or this one later.
    pub fn may_pass(&self) -> bool {
        matches!(self.reason.as_str(), "Transport" | "Unavailable" | "TooManyRequests" | "Timeout")
    }
}

fn causes(grpc: &tonic::Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(grpc), |cause| cause.source())
}
