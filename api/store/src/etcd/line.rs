//! The line to a member: connections that are never opened again by themselves. Behind one of them answers one process
//! all along, so it is enough to ask once which history that is; the process that comes after a restore is asked again,
//! before anything is sent to it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use etcd_client::{
    Channel, Client, ConnectOptions, KvClient, LeaseClient, MaintenanceClient, ResponseHeader,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tonic::transport::{Endpoint, Uri};
use tower::service_fn;

use super::member::LARGEST_MESSAGE;
use crate::StoreError;

/// A call that waits so long asks the member, again and again, whether its leader still leads.
const RESTLESS: Duration = Duration::from_millis(250);

/// Connections to one member. Leases have one of their own, so that large answers do not delay a renewal.
pub(super) struct Line {
    calls: Client,
    leases: Client,
    /// Set once the member was asked for its history over this line.
    pub(super) proven: OnceCell<()>,
    /// The newest term of a leader that the member told of.
    term: AtomicU64,
}

impl Line {
    /// A line that comes about with its first request.
    pub(super) fn new(endpoint: &Endpoint) -> Result<Self, StoreError> {
        let connected = || client(Channel::Tonic(endpoint.connect_with_connector_lazy(once())));
        Ok(Self {
            calls: connected()?,
            leases: connected()?,
            proven: OnceCell::new(),
            term: AtomicU64::new(0),
        })
    }

    pub(super) fn kv(&self) -> KvClient {
        self.calls.kv_client().max_decoding_message_size(LARGEST_MESSAGE)
    }

    pub(super) fn maintenance(&self) -> MaintenanceClient {
        self.calls.maintenance_client()
    }

    pub(super) fn lease(&self) -> LeaseClient {
        self.leases.lease_client()
    }

    /// The member answered with this.
    pub(super) fn told(&self, header: Option<&ResponseHeader>) {
        let term = header.map_or(0, ResponseHeader::raft_term);
        self.term.fetch_max(term, Ordering::SeqCst);
    }

    /// Ends with the reason once the leader of now leads no more. A member passes a write on to its leader and waits: of
    /// a leader that died it hears nothing more, and keeps silent for 7 s.
    pub(super) async fn loses_leader(&self) -> String {
        let before = self.term.load(Ordering::SeqCst);
        loop {
            tokio::time::sleep(RESTLESS).await;
            // A member that does not answer this is judged by the call that waits.
            let Ok(status) = self.calls.maintenance_client().status().await else { continue };
            if status.leader() == 0 {
                return "etcd lost its leader meanwhile".into();
            }
            if status.raft_term() > before {
                self.term.fetch_max(status.raft_term(), Ordering::SeqCst);
                return "etcd has had another leader meanwhile".into();
            }
        }
    }
}

/// A client over a channel; nothing is sent yet.
pub(super) fn client(channel: Channel) -> Result<Client, StoreError> {
    let options = ConnectOptions::new().with_require_leader(true);
    let made = futures::FutureExt::now_or_never(Client::from_channel(channel, Some(options)));
    match made.expect("without a user nothing is sent") {
        Ok(client) => Ok(client),
        Err(error) => Err(StoreError::BadCall(error.to_string())),
    }
}

/// Connects once; whoever wants another connection wants another line.
fn once() -> impl tower::Service<
    Uri,
    Response = TokioIo<TcpStream>,
    Error = io::Error,
    Future = impl Future<Output = io::Result<TokioIo<TcpStream>>> + Send,
> + Send
+ 'static {
    let used = Arc::new(AtomicBool::new(false));
    service_fn(move |uri: Uri| {
        let was_used = used.swap(true, Ordering::SeqCst);
        async move {
            if was_used {
                return Err(io::Error::new(io::ErrorKind::NotConnected, "the connection broke"));
            }
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        }
    })
}
