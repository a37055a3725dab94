//! A template whose preparation ends the agents of two nodes: its App sends it to no third one.

use std::time::Duration;

use berth_e2e::wait::{always, eventually};
use berth_e2e::world::{SOON, summary};
use berth_e2e::{Part, StoreForm, World};
use serde_json::{Value, json};

use crate::census::idle_app;
use crate::operator::Operator;

/// The third node, which has no containers: a Task that came there would be ready at once.
const THIRD: &str = "sim-0";

/// Longer than the pause before the second replacement, and than a Task takes to be placed.
const LONG: Duration = Duration::from_secs(4);

/// The Task ends the agents of the nodes `one` and `two`, one after the other, each of which refuses it. Then nothing is
/// created, though all nodes have room, until `rollout restart`: that one is placed and runs.
pub fn a_template_that_took_down_the_agents_of_two_nodes_goes_to_no_third(form: StoreForm) {
    let mut world = World::plan(form).with(Part::SecondAgent).simulate(1).start();
    let operator = Operator::new(&world);
    let only_on = |node: &str| {
        for other in ["one", "two", THIRD] {
            operator.cordon(other, if other == node { Value::Null } else { json!(true) });
        }
    };
    only_on("one");
    for part in [Part::Agent, Part::SecondAgent] {
        world.arm(part, "agent.home.made kill 1+\n");
    }
    world.apply(&idle_app("culprit", 1, "")).ok();
    assert!(world.falls(Part::Agent, SOON), "the first agent prepares the Task");
    only_on("two");
    world.begin(Part::Agent);
    assert!(world.falls(Part::SecondAgent, SOON), "the second agent prepares the next Task");
    refused_on(&world, &["one"]);
    ["one", "two", THIRD].iter().for_each(|node| operator.cordon(node, Value::Null));
    world.begin(Part::SecondAgent);
    refused_on(&world, &["one", "two"]);
    let why = eventually("the App says why it has no Task", SOON, || {
        let apps = world.list("apps")?;
        let said = apps[0]["status"].to_string();
        if said.contains("took down the agents of one, two") { Ok(said) } else { Err(said) }
    });
    assert!(why.contains("ctl rollout restart app/culprit"), "{why}");
    always("no other Task comes", LONG, || refused(&world, &["one", "two"]));
    eventually("an Event says so", SOON, || {
        let told = world.ctl(&["get", "events"]).ok();
        if told.contains("RevisionHalted") { Ok(()) } else { Err(told) }
    });

    for part in [Part::Agent, Part::SecondAgent] {
        world.arm(part, "");
    }
    world.ctl(&["rollout", "restart", "app/culprit"]).ok();
    eventually("the App is tried again", SOON, || {
        let tasks = world.tasks_of("culprit")?;
        let runs = tasks.iter().filter(|task| task["status"]["phase"] == "Running").count();
        if runs == 1 { Ok(()) } else { Err(summary(&tasks)) }
    });
    world.settles();
    world.ctl(&["delete", "app/culprit"]).ok();
    world.wait_none("tasks");
    world.end();
}

fn refused_on(world: &World, nodes: &[&str]) {
    eventually(&format!("a Task is refused on each of {nodes:?}"), SOON, || refused(world, nodes));
}

/// Whether the App's Tasks are one on each of these nodes, refused there; after the first, the next one is on its way.
fn refused(world: &World, nodes: &[&str]) -> Result<(), String> {
    let tasks = world.tasks_of("culprit")?;
    let ended: Vec<&Value> = tasks.iter().filter(|task| task["status"]["phase"] == "Failed").collect();
    let mut on: Vec<&str> = ended.iter().filter_map(|task| task["spec"]["nodeName"].as_str()).collect();
    on.sort_unstable();
    let all_refused = ended.iter().all(|task| task["status"]["reason"] == "TookAgentDown");
    let others = tasks.len() - ended.len();
    let right = all_refused && on == nodes && (nodes.len() < 2 || others == 0);
    if right { Ok(()) } else { Err(summary(&tasks)) }
}
