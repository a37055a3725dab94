//! bin `apiserver`: reads its configuration, opens the store, serves until it is told to end.

mod config;
#[cfg(debug_assertions)]
mod raw_history;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use berth_daemon::AnyError;
use berth_proto::v1::resources_server::ResourcesServer;
use berth_server::listen::{self, Listener, Place};
use berth_server::{Nodes, ResourcesFace, Server};
use berth_store::{EmbeddedStore, EtcdStore, Store};
use berth_types::SteadyClock;
use clap::Parser;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::server::Router;

use crate::config::{Config, Flags, Pings, StorePlace};

/// How long open calls may take to end.
const FAREWELL: Duration = Duration::from_secs(2);
/// The most bytes of one message from a client.
const MOST_BYTES: usize = 3 << 20;

#[tokio::main]
async fn main() -> ExitCode {
    match berth_daemon::begin(|| Config::read(Flags::parse())) {
        Ok(config) => berth_daemon::end(run(config).await),
        Err(code) => code,
    }
}

async fn run(config: Config) -> Result<(), AnyError> {
    let told = berth_daemon::told_to_end()?;
    let store = open_store(&config).await?;
    #[cfg(debug_assertions)]
    let _history = match &config.raw_history {
        Some(place) => raw_history::serve(store.clone(), place).await?,
        None => JoinSet::new(),
    };
    let mut tasks = JoinSet::new();
    let server = Server::start(store.clone(), Arc::new(SteadyClock), config.options, &mut tasks).await?;
    let addresses = config.listen.iter().map(Place::address).collect();
    let committer = server.writer.committer.clone();
    let nodes = Nodes::start(store, committer, &server.cluster_uid, addresses, config.liveness);
    let mut faces = JoinSet::new();
    for place in &config.listen {
        let listener =
            listen::open(place).await.map_err(|why| format!("could not listen at {place}: {why}"))?;
        faces.spawn(serve(router(&server, &nodes, config.pings), listener, server.ending()));
        tracing::info!("apiserver listens on {place}");
    }
    let broken = tokio::select! {
        () = told => None,
        Some(ended) = tasks.join_next() => Some(ended_early(ended)),
        Some(ended) = faces.join_next() => Some(ended_early(ended)),
    };
    server.end();
    let farewell = async {
        if let Err(error) = nodes.stop().await {
            tracing::warn!(%error, "this server's key stays in the store until its lease runs out");
        }
        while faces.join_next().await.is_some() {}
    };
    if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
        tracing::debug!("some calls did not end in time");
    }
    tracing::info!("apiserver ends");
    broken.map_or(Ok(()), Err)
}

fn ended_early<E: Into<AnyError>>(ended: Result<Result<(), E>, tokio::task::JoinError>) -> AnyError {
    match ended {
        Ok(Ok(())) => "a part of the server ended by itself".into(),
        Ok(Err(error)) => error.into(),
        Err(panicked) => panicked.into(),
    }
}

async fn open_store(config: &Config) -> Result<Arc<dyn Store>, AnyError> {
    Ok(match &config.store {
        StorePlace::Memory => Arc::new(EmbeddedStore::memory()),
        StorePlace::Embedded(folder) => Arc::new(EmbeddedStore::open(folder)?),
        StorePlace::Etcd(endpoints) => Arc::new(EtcdStore::connect(endpoints, config.etcd).await?),
    })
}

fn router(server: &Arc<Server>, nodes: &Nodes, pings: Pings) -> Router {
    let resources = ResourcesServer::new(ResourcesFace(server.clone()))
        .max_decoding_message_size(MOST_BYTES)
        .max_encoding_message_size(usize::MAX);
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(pings.every))
        .http2_keepalive_timeout(Some(pings.answer))
        .add_service(resources)
        .add_service(nodes.service())
}

async fn serve(
    router: Router,
    listener: Listener,
    mut ending: tokio::sync::watch::Receiver<bool>,
) -> Result<(), tonic::transport::Error> {
    let ended = async move {
        // An error means that the server itself is gone, which ends this too.
        let _ = ending.wait_for(|ending| *ending).await;
    };
    match listener {
        Listener::Unix(listener) => {
            router.serve_with_incoming_shutdown(UnixListenerStream::new(listener), ended).await
        }
        Listener::Tcp(listener) => {
            let at_once = TcpListenerStream::new(listener)
                .map(|accepted| accepted.and_then(|stream| stream.set_nodelay(true).map(|()| stream)));
            router.serve_with_incoming_shutdown(at_once, ended).await
        }
    }
}
