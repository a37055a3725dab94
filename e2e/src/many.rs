//! Many Tasks on many nodes without containers: what the control plane does alone.

use std::time::Duration;

use serde_json::Value;

use crate::wait::eventually;
use crate::world::{Part, Plan, StoreForm, World};

const APPS: usize = 10;
const REPLICAS: usize = 1000;
/// Tasks in all.
pub const TASKS: usize = APPS * REPLICAS;

/// How long they may take on a machine that does other things too.
const LIMIT: Duration = Duration::from_secs(600);

/// A world of apiserver, controllers and `nodes` simulated nodes, all ready.
pub fn world(form: StoreForm, nodes: usize) -> World {
    Plan::new(form).without(Part::Agent).simulate(nodes).start()
}

/// Applies the Apps and waits until each of their Tasks is available.
pub fn run(world: &World) {
    world.apply(&(0..APPS).map(app).collect::<String>()).ok();
    eventually("all Tasks are available", LIMIT, || match available(world)? {
        TASKS => Ok(()),
        count => Err(format!("{count} of {TASKS} are available")),
    });
}

fn app(number: usize) -> String {
    format!(
        "apiVersion: berth.dev/v1
kind: App
metadata: {{name: many-{number}}}
spec:
  replicas: {REPLICAS}
  minReadySeconds: 0
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
