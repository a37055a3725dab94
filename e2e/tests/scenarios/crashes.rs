//! Containers that end by themselves, are killed, or want too much memory.

use std::time::Duration;

use berth_e2e::leftovers::programs_of_task;
use berth_e2e::wait::eventually;
use berth_e2e::world::{SOON, name, summary, uid};
use berth_e2e::{StoreForm, World};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

fn app(name: &str, script: &str) -> String {
    format!(
        "apiVersion: berth.dev/v1
kind: App
metadata: {{name: {name}}}
spec:
  minReadySeconds: 0
  template:
    spec:
      drainDelaySeconds: 0
      terminationGracePeriodSeconds: 1
      containers:
        - name: main
          command: [sh, -c, '{script}']
          resources: {{requests: {{cpu: 10m, memory: 8Mi}}, limits: {{memory: 32Mi}}}}
"
    )
}

fn only_container(world: &World, app: &str) -> Result<(Value, Value), String> {
    let tasks = world.tasks_of(app)?;
    let [task] = tasks.as_slice() else { return Err(summary(&tasks)) };
    Ok((task.clone(), task["status"]["containerStatuses"][0].clone()))
}

fn restarts(container: &Value) -> u64 {
    container["restartCount"].as_u64().unwrap_or(0)
}

/// A killed container starts again in place, each time later; the count and the last exit are shown.
pub fn a_killed_container_restarts_in_place(form: StoreForm) {
    let world = World::start(form);
    world.apply(&app("steady", "exec sleep 1000")).ok();
    let task = world.wait_ready("steady", 1).remove(0);
    let mut waits = Vec::new();
    for round in 1..=3 {
        let pids = programs_of_task(world.dir(), uid(&task));
        assert_eq!(pids.len(), 1, "one process: {pids:?}");
        let killed_at = std::time::Instant::now();
        kill(Pid::from_raw(i32::try_from(pids[0]).expect("a pid")), Signal::SIGKILL)
            .expect("the process is there");
        eventually("the container runs again", SOON, || {
            let (now, container) = only_container(&world, "steady")?;
            assert_eq!(uid(&now), uid(&task), "it restarts in place");
            let again = restarts(&container) == round && !container["state"]["running"].is_null();
            if again { Ok(()) } else { Err(container.to_string()) }
        });
        waits.push(killed_at.elapsed());
        let (_, container) = only_container(&world, "steady").expect("the Task is there");
        assert_eq!(container["lastState"]["terminated"]["exitCode"], 137, "{container}");
    }
    assert!(waits[2] > waits[0] + Duration::from_secs(1), "the backoff grows: {waits:?}");
    world.settles();
    world.ctl(&["delete", "app/steady"]).ok();
    world.end();
}

/// A Task that fits nowhere says why, with counts: as its state, and as an Event.
pub fn a_task_that_fits_nowhere_says_why(form: StoreForm) {
    let world = World::start(form);
    world
        .apply(
            &app("huge", "exec sleep 1000").replace("memory: 8Mi", "memory: 900Ti").replace("32Mi", "900Ti"),
        )
        .ok();
    let task = eventually("its Task is there", SOON, || {
        let mut tasks = world.tasks_of("huge")?;
        tasks.pop().ok_or_else(|| "no Task".to_owned())
    });
    tells(&world, &["describe", "task", name(&task)], "0 of 1 nodes fit: 1 not enough memory");
    tells(&world, &["describe", "task", name(&task)], "FailedScheduling");
    tells(&world, &["describe", "app", "huge"], "RolloutStarted");
    world.settles();
    world.ctl(&["delete", "app/huge"]).ok();
    world.end();
}

fn tells(world: &World, command: &[&str], what: &str) {
    eventually(&format!("{command:?} tells `{what}`"), SOON, || {
        let said = world.ctl(command).ok();
        if said.contains(what) { Ok(()) } else { Err(said) }
    });
}

/// A container over its memory limit is killed and says so.
pub fn a_memory_hog_is_oom_killed(form: StoreForm) {
    let world = World::start(form);
    world.apply(&app("hog", "exec tail /dev/zero")).ok();
    let ended = eventually("the hog was killed", SOON, || {
        let (_, container) = only_container(&world, "hog")?;
        let state = [&container["lastState"], &container["state"]];
        let ended = state.into_iter().find(|state| !state["terminated"].is_null());
        ended.map(|state| state["terminated"].clone()).ok_or_else(|| container.to_string())
    });
    assert_eq!(ended["reason"], "OOMKilled", "{ended}");
    assert_eq!(ended["exitCode"], 137, "{ended}");
    let task = world.tasks_of("hog").expect("the Tasks are listed").remove(0);
    tells(&world, &["describe", "task", name(&task)], "OOMKilled");
    tells(&world, &["get", "events"], "went over its memory limit");
    world.ctl(&["delete", "app/hog"]).ok();
    world.end();
}

/// An exit code is shown, and the words before it can be read: at once, and as the attempt before once it runs again.
pub fn an_exit_code_and_the_last_words_are_kept(form: StoreForm) {
    let world = World::start(form);
    world.apply(&app("brief", "echo last words; exit 3")).ok();
    let exited_and_restarted = |times: u64| {
        eventually(&format!("the exit is reported after {times} restarts"), SOON, || {
            let (_, container) = only_container(&world, "brief")?;
            let exited = container["lastState"]["terminated"]["exitCode"] == 3;
            if exited && restarts(&container) >= times { Ok(()) } else { Err(container.to_string()) }
        });
    };
    exited_and_restarted(0);
    let logs = world.ctl(&["logs", "app/brief"]).ok();
    assert!(logs.contains("last words"), "{logs}");
    exited_and_restarted(1);
    let logs = world.ctl(&["logs", "app/brief", "--previous"]).ok();
    assert!(logs.contains("last words"), "{logs}");
    world.ctl(&["delete", "app/brief"]).ok();
    world.end();
}
