//! Every part killed with -9 and started again: containers keep their processes, nothing is doubled, no exit is lost.

mod agent;
mod bounds;
mod culprit;
mod fleet;
mod halted;
mod reboot;
mod rollout;
mod shim;
mod story;

pub use agent::an_agent_killed_anywhere_restarts_nothing;
pub use culprit::a_task_that_ends_its_agent_is_refused_and_one_that_is_hit_by_kills_is_not;
pub use halted::a_template_that_took_down_the_agents_of_two_nodes_goes_to_no_third;
pub use reboot::a_rebooted_node_believes_nothing_and_signals_no_stranger;
pub use rollout::a_rollout_ends_the_same_wherever_servers_and_controllers_are_killed;
pub use shim::a_killed_shim_is_noticed_and_nothing_runs_twice;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use berth_e2e::leftovers::{processes_of_task, programs_of_task};
use berth_e2e::load::Load;
use berth_e2e::pace::Pace;
use berth_e2e::wait::{always, eventually};
use berth_e2e::world::{SOON, condition, name, port, summary, uid};
use berth_e2e::{Part, StoreForm, World, hits, http};
use serde_json::Value;

const STEADY: &str = "apiVersion: berth.dev/v1
kind: App
metadata: {name: steady}
spec:
  replicas: 3
  minReadySeconds: 0
  template:
    spec:
      drainDelaySeconds: 0
      terminationGracePeriodSeconds: 1
      containers:
        - name: web
          command: [sh, -c, 'echo steady > index.html; exec busybox httpd -f -p $PORT_HTTP']
          ports: [{name: http}]
          resources: {requests: {cpu: 10m, memory: 8Mi}, limits: {memory: 32Mi}}
          readinessProbe: {httpGet: {port: http}}
";

/// The oldest process of each Task by its name; the web server forks others for its requests.
fn processes(world: &World, tasks: &[Value]) -> BTreeMap<String, Option<u32>> {
    let first = |task: &Value| programs_of_task(world.dir(), uid(task)).first().copied();
    tasks.iter().map(|task| (name(task).to_string(), first(task))).collect()
}

fn answers(tasks: &[Value]) {
    for task in tasks {
        assert_eq!(http::get(port(task, "http")), Ok("steady".to_string()), "{}", name(task));
    }
}

/// Nobody is told that a Task is not ready while the part that came back takes over.
fn stay_ready(world: &World) {
    always("all three Tasks are ready", Duration::from_secs(3), || {
        let tasks = world.tasks_of("steady")?;
        let ready = tasks.iter().filter(|task| condition(task, "Ready") == "True").count();
        if ready == 3 { Ok(()) } else { Err(summary(&tasks)) }
    });
}

/// A world whose controllers, killed, are followed by others soon.
fn world_with_short_leases(form: StoreForm) -> World {
    World::plan(form).config(Part::Controllers, &Pace::of_run().controllers()).start()
}

/// Each part dies and comes back; the containers notice nothing, and the cluster works on.
pub fn containers_outlive_every_part(form: StoreForm) {
    let mut world = world_with_short_leases(form);
    let load = Load::start(&world);
    world.apply(STEADY).ok();
    let tasks = world.wait_ready("steady", 3);
    let before = processes(&world, &tasks);
    assert!(before.values().all(Option::is_some), "{before:?}");

    for part in [Part::Agent, Part::Controllers, Part::Apiserver] {
        world.kill(part);
        answers(&tasks);
        world.begin(part);
        world.wait_for_node();
        stay_ready(&world);
        let after = world.wait_ready("steady", 3);
        assert_eq!(processes(&world, &after), before, "after {part:?}");
        assert!(after.iter().all(|task| task["status"]["containerStatuses"][0]["restartCount"] == 0));
    }

    load.end(&mut world);
    world.ctl(&["scale", "app/steady", "--replicas", "4"]).ok();
    let grown = processes(&world, &world.wait_ready("steady", 4));
    assert!(before.iter().all(|(task, pid)| grown.get(task) == Some(pid)), "{before:?} {grown:?}");
    world.settles();
    world.ctl(&["delete", "app/steady"]).ok();
    world.wait_none("tasks");
    world.end();
}

