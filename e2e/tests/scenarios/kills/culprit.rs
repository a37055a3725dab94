//! A Task whose preparation ends the agent: it is found and refused, and a kill from outside is not taken for that.

use berth_e2e::identity::Identity;
use berth_e2e::wait::eventually;
use berth_e2e::world::{SOON, condition, summary, uid};
use berth_e2e::{Part, StoreForm, World};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{STEADY, processes, stay_ready};

/// A Task of its own: nothing replaces it.
const CULPRIT: &str = "apiVersion: berth.dev/v1
kind: Task
metadata: {name: culprit}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      command: [sleep, '100000']
      resources: {requests: {cpu: 10m, memory: 8Mi}, limits: {memory: 32Mi}}
";

/// More kills than any count could bear.
const KILLS: usize = 6;

fn culprit(world: &World) -> Result<Value, String> {
    let tasks = world.list("tasks")?;
    let found = tasks.iter().find(|task| task["metadata"]["name"] == "culprit");
    found.cloned().ok_or_else(|| summary(&tasks))
}

/// The processes that prepare a Task of this world alone.
fn alone(world: &World) -> Vec<Identity> {
    let dir = world.dir().display().to_string();
    let found = Identity::with_words(&["prepare-alone"]).into_iter();
    found.filter(|process| process.environment().contains(&dir)).collect()
}

fn only(processes: &[Identity]) -> Result<Identity, String> {
    match processes {
        [one] => Ok(*one),
        other => Err(format!("{other:?}")),
    }
}

fn runs(world: &World) {
    eventually("the Task runs", SOON, || {
        let task = culprit(world)?;
        if condition(&task, "Ready") == "True" { Ok(()) } else { Err(summary(&[task])) }
    });
}

fn delete(world: &World) {
    world.ctl(&["delete", "task/culprit"]).ok();
    eventually("the Task is gone", SOON, || match culprit(world) {
        Ok(task) => Err(summary(&[task])),
        Err(_) => Ok(()),
    });
}

/// A preparation that ends every process in which it runs ends one agent, and is refused with a reason and an Event; its
/// neighbours notice nothing. Kills from outside, however many and wherever they fall, refuse nothing, nor does another
/// signal. A panic is a failure like any other.
pub fn a_task_that_ends_its_agent_is_refused_and_one_that_is_hit_by_kills_is_not(form: StoreForm) {
    let mut world = World::start(form);
    world.apply(STEADY).ok();
    let steady = world.wait_ready("steady", 3);
    let before = processes(&world, &steady);

    world.arm(Part::Agent, "agent.home.made kill 1+\n");
    world.apply(CULPRIT).ok();
    assert!(world.falls(Part::Agent, SOON), "the agent prepares the Task");
    world.begin(Part::Agent);
    eventually("the Task is refused", SOON, || {
        let task = culprit(&world)?;
        let (phase, reason) = (&task["status"]["phase"], &task["status"]["reason"]);
        if *phase == "Failed" && *reason == "TookAgentDown" { Ok(()) } else { Err(summary(&[task])) }
    });
    eventually("an Event says so", SOON, || {
        let told = world.ctl(&["get", "events"]).ok();
        if told.contains("TookAgentDown") { Ok(()) } else { Err(told) }
    });
    world.arm(Part::Agent, "");
    stay_ready(&world);
    delete(&world);

    // Slow enough to be killed within, time and again: alone, from the second time on.
    world.arm(Part::Agent, "agent.home.made sleep:600000 1+\n");
    world.apply(CULPRIT).ok();
    for kill in 0..KILLS {
        eventually("the preparation is under way", SOON, || {
            let (count, task) = (alone(&world).len(), culprit(&world)?);
            let bound = task["spec"]["nodeName"] == "one";
            if bound && count == usize::from(kill > 0) {
                Ok(())
            } else {
                Err(format!("{count} alone, {task}"))
            }
        });
        if kill == 0 {
            eventually("the Task is journalled", SOON, || {
                let journal = std::fs::read(world.data().join("node/journal")).unwrap_or_default();
                let known = String::from_utf8_lossy(&journal).contains(uid(&culprit(&world)?));
                if known { Ok(()) } else { Err("not yet".into()) }
            });
        }
        world.kill(Part::Agent);
        eventually("what it prepared alone ends with it", SOON, || match alone(&world).len() {
            0 => Ok(()),
            count => Err(format!("{count} are left")),
        });
        world.begin(Part::Agent);
    }
    eventually("the node tells that its agents die", SOON, || {
        let nodes = world.list("nodes")?;
        if condition(&nodes[0], "AgentRestarting") == "True" { Ok(()) } else { Err(summary(&nodes)) }
    });
    let prepares = eventually("the preparation is under way", SOON, || only(&alone(&world)));
    let pid = Pid::from_raw(prepares.pid.cast_signed());
    kill(pid, Signal::SIGTERM).expect("it runs");
    eventually("it is tried again after a signal from outside", SOON, || match only(&alone(&world))? {
        same if same == prepares => Err(format!("{same:?} runs on")),
        _ => Ok(()),
    });
    world.kill(Part::Agent);
    world.arm(Part::Agent, "");
    world.begin(Part::Agent);
    runs(&world);
    delete(&world);

    world.arm(Part::Agent, "agent.home.made fail 1+\n");
    world.apply(CULPRIT).ok();
    eventually("a panic is told", SOON, || {
        let task = culprit(&world)?;
        let waiting = &task["status"]["containerStatuses"][0]["state"]["waiting"];
        let told = waiting["reason"] == "CreateError" && waiting.to_string().contains("defect");
        if told { Ok(()) } else { Err(summary(&[task])) }
    });
    world.arm(Part::Agent, "");
    runs(&world);
    delete(&world);

    let after = world.wait_ready("steady", 3);
    assert_eq!(processes(&world, &after), before, "the neighbours ran on");
    world.settles();
    world.ctl(&["delete", "app/steady"]).ok();
    world.wait_none("tasks");
    world.end();
}
