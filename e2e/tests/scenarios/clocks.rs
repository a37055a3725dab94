//! Clocks that somebody sets.

use std::time::Duration;

use berth_e2e::faults::Wall;
use berth_e2e::pace::Pace;
use berth_e2e::wait::eventually;
use berth_e2e::world::{SOON, condition, summary};
use berth_e2e::{Part, StoreForm, World, soak};
use serde_json::Value;

use crate::census::{Census, idle_app, replace_after};

const HOUR: i64 = 3600;

/// Its container ends again and again, with a second between.
const BRITTLE: &str = "apiVersion: berth.dev/v1
kind: App
metadata: {name: brittle}
spec:
  minReadySeconds: 0
  template:
    spec:
      drainDelaySeconds: 0
      terminationGracePeriodSeconds: 1
      restart: {inPlace: 100000, initialDelaySeconds: 1, maxDelaySeconds: 1}
      containers:
        - name: main
          command: [sh, -c, 'exit 1']
          resources: {requests: {cpu: 10m, memory: 8Mi}}
";

/// The clock of controllers and agent is set by an hour, forward and back, while they run and before they start: nobody
/// is judged dead, nothing is restarted or replaced, and every wait comes to its end.
pub fn a_clock_set_by_an_hour_changes_nothing(form: StoreForm) {
    let mut wall = Wall::right();
    let (name, value) = wall.variable();
    let plan = World::plan(form).pace(Pace::of_run());
    let plan = plan.env(Part::Agent, name, &value).env(Part::Controllers, name, &value);
    let mut world = plan.start();
    let calm = |replicas| idle_app("calm", replicas, "").replace("minReadySeconds: 0", "minReadySeconds: 1");
    world.apply(&(calm(2) + BRITTLE)).ok();
    available(&world, 2);
    let mut replicas = 2;
    for seconds in [HOUR, -HOUR] {
        let census = Census::of(&world, "calm").expect("the API answers");
        wall.set(seconds, world.faults());
        only_restarts_go_on(&world, &census);
        replicas += 1;
        world.apply(&calm(replicas)).ok();
        available(&world, replicas);

        let census = Census::of(&world, "calm").expect("the API answers");
        for part in [Part::Agent, Part::Controllers] {
            world.stop(part);
            world.begin(part);
        }
        only_restarts_go_on(&world, &census);
        replicas += 1;
        world.apply(&calm(replicas)).ok();
        available(&world, replicas);
    }
    let census = Census::of(&world, "calm").expect("the API answers");
    wall.set(0, world.faults());
    only_restarts_go_on(&world, &census);
    world.ctl(&["delete", "app/calm", "app/brittle"]).ok();
    world.wait_none("tasks");
    world.end();
}

/// Nothing is replaced, the node is Ready, and the container that ends again and again starts twice more: its pauses
/// end.
fn only_restarts_go_on(world: &World, census: &Census) {
    let before = eventually("the API answers", SOON, || restarts(world));
    census.must_stay_untouched(world, "calm", replace_after() + Duration::from_secs(1));
    eventually("the node is Ready", SOON, || {
        let nodes = world.list("nodes")?;
        let ready = nodes.iter().all(|node| condition(node, "Ready") == "True");
        if ready { Ok(()) } else { Err(summary(&nodes)) }
    });
    eventually("the container restarts", soak::paced(SOON).max(Duration::from_secs(30)), || {
        let now = restarts(world)?;
        if now >= before + 2 { Ok(()) } else { Err(format!("{before} restarts before, now {now}")) }
    });
}

/// How often the container that ends again and again has started again.
fn restarts(world: &World) -> Result<u64, String> {
    let tasks = world.tasks_of("brittle")?;
    let counts = tasks.iter().map(|task| &task["status"]["containerStatuses"][0]["restartCount"]);
    Ok(counts.filter_map(Value::as_u64).sum())
}

/// Waits until so many Tasks are available: ready for `minReadySeconds`.
fn available(world: &World, replicas: usize) {
    eventually(&format!("{replicas} Tasks are available"), SOON, || {
        let apps = world.list("apps")?;
        let calm = apps.iter().find(|app| app["metadata"]["name"] == "calm").ok_or("no App")?;
        let status = &calm["status"];
        if status["availableReplicas"] == replicas { Ok(()) } else { Err(status.to_string()) }
    });
}
