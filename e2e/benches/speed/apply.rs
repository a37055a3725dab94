//! From `ctl apply` to a running container: one replica, host network, an image that is present, an idle cluster;
//! beside `crun run` of the same bundle, in turn.

use std::process::Command;
use std::time::{Duration, Instant};

use berth_client::{Change, Client, Query, Update, Watch};
use berth_e2e::world::uid;
use berth_e2e::{StoreForm, World, workspace};
use berth_types::task::Task;

use crate::bundle::Bundle;
use crate::crun::{Calls, Crun};
use crate::measure::percentile;
use crate::report::{Figure, Report};

const TIMES: usize = 20;
const LIMIT: Duration = Duration::from_secs(60);

/// Measures one form of the store.
pub fn measure(form_name: &'static str, form: StoreForm, report: &mut Report) {
    let world = World::start(form);
    let image = image(&world);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    let client = Client::new(&[world.server()]).expect("an address");
    let mut watch = client.watch_as::<Task>(&Query::of::<Task>());
    let (mut times, mut bound, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    let mut crun: Option<Crun> = None;
    // The first one unpacks the image, and is not counted.
    for number in 0..=TIMES {
        let name = format!("quick-{number}");
        let start = Instant::now();
        world.apply(&app(&name, &image)).ok();
        runtime.block_on(until(&mut watch, &name, |task| !task.spec.node_name.is_empty()));
        let was_bound = start.elapsed();
        runtime.block_on(until(&mut watch, &name, |task| task.status.phase == "Running"));
        let took = start.elapsed();
        let crun = crun
            .get_or_insert_with(|| Crun::new(&bundle(&world), &world.dir().join("crun"), Calls::Filtered));
        world.ctl(&["delete", "app", &name]).ok();
        world.wait_none("tasks");
        let start = Instant::now();
        crun.run();
        let crun_took = start.elapsed();
        crun.delete();
        if number > 0 {
            times.push(took);
            bound.push(was_bound);
            beside.push(crun_took);
        }
    }
    for (share, name) in [(0.5, "p50"), (0.95, "p95")] {
        let figure = |what: &str, times: &mut [Duration]| {
            let what = format!("`ctl apply` with an image to {what}: {name}");
            Figure::new(what, percentile(times, share), "ms").on(form_name).of(TIMES)
        };
        report.add(&figure("bound", &mut bound));
        let running = figure("running", &mut times).asked("must 100, aim 40");
        report.add(&running.beside("crun run", percentile(&mut beside, share)));
    }
    drop(watch);
    drop(crun);
    world.end();
}

/// What the only container in `world` is made of.
pub fn bundle(world: &World) -> Bundle {
    Bundle::of_task(world, uid(&world.list("tasks").expect("the API answers")[0]))
}

/// An image in `world`'s folder, as a manifest names it.
pub fn image(world: &World) -> String {
    let layout = world.dir().join("image");
    let made = Command::new(workspace().join("e2e/make-image")).arg(&layout).args(["v1", "bench"]).status();
    assert!(made.expect("e2e/make-image starts").success(), "e2e/make-image makes an image");
    format!("oci:{}:v1", layout.display())
}

/// Waits until the App's Task is as `reached` says.
async fn until(watch: &mut Watch<Task>, app: &str, reached: impl Fn(&Task) -> bool) {
    let is_it = |task: &Task| reached(task) && task.metadata.name.starts_with(app);
    let seen = async {
        loop {
            let there = match watch.next().await.expect("the watch goes on") {
                Update::Initial { objects, .. } | Update::Restarted { objects, .. } => {
                    objects.iter().any(is_it)
                }
                Update::Changes { changes, .. } => changes.iter().any(|change| match change {
                    Change::Added(task) | Change::Modified(task) => is_it(task),
                    Change::Deleted(_) => false,
                }),
                Update::Bookmark { .. } => false,
            };
            if there {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, seen).await.unwrap_or_else(|_| panic!("{app} is not as awaited"));
}

/// An App of one replica that sleeps.
pub fn app(name: &str, image: &str) -> String {
    format!(
        "apiVersion: berth.dev/v1
kind: App
metadata: {{name: {name}}}
spec:
  replicas: 1
  minReadySeconds: 0
  template:
    spec:
      drainDelaySeconds: 0
      terminationGracePeriodSeconds: 0
      containers:
        - name: main
          image: {image}
          command: [sleep, '1000']
          resources: {{requests: {{cpu: 10m, memory: 8Mi}}}}
"
    )
}
