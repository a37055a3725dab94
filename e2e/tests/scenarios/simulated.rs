//! Many nodes and Tasks without containers: the control plane alone.

use std::process::Command;
use std::time::Duration;

use berth_e2e::process::Process;
use berth_e2e::wait::eventually;
use berth_e2e::{Part, StoreForm, World, binary};
use serde_json::Value;

const NODES: usize = 1000;
const APPS: usize = 10;
const REPLICAS: usize = 1000;

/// How long 10,000 Tasks may take on a machine that does other things too.
const LIMIT: Duration = Duration::from_secs(180);

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
    let apps = world.list("apps")?;
    let count = |app: &Value| app["status"]["availableReplicas"].as_u64().unwrap_or(0);
    usize::try_from(apps.iter().map(count).sum::<u64>()).map_err(|error| error.to_string())
}

/// Events of Apps that roll out, and some more: none for each Task.
const TOLD: usize = 500;

/// 10,000 Tasks are created, placed on 1,000 nodes, bound and reported; each once.
pub fn ten_thousand_tasks_on_a_thousand_nodes(form: StoreForm) {
    let mut world = World::empty(form);
    world.begin(Part::Apiserver);
    world.begin(Part::Controllers);
    let mut agents = Command::new(binary("node-agent"));
    agents.args(["--server", &world.server(), "--simulate", &NODES.to_string()]);
    agents.arg("--data").arg(world.data().join("node")).arg("--run").arg(world.run().join("node"));
    let mut agents = Process::start("simulated agents", agents, &world.dir().join("agents.log"));
    eventually("all nodes are ready", LIMIT, || {
        agents.must_run();
        let nodes = world.list("nodes")?;
        let ready = nodes.iter().filter(|node| berth_e2e::world::condition(node, "Ready") == "True").count();
        if ready == NODES { Ok(()) } else { Err(format!("{ready} of {} nodes are ready", nodes.len())) }
    });

    let manifests: String = (0..APPS).map(app).collect();
    world.apply(&manifests).ok();
    eventually("all Tasks are available", LIMIT, || match available(&world)? {
        count if count == APPS * REPLICAS => Ok(()),
        count => Err(format!("{count} of {} are available", APPS * REPLICAS)),
    });
    let tasks = world.list("tasks").expect("the API answers");
    assert_eq!(tasks.len(), APPS * REPLICAS, "none is doubled");
    assert!(tasks.iter().all(|task| task["spec"]["nodeName"].is_string()), "each is bound");
    // Waiting for the first node or for room is told; that a Task runs is not.
    let events = world.list("events").expect("the API answers").len();
    assert!(events < TOLD, "{events} Events for {} Tasks", tasks.len());
    world.stop_all();
    agents.kill();
}
