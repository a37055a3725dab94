//! Where an apiserver listens: a unix socket or a loopback port.

use std::path::PathBuf;

use berth_types::status::{Reason, Status};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Uri};
use tower::service_fn;

use crate::error::Error;
use crate::failover::Options;

/// One apiserver, with its own connection: opened on first use, opened again after it broke.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) name: String,
    pub(crate) channel: Channel,
}

impl Endpoint {
    /// Reads `unix:PATH` or `http://HOST:PORT`. Must be called inside a tokio runtime.
    pub(crate) fn parse(text: &str, options: &Options) -> Result<Self, Error> {
        let channel = match text.strip_prefix("unix:") {
            Some("") => return Err(refuse(text)),
            Some(path) => over_unix(PathBuf::from(path), options),
            None if text.starts_with("http://") => {
                let uri: Uri = text.parse().map_err(|_| refuse(text))?;
                tuned(Channel::builder(uri), options).connect_lazy()
            }
            None => return Err(refuse(text)),
        };
        Ok(Self { name: text.into(), channel })
    }
}

fn refuse(text: &str) -> Error {
    let message = format!("`{text}` is no server address; use unix:PATH or http://127.0.0.1:PORT");
    Error::Invalid(Status::new(Reason::BadRequest, message))
}

fn over_unix(path: PathBuf, options: &Options) -> Channel {
    let connect = service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // The address only fills the `:authority` header; the connector knows the socket.
    let builder = Channel::builder(Uri::from_static("http://localhost"));
    tuned(builder, options).connect_with_connector_lazy(connect)
}

/// Pings find a peer that hangs or a link that swallows packets; wide windows let a list through in one go.
fn tuned(endpoint: tonic::transport::Endpoint, options: &Options) -> tonic::transport::Endpoint {
    endpoint
        .connect_timeout(options.connect_timeout)
        .http2_keep_alive_interval(options.keepalive)
        .keep_alive_timeout(options.keepalive_answer)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(8 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_a_socket_or_a_loopback_port() {
        let options = Options::default();
        for good in ["unix:/run/berth/api.sock", "unix:api.sock", "http://127.0.0.1:7443"] {
            assert_eq!(Endpoint::parse(good, &options).unwrap().name, good);
        }
        for bad in ["", "unix:", "/run/berth/api.sock", "127.0.0.1:7443", "https://x"] {
            assert!(matches!(Endpoint::parse(bad, &options), Err(Error::Invalid(_))), "{bad}");
        }
    }
}
