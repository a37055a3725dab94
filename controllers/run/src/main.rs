//! bin `controllers`: reads its configuration and runs the controllers it is told to, each with its own Lease, so that
//! any number of these processes may stand by for each other.

mod config;

use std::process::ExitCode;

use berth_builtin::caches::Caches;
use berth_builtin::{app, garbage, node};
use berth_client::Client;
use berth_daemon::AnyError;
use berth_runtime::LeaseTerms;
use clap::Parser;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::{Config, Flags, Leading, Name};

/// Why this process ends when the store was restored: caches, epochs and awaited versions are of another history. It
/// gives back no Lease, for it holds none in this one.
const OTHER_HISTORY: &str = "the store was restored or replaced: this process starts anew";

/// Where the controllers' Leases are.
const LEASES: &str = "berth-system";

#[tokio::main]
async fn main() -> ExitCode {
    match berth_daemon::begin(|| Config::read(Flags::parse())) {
        Ok(config) => berth_daemon::end(run(config).await),
        Err(code) => code,
    }
}

async fn run(config: Config) -> Result<(), AnyError> {
    let told = berth_daemon::told_to_end()?;
    let client = Client::with_options(&config.server, config.client.clone())?;
    let caches = Caches::new(client.clone());
    let (stop, stopping) = watch::channel(());
    let mut running = JoinSet::new();
    for name in &config.only {
        start(*name, &config, &client, &caches, ends(&stopping), &mut running);
    }
    tracing::info!(controllers = ?config.only, server = ?config.server, "controllers run");
    let ended = tokio::select! {
        () = told => None,
        () = client.store_replaced() => return Err(OTHER_HISTORY.into()),
        Some(ended) = running.join_next() => Some(ended),
    };
    drop(stop);
    while running.join_next().await.is_some() {}
    tracing::info!("controllers end");
    match ended {
        // A panic: the process begins anew, with a state that can be trusted.
        Some(Err(error)) => Err(error.into()),
        Some(Ok(())) => Err("a controller ended by itself".into()),
        None => Ok(()),
    }
}

/// Ends when the other side of the channel is dropped.
fn ends(stopping: &watch::Receiver<()>) -> impl Future<Output = ()> + Send + 'static {
    let mut stopping = stopping.clone();
    async move { while stopping.changed().await.is_ok() {} }
}

fn start(
    name: Name,
    config: &Config,
    client: &Client,
    caches: &Caches,
    stop: impl Future<Output = ()> + Send + 'static,
    running: &mut JoinSet<()>,
) {
    let client = client.clone();
    let lease = |name: &str| match config.leading {
        Leading::ByLease(timing) => Some(LeaseTerms::new(LEASES, name).timing(timing)),
        #[cfg(debug_assertions)]
        Leading::Forced => None,
    };
    match name {
        Name::App => {
            let controller = app::controller(client, caches);
            running.spawn(controller.led(lease(app::NAME)).run(stop));
        }
        Name::Node => {
            let controller = node::controller(client, caches, config.mass_vanish);
            running.spawn(controller.led(lease(node::NAME)).run(stop));
        }
        Name::Garbage => {
            let controller = garbage::controller(client, caches, config.garbage);
            running.spawn(controller.led(lease(garbage::NAME)).run(stop));
        }
        Name::Scheduler => {
            let controller = berth_scheduler::controller(client, &caches.tasks().all, &caches.nodes());
            running.spawn(controller.led(lease(berth_scheduler::NAME)).run(stop));
        }
    }
}
