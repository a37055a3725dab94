//! From `ctl apply` to a running container: one replica, host network, an image that is present, an idle cluster;
//! beside `crun run` of the same bundle, in turn.

use std::process::Command;
use std::time::{Duration, Instant};

use berth_client::{Change, Client, Query, Update, Watch};
use berth_e2e::world::uid;
use berth_e2e::{StoreForm, World, workspace};
use berth_types::task::Task;

use crate::bundle::{Bundle, Crun};
use crate::measure::{Figure, Report, percentile};

const TIMES: usize = 20;
const LIMIT: Duration = Duration::from_secs(60);

/// Measures one form of the store.
pub fn measure(form_name: &str, form: StoreForm, report: &mut Report) {
    let world = World::start(form);
    let image = image(&world);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    let client = Client::new(&[world.server()]).expect("an address");
    let mut watch = client.watch_as::<Task>(&Query::of::<Task>());
    let (mut times, mut beside) = (Vec::new(), Vec::new());
    let mut crun: Option<Crun> = None;
    // The first one unpacks the image, and is not counted.
    for number in 0..=TIMES {
        let name = format!("quick-{number}");
        let start = Instant::now();
        world.apply(&app(&name, &image)).ok();
        runtime.block_on(until_running(&mut watch, &name));
        let took = start.elapsed();
        let crun = crun.get_or_insert_with(|| Crun::new(&bundle(&world), &world.dir().join("crun")));
        world.ctl(&["delete", "app", &name]).ok();
        world.wait_none("tasks");
        let start = Instant::now();
        crun.run();
        let crun_took = start.elapsed();
        crun.delete();
        if number > 0 {
            times.push(took);
            beside.push(crun_took);
        }
    }
    for (share, name, asked) in [(0.5, "p50", "must 100, aim 40"), (0.95, "p95", "must 100, aim 40")] {
        let what = format!("apply to running, {form_name}: {name}");
        let figure = Figure::new(what, percentile(&mut times, share), "ms").of(TIMES).asked(asked);
        report.add(&figure.beside("crun run", percentile(&mut beside, share)));
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

/// An App of one replica that sleeps.
pub fn app(name: &str, image: &str) -> String {
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
          image: {image}
          command: [sleep, '1000']
          resources: {{requests: {{cpu: 10m, memory: 8Mi}}}}
"
    )
}
