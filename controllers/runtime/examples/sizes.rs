//! Sizes: keeps the label `example.dev/size` on every App: `small`, `medium` or `large`, by its replicas.
//! Reads Apps. Writes their label `example.dev/size`. Wakes on Apps.
//! Promises: the label says the truth once the App was seen. Safe to kill at any point, safe to run many times.
//! Leaves alone: everything else of an App.
//!
//! A whole controller: copy it and change `size`. Run it with
//! `cargo run --example sizes -- unix:/run/berth/api.sock`, then look: `ctl get apps -l example.dev/size=small`.

use berth_client::{Client, Query, Write};
use berth_runtime::{Cache, Controller, Deed, Indexes, Key, LeaseTerms, Reconciler, Work};
use berth_types::Timestamp;
use berth_types::app::App;
use serde_json::json;

const NAME: &str = "example-sizes";
const LABEL: &str = "example.dev/size";

/// The decision: a pure function of what is seen.
fn size(app: &App) -> &'static str {
    match app.spec.replicas.unwrap_or(1) {
        0..=3 => "small",
        4..=20 => "medium",
        21.. => "large",
    }
}

struct Sizes {
    apps: Cache<App>,
}

impl Reconciler for Sizes {
    fn reconcile(&self, key: &Key, _now: Timestamp) -> Work {
        let Some(app) = self.apps.get(key) else { return Work::none() };
        let size = size(&app);
        if app.metadata.deleting() || app.metadata.labels.get(LABEL).is_some_and(|told| told == size) {
            return Work::none();
        }
        let patch = json!({ "metadata": { "labels": { LABEL: size } } });
        // The decision was made on this version: if the App changed meanwhile the write is refused, and its new
        // version, once it is in the cache, is decided on anew.
        let write = Write::patch::<App>(&key.namespace, &key.name, patch).unchanged(&*app);
        Work::waves([vec![Deed::one("label", key.to_string(), format!("it is {size}"), write)]])
    }
}

#[tokio::main]
async fn main() -> Result<(), berth_client::Error> {
    tracing_subscriber::fmt().log_internal_errors(false).with_writer(std::io::stderr).init();
    let server = std::env::args().nth(1).unwrap_or_else(|| "unix:/run/berth/api.sock".into());
    let client = Client::new(&[server])?;
    let apps = Cache::start(&client, &Query::of::<App>(), Indexes::new());
    let stop = async {
        // Without a handler for it, Ctrl-C just ends the process, and the Lease runs out by itself.
        let _ = tokio::signal::ctrl_c().await;
    };
    Controller::new(NAME, client, Sizes { apps: apps.clone() })
        .wakes(&apps, |delta| delta.keys(|app| [Key::of(app)]))
        .led_by(LeaseTerms::new("berth-system", NAME))
        .run(stop)
        .await;
    Ok(())
}
