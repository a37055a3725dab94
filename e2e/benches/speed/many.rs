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

use crate::measure::{Figure, Report, Usage};
use crate::{bare, writes};

const APPS: usize = 10;
const REPLICAS: usize = 1000;
const TASKS: usize = APPS * REPLICAS;
const LIMIT: Duration = Duration::from_secs(600);

const RATE_ASKED: &str = "must 1500, aim 4000; Kubernetes 1.36, this kind of machine: 250-480";
const CPU_ASKED: &str = "must 1, aim 0.3; Kubernetes 1.36, this kind of machine: 3.9-7.8";

/// Measures one form of the store, and the reference when that is etcd.
pub fn measure(form_name: &str, form: StoreForm, nodes: usize, report: &mut Report) {
    let mut world = World::empty(form);
    world.begin(Part::Apiserver);
    world.begin(Part::Controllers);
    let mut agents = start_agents(&world, nodes);
    wait_for_nodes(&world, &mut agents, nodes);

    let name = |figure: &str| format!("{TASKS} tasks, {nodes} nodes, {form_name}: {figure}");
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
    let after = usage();
    world.stop_all();
    agents.kill();

    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let writes = runtime.block_on(writes::since(&world, rev));
    let mut figure = Figure::new(name("available"), rate, "tasks/s").of(TASKS).asked(RATE_ASKED);
    if let Some(url) = world.etcd_url() {
        let bare = runtime.block_on(bare::puts_per_second(&url, TASKS, 100));
        figure = figure.beside("bare puts, 100 per txn", bare);
    }
    report.add(&figure);
    let mut whole = 0.0;
    for ((part, _), (before, after)) in parts.iter().zip(before.iter().zip(&after)) {
        let each = (after.cpu - before.cpu).as_secs_f64() * 1000.0 / TASKS as f64;
        whole += each;
        report.add(&Figure::new(name(&format!("cpu of {part}")), each, "ms/task").of(TASKS));
        report.add(&Figure::new(name(&format!("memory of {part}")), after.rss, "MiB"));
    }
    report.add(&Figure::new(name("cpu of all"), whole, "ms/task").of(TASKS).asked(CPU_ASKED));
    report_writes(&writes, &name, report);
}

fn report_writes(writes: &writes::Writes, name: &dyn Fn(&str) -> String, report: &mut Report) {
    let each = |count: usize| count as f64 / TASKS as f64;
    report.add(&Figure::new(name("store revisions"), each(writes.revisions), "1/task").of(TASKS));
    report.add(&Figure::new(name("writes"), each(writes.writes), "1/task").of(TASKS));
    for (kind, count) in &writes.by_kind {
        // What is written once per App or now and then says nothing about a Task.
        if *count > TASKS / 100 {
            report.add(&Figure::new(name(&format!("writes of {kind}")), each(*count), "1/task").of(TASKS));
        }
    }
}

fn start_agents(world: &World, nodes: usize) -> Process {
    let mut agents = Command::new(binary("node-agent"));
    agents.args(["--server", &world.server(), "--simulate", &nodes.to_string()]);
    agents.arg("--data").arg(world.data().join("node")).arg("--run").arg(world.run().join("node"));
    Process::start("simulated agents", agents, &world.dir().join("agents.log"))
}

fn wait_for_nodes(world: &World, agents: &mut Process, count: usize) {
    eventually("all nodes are ready", LIMIT, || {
        agents.must_run();
        let nodes = world.list("nodes")?;
        let ready = nodes.iter().filter(|node| condition(node, "Ready") == "True").count();
        if ready == count { Ok(()) } else { Err(format!("{ready} of {} nodes are ready", nodes.len())) }
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
