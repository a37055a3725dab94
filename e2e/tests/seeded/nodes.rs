//! Histories of one node with its containers, as processes of their own: what ran on it is seen by the recorder alone.

use std::time::Duration;

use berth_e2e::history::Run;
use berth_e2e::identity::Identity;
use berth_e2e::wait::eventually;
use berth_e2e::world::{SOON, summary, uid};
use berth_e2e::{StoreForm, World, leftovers, monotonic, namespaces};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A process that is seen so long after the end of its Task is one too many: longer than the judge puts down to two
/// pairs of eyes.
const AFTER_ITS_END: Duration = Duration::from_millis(600);

/// A process that was not seen for so long is missed by whoever waits until the world is settled.
const AFTER_IT_WAS_SEEN: Duration = Duration::from_millis(1200);

/// Long enough for a container to be started again, even beside much else.
const ENOUGH: Duration = Duration::from_secs(12);

fn app(script: &str) -> String {
    format!(
        "apiVersion: berth.dev/v1
kind: App
metadata: {{name: web}}
spec:
  replicas: 1
  minReadySeconds: 0
  template:
    spec:
      drainDelaySeconds: 0
      terminationGracePeriodSeconds: 3
      restart: {{initialDelaySeconds: 0}}
      containers:
        - name: main
          command: [sh, -c, '{script}']
          resources: {{requests: {{cpu: 5m, memory: 4Mi}}, limits: {{memory: 32Mi}}}}
"
    )
}

fn start(script: &str) -> (World, Value) {
    namespaces::enter();
    let world = World::start(StoreForm::Embedded);
    world.apply(&app(script)).ok();
    let task = world.wait_ready("web", 1).remove(0);
    (world, task)
}

/// A container that does not listen to TERM is stopped.
pub fn a_deaf_container_is_stopped() -> Run {
    let (world, _) = start("trap \"\" TERM; while :; do sleep 1; done");
    world.ctl(&["delete", "app/web"]).ok();
    world.wait_none("tasks");
    is_looked_at(&world, AFTER_ITS_END);
    end(world)
}

/// The shim of a Task is killed with -9.
pub fn a_shim_is_killed() -> Run {
    let (world, task) = start("exec sleep 100000");
    is_looked_at(&world, Duration::ZERO);
    let shims = Identity::with_words(&[uid(&task), "bundle.json"]);
    let [shim] = shims[..] else { panic!("the Task has shims {shims:?}") };
    let pid = i32::try_from(shim.pid).expect("a process number");
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("the shim is there");
    eventually("the container runs again", SOON, || {
        let tasks = world.tasks_of("web")?;
        let again = |task: &Value| task["status"]["containerStatuses"][0]["restartCount"] == 1;
        if tasks.iter().any(again) { Ok(()) } else { Err(summary(&tasks)) }
    });
    world.wait_ready("web", 1);
    is_looked_at(&world, Duration::ZERO);
    world.ctl(&["delete", "app/web"]).ok();
    world.wait_none("tasks");
    end(world)
}

/// The process of a container is killed with -9.
pub fn a_container_is_killed() -> Run {
    let (mut world, task) = start("exec sleep 100000");
    is_looked_at(&world, Duration::ZERO);
    let processes = leftovers::processes_of_container(world.dir(), uid(&task), "main");
    let [pid] = processes[..] else { panic!("the container has processes {processes:?}") };
    let pid = i32::try_from(pid).expect("a process number");
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("the process is there");
    is_looked_at(&world, AFTER_IT_WAS_SEEN);
    world.settles_within(ENOUGH);
    world.ends_in_mid_air("it had its time");
    end(world)
}

/// Waits until the recorder has seen everything that is there so long from now.
fn is_looked_at(world: &World, later: Duration) {
    let from = monotonic::now() + u64::try_from(later.as_nanos()).expect("a short time");
    eventually("the recorder has looked at what runs", SOON, || match world.recorder().looked() {
        looked if looked >= from => Ok(()),
        looked => Err(format!("it did at {looked}, asked for is {from}")),
    });
}

fn end(world: World) -> Run {
    let mut recording = world.end_unjudged();
    assert!(recording.wrong.is_empty(), "{:?}", recording.wrong);
    let events = recording.eras.remove(0).events;
    Run { events, processes: recording.processes, settled: recording.settled, ..Run::default() }
}
