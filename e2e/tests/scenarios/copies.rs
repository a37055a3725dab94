//! A data folder that is not the agent's own: a copy of one in use, or that of a Node of another name.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use berth_e2e::leftovers::programs_of_task;
use berth_e2e::process::Process;
use berth_e2e::wait::{always, eventually};
use berth_e2e::world::{SOON, uid};
use berth_e2e::{Part, StoreForm, World, binary};
use serde_json::Value;

use crate::census::idle_app;

fn processes(world: &World, tasks: &[Value]) -> Vec<Vec<u32>> {
    tasks.iter().map(|task| programs_of_task(world.dir(), uid(task))).collect()
}

/// An agent on these folders ends by itself; what it wrote.
fn refused(world: &World, name: &str, data: &Path, run: &Path) -> String {
    let mut command = Command::new(binary("node-agent"));
    command.args(["--allow-host-root", "--node-name", name, "--server", &world.server()]);
    command.arg("--data").arg(data).arg("--run").arg(run);
    let mut agent = Process::start("another agent", command, &world.dir().join(format!("{name}.log")));
    eventually("the agent refuses", SOON, || match agent.ended() {
        Some(status) if !status.success() => Ok(agent.output()),
        Some(status) => Err(format!("it ended with {status}: {}", agent.output())),
        None => Err(agent.output()),
    })
}

/// An agent on a copy of a data folder refuses to start, names the original, and touches nothing that it runs.
pub fn a_copy_of_a_data_folder_touches_nothing_of_the_original(form: StoreForm) {
    let world = World::start(form);
    world.apply(&idle_app("steady", 2, "")).ok();
    let tasks = world.wait_ready("steady", 2);
    let before = processes(&world, &tasks);
    assert!(before.iter().all(|pids| !pids.is_empty()), "{before:?}");

    let (data, run) = (world.dir().join("copy/data"), world.dir().join("copy/run"));
    std::fs::create_dir_all(&data).expect("the world's folder is writable");
    let copied = Command::new("cp").arg("-a").arg(world.data().join(".")).arg(&data).status();
    assert!(copied.expect("cp starts").success());
    let said = refused(&world, "one", &data.join("node"), &run.join("node"));
    let original = format!(
        "pid {}, data folder {}, run folder {}",
        world.part(Part::Agent).pid(),
        world.data().join("node").display(),
        world.run().join("node").display()
    );
    assert!(said.contains(&original) && !said.contains("adopted"), "{said}");

    let folders = [data.display().to_string(), run.display().to_string()];
    let up = world.ctl(&["up", "--data", &folders[0], "--run", &folders[1], "--node-name", "one"]);
    assert!(up.code != 0 && up.stderr.contains(&original), "{up:?}");
    always("the original's containers run on", Duration::from_secs(2), || {
        let now = processes(&world, &tasks);
        if now == before { Ok(()) } else { Err(format!("{before:?} became {now:?}")) }
    });

    // The original goes on.
    world.ctl(&["scale", "app/steady", "--replicas", "3"]).ok();
    world.wait_ready("steady", 3);
    world.settles();
    world.ctl(&["delete", "app/steady"]).ok();
    world.wait_none("tasks");
    world.end();
}

/// A data folder is refused under another name before anything in it is adopted; the message names both.
pub fn a_data_folder_of_another_name_is_refused_before_anything_is_adopted(form: StoreForm) {
    let mut world = World::start(form);
    world.apply(&idle_app("steady", 2, "")).ok();
    let tasks = world.wait_ready("steady", 2);
    let before = processes(&world, &tasks);
    assert!(before.iter().all(|pids| !pids.is_empty()), "{before:?}");
    world.stop(Part::Agent);
    let said = refused(&world, "second-name", &world.data().join("node"), &world.run().join("node"));
    assert!(said.contains("Node `one`") && said.contains("`second-name`"), "{said}");
    assert!(!said.contains("adopted"), "{said}");
    world.begin(Part::Agent);
    let after = world.wait_ready("steady", 2);
    assert_eq!(processes(&world, &after), before, "the containers ran on");
    world.ctl(&["delete", "app/steady"]).ok();
    world.wait_none("tasks");
    world.end();
}
