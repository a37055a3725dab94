//! Apply, answer, delete.

use std::collections::BTreeSet;

use berth_e2e::leftovers;
use berth_e2e::wait::eventually;
use berth_e2e::world::{SOON, port};
use berth_e2e::{StoreForm, World, http};

/// Three replicas become available, each on a port of its own, all answer; deleting leaves nothing.
pub fn three_replicas_answer_and_leave_nothing(form: StoreForm) {
    let world = World::start(form);
    world.ctl(&["apply", "-f", "manifests/hello.yaml"]).ok();
    world.ctl(&["wait", "app/hello", "--for=condition=Available", "--timeout", "60s"]).ok();

    let tasks = world.wait_ready("hello", 3);
    let ports: BTreeSet<u16> = tasks.iter().map(|task| port(task, "http")).collect();
    assert_eq!(ports.len(), 3, "each Task has a port of its own: {ports:?}");
    let answers: BTreeSet<String> = ports.iter().map(|port| http::get(*port).expect("an answer")).collect();
    assert_eq!(answers.len(), 3, "each Task answers for itself: {answers:?}");

    world.settles();
    world.ctl(&["delete", "app", "hello"]).ok();
    world.wait_none("tasks");
    eventually("nothing of the Tasks is left", SOON, || {
        let left = leftovers::of_tasks(world.dir());
        if left.is_empty() { Ok(()) } else { Err(format!("{left:#?}")) }
    });
    world.end();
}
