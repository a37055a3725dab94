//! Fan-out: many watchers of one kind, from the moment a write is sent until the last of them has it.

use std::time::{Duration, Instant};

use berth_client::{Client, Query, Update, Write};
use berth_e2e::{Part, StoreForm, World};
use berth_types::task::Task;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::measure::percentile;
use crate::report::{Figure, Report};

const WATCHERS: usize = 1000;
/// A connection carries 200 streams at most.
const PER_CLIENT: usize = 100;
const WRITES: usize = 100;
const LIMIT: Duration = Duration::from_secs(60);

/// Measures one form of the store. The watchers are in this process: what they take to read is in the figure too.
pub fn measure(form_name: &'static str, form: StoreForm, report: &mut Report) {
    let mut world = World::empty(form);
    world.begin(Part::Apiserver);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut times = runtime.block_on(async {
        let client = Client::new(&[world.server()]).expect("an address");
        answers(&client).await;
        let (arrived, mut arrivals) = mpsc::unbounded_channel();
        let mut watching = JoinSet::new();
        for _ in 0..WATCHERS / PER_CLIENT {
            let client = Client::new(&[world.server()]).expect("an address");
            for _ in 0..PER_CLIENT {
                watching.spawn(follow(client.clone(), arrived.clone()));
            }
        }
        all(&mut arrivals, "state at the start").await;
        let mut times = Vec::new();
        for number in 0..WRITES {
            let start = Instant::now();
            client.write(&Write::create_json(&task(number))).await.expect("the write is taken");
            all(&mut arrivals, "change").await;
            times.push(start.elapsed());
        }
        watching.shutdown().await;
        times
    });
    let name = |figure: &str| format!("{WATCHERS} watchers, write to last delivery: {figure}");
    let p50 = percentile(&mut times, 0.5);
    report.add(&Figure::new(name("p50"), p50, "ms").on(form_name).of(WRITES).asked("must 40, aim 15"));
    let p95 = Figure::new(name("p95"), percentile(&mut times, 0.95), "ms");
    report.add(&p95.on(form_name).of(WRITES));
    world.stop_all();
}

/// Waits until the server answers; its socket may not be there yet.
async fn answers(client: &Client) {
    let end = Instant::now() + LIMIT;
    while let Err(error) = client.version().await {
        assert!(Instant::now() < end, "the server does not answer: {error}");
    }
}

async fn follow(client: Client, arrived: mpsc::UnboundedSender<()>) {
    let mut watch = client.watch(&tasks());
    loop {
        match watch.next().await.expect("the watch goes on") {
            Update::Initial { .. } | Update::Changes { .. } => {
                // The receiver goes when the measurement is over.
                let _ = arrived.send(());
            }
            Update::Bookmark { .. } => {}
            Update::Restarted { .. } => panic!("a watcher lost events"),
        }
    }
}

async fn all(arrivals: &mut mpsc::UnboundedReceiver<()>, what: &str) {
    for count in 0..WATCHERS {
        let next = timeout(LIMIT, arrivals.recv()).await;
        next.unwrap_or_else(|_| panic!("{count} of {WATCHERS} have the {what}")).expect("watchers run");
    }
}

fn tasks() -> Query {
    Query::of::<Task>().in_namespace("default")
}

/// A Task that nobody places: there is no scheduler.
fn task(number: usize) -> Value {
    json!({
        "apiVersion": "berth.dev/v1", "kind": "Task",
        "metadata": { "name": format!("told-{number}"), "namespace": "default" },
        "spec": { "containers": [{ "name": "main", "command": ["sleep", "1000"], "env": [{ "name": "TEXT", "value": "x".repeat(512) }] }] },
    })
}