/// All parts at once: the same.
pub fn containers_outlive_all_parts_at_once(form: StoreForm) {
    let mut world = world_with_short_leases(form);
    world.apply(STEADY).ok();
    let tasks = world.wait_ready("steady", 3);
    let before = processes(&world, &tasks);
    Part::ALL.into_iter().for_each(|part| world.kill(part));
    answers(&tasks);
    Part::ALL.into_iter().for_each(|part| world.begin(part));
    world.wait_for_node();
    stay_ready(&world);
    let after = world.wait_ready("steady", 3);
    assert_eq!(processes(&world, &after), before);
    world.settles();
    world.ctl(&["delete", "app/steady"]).ok();
    world.end();
}

/// An exit while the agent is away is reported with its code when it is back.
pub fn an_exit_while_the_agent_is_away_is_reported(form: StoreForm) {
    let mut world = World::start(form);
    let script = "while [ ! -e go ]; do sleep 0.1; done; exit 7";
    let manifest = STEADY
        .replace("replicas: 3", "replicas: 1")
        .replace("'echo steady > index.html; exec busybox httpd -f -p $PORT_HTTP'", &format!("'{script}'"));
    let manifest =
        manifest.lines().filter(|line| !line.contains("readinessProbe")).collect::<Vec<_>>().join("\n");
    world.apply(&manifest).ok();
    let task = world.wait_ready("steady", 1).remove(0);
    let pids = programs_of_task(world.dir(), uid(&task));

    world.kill(Part::Agent);
    open_gate(&pids);
    eventually("the container ended", SOON, || {
        let left = processes_of_task(world.dir(), uid(&task));
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    world.begin(Part::Agent);
    eventually("its exit is reported", SOON, || {
        let tasks = world.tasks_of("steady")?;
        let code =
            |task: &Value| task["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 7;
        if tasks.iter().any(code) { Ok(()) } else { Err(summary(&tasks)) }
    });
    world.ctl(&["delete", "app/steady"]).ok();
    world.end();
}

/// A container that takes long to be created holds up neither another Task nor the node when the agent restarts, and its
/// start is not counted as a restart.
pub fn a_container_that_is_long_in_creation_holds_up_nobody_when_the_agent_restarts(form: StoreForm) {
    const CREATES: &str = "shim.helper.create";
    let mut world = World::start(form);
    let created = |world: &World| hits::counted_in(&world.hits()).get(CREATES).copied().unwrap_or(0);
    let app = |name: &str| STEADY.replace("steady}", &format!("{name}}}")).replace("s: 3", "s: 1");
    world.apply(STEADY).ok();
    let before = processes(&world, &world.wait_ready("steady", 3));
    let already = created(&world);
    world.arm(Part::Agent, &format!("{CREATES} sleep:30000\n"));
    world.apply(&app("slow")).ok();
    eventually("a container is being created", SOON, || match created(&world) {
        count if count > already => Ok(()),
        count => Err(format!("{count} creations")),
    });
    world.arm(Part::Agent, "");
    world.kill(Part::Agent);
    world.begin(Part::Agent);
    world.apply(&app("quick")).ok();
    world.wait_ready("quick", 1);
    let slow = world.tasks_of("slow").expect("the server answers").remove(0);
    assert_ne!(condition(&slow, "Ready"), "True", "the other Task waited for it");
    assert_eq!(processes(&world, &world.wait_ready("steady", 3)), before);
    let settled = world.wait_ready("slow", 1).remove(0);
    assert_eq!(uid(&settled), uid(&slow), "it was replaced");
    assert_eq!(settled["status"]["containerStatuses"][0]["restartCount"], 0, "{settled}");
    world.settles();
    ["steady", "slow", "quick"]
        .iter()
        .for_each(|name| drop(world.ctl(&["delete", &format!("app/{name}")]).ok()));
    world.wait_none("tasks");
    world.end();
}

/// Makes the file `go` in the working directory of the container's processes.
fn open_gate(pids: &[u32]) {
    let pid = pids.first().expect("the container runs");
    fs::write(format!("/proc/{pid}/cwd/go"), "").expect("the sandbox is writable");
}
