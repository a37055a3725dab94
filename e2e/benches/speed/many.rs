//! Many Tasks on many simulated nodes: created, placed, bound, running and ready; everything but containers.

use std::process::Command;
use std::time::{Duration, Instant};

use berth_client::{Client, Query};
use berth_e2e::process::Process;
use berth_e2e::wait::eventually;
use berth_e2e::world::condition;
use berth_e2e::{Part, StoreForm, World, binary};
use berth_types::app::App;
use serde_json::Value;

use crate::bare;
use crate::measure::{Report, Usage};

const NODES: usize = 1000;
const APPS: usize = 10;
const REPLICAS: usize = 1000;
const TASKS: usize = APPS * REPLICAS;
const LIMIT: Duration = Duration::from_secs(600);

/// Measures one form of the store, and the reference when that is etcd.
pub fn measure(form_name: &str, form: StoreForm, report: &mut Report) {
    let mut world = World::empty(form);
    world.begin(Part::Apiserver);
    world.begin(Part::Controllers);
    let mut agents = start_agents(&world);
    wait_for_nodes(&world, &mut agents);

    let what = format!("{TASKS} tasks, {NODES} nodes, {form_name}");
    let mut parts = vec![
        ("apiserver", world.part(Part::Apiserver).pid()),
        ("controllers", world.part(Part::Controllers).pid()),
        ("simulated agents", agents.pid()),
    ];
    parts.extend(world.etcd().map(|etcd| ("etcd", etcd.process().pid())));
    let usage = || parts.iter().map(|(_, pid)| Usage::of(*pid)).collect::<Vec<_>>();
    let (before, rev) = (usage(), revision(&world));
    let start = Instant::now();
    world.apply(&(0..APPS).map(app).collect::<String>()).ok();
    eventually("all Tasks are available", LIMIT, || match available(&world)? {
        TASKS => Ok(()),
        count => Err(format!("{count} of {TASKS} are available")),
    });
    let rate = TASKS as f64 / start.elapsed().as_secs_f64();
    let (after, revisions) = (usage(), revision(&world) - rev);

    report.add(&what, "available", rate, "tasks/s");
    let mut whole = 0.0;
    for ((name, _), (before, after)) in parts.iter().zip(before.iter().zip(&after)) {
        let each = (after.cpu - before.cpu).as_secs_f64() * 1000.0 / TASKS as f64;
        whole += each;
        report.add(&what, &format!("cpu of {name}"), each, "ms/task");
        report.add(&what, &format!("memory of {name}"), after.rss, "MiB");
    }
    report.add(&what, "cpu of all", whole, "ms/task");
    report.add(&what, "store revisions", revisions as f64 / TASKS as f64, "1/task");
    if let Some(url) = world.etcd_url() {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let bare = runtime.block_on(bare::puts_per_second(&url, TASKS, 100));
        report.add(&what, "bare etcd-client, 1 KiB, 100/txn", bare, "puts/s");
        report.add(&what, "tasks against bare puts", rate / bare, "x");
    }
    world.stop_all();
    agents.kill();
}

fn start_agents(world: &World) -> Process {
    let mut agents = Command::new(binary("node-agent"));
    agents.args(["--server", &world.server(), "--simulate", &NODES.to_string()]);
    agents.arg("--data").arg(world.data().join("node")).arg("--run").arg(world.run().join("node"));
    Process::start("simulated agents", agents, &world.dir().join("agents.log"))
}

fn wait_for_nodes(world: &World, agents: &mut Process) {
    eventually("all nodes are ready", LIMIT, || {
        agents.must_run();
        let nodes = world.list("nodes")?;
        let ready = nodes.iter().filter(|node| condition(node, "Ready") == "True").count();
        if ready == NODES { Ok(()) } else { Err(format!("{ready} of {} nodes are ready", nodes.len())) }
    });
}

fn app(number: usize) -> String {
    format!(
        "apiVersion: berth.dev/v1
kind: App
metadata: {{name: many-{number}}}
spec:
  replicas: {REPLICAS}
  template:
    spec:
      containers:
        - name: main
          command: [sleep, '1000']
          ports: [{{name: http}}]
          resources: {{requests: {{cpu: 10m, memory: 8Mi}}}}
---
"
    )
}

fn available(world: &World) -> Result<usize, String> {
    let count = |app: &Value| app["status"]["availableReplicas"].as_u64().unwrap_or(0);
    let sum = world.list("apps")?.iter().map(count).sum::<u64>();
    usize::try_from(sum).map_err(|error| error.to_string())
}

/// The store's revision: versions are revisions times 1024, and a position.
fn revision(world: &World) -> i64 {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let listed = runtime.block_on(async {
        let client = Client::new(&[world.server()]).expect("an address");
        client.list_as::<App>(&Query::of::<App>()).await.expect("the API answers")
    });
    listed.version.parse::<i64>().expect("a number") / 1024
}
