//! Many nodes and Tasks without containers: the control plane alone.

use berth_e2e::StoreForm;
use berth_e2e::many::{self, TASKS};

const NODES: usize = 1000;

/// Events of Apps that roll out, and some more: none for each Task.
const TOLD: usize = 500;

/// 10,000 Tasks are created, placed on 1,000 nodes, bound and reported; each once.
pub fn ten_thousand_tasks_on_a_thousand_nodes(form: StoreForm) {
    let mut world = many::world(form, NODES);
    many::run(&world);
    let tasks = world.list("tasks").expect("the API answers");
    assert_eq!(tasks.len(), TASKS, "none is doubled");
    assert!(tasks.iter().all(|task| task["spec"]["nodeName"].is_string()), "each is bound");
    // Waiting for the first node or for room is told; that a Task runs is not.
    let events = world.list("events").expect("the API answers").len();
    assert!(events < TOLD, "{events} Events for {} Tasks", tasks.len());
    world.stop_all();
}
