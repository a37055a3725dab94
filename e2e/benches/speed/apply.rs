//! From `ctl apply` to a running container: one replica, host network, no image, an idle cluster.

use std::time::{Duration, Instant};

use berth_client::{Change, Client, Query, Update, Watch};
use berth_e2e::{StoreForm, World};
use berth_types::task::Task;

use crate::measure::{Report, percentile};

const TIMES: usize = 20;
const LIMIT: Duration = Duration::from_secs(60);

/// Measures one form of the store.
pub fn measure(form_name: &str, form: StoreForm, report: &mut Report) {
    let world = World::start(form);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    let client = Client::new(&[world.server()]).expect("an address");
    let mut watch = client.watch_as::<Task>(&Query::of::<Task>());
    let mut times = Vec::new();
    for number in 0..TIMES {
        let name = format!("quick-{number}");
        let start = Instant::now();
        world.apply(&app(&name)).ok();
        runtime.block_on(until_running(&mut watch, &name));
        times.push(start.elapsed());
        world.ctl(&["delete", "app", &name]).ok();
        world.wait_none("tasks");
    }
    let what = format!("apply to running, {form_name}");
    report.add(&what, "p50", percentile(&mut times, 0.5), "ms");
    report.add(&what, "p95", percentile(&mut times, 0.95), "ms");
    drop(watch);
    world.end();
}

async fn until_running(watch: &mut Watch<Task>, app: &str) {
    let runs = |task: &Task| task.status.phase == "Running" && task.metadata.name.starts_with(app);
    let seen = async {
        loop {
            let there = match watch.next().await.expect("the watch goes on") {
                Update::Initial { objects, .. } | Update::Restarted { objects, .. } => {
                    objects.iter().any(runs)
                }
                Update::Changes { changes, .. } => changes.iter().any(|change| match change {
                    Change::Added(task) | Change::Modified(task) => runs(task),
                    Change::Deleted(_) => false,
                }),
                Update::Bookmark { .. } => false,
            };
            if there {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, seen).await.unwrap_or_else(|_| panic!("{app} does not run"));
}

fn app(name: &str) -> String {
    format!(
        "apiVersion: berth.dev/v1
kind: App
metadata: {{name: {name}}}
spec:
  replicas: 1
  template:
    spec:
      drainDelaySeconds: 0
      terminationGracePeriodSeconds: 0
      containers:
        - name: main
          command: [sleep, '1000']
          resources: {{requests: {{cpu: 10m, memory: 8Mi}}}}
"
    )
}
