//! Two schedulers, neither of which knows that it is not alone, and more Tasks than there is room for.
//!
//! Both decide alike and ask for the same Tasks, so the second is refused for the Task, not for room: a third, which
//! knows nothing of room, asks too. That no node is ever overbound rests on the server's own sum of room; without it
//! this was seen to fail, with 100 Tasks on a node for 40. That the sum is not stale (own binds, ledger) is too brief
//! to show here: `e2e/tests/seeded` does.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use berth_e2e::pace::Pace;
use berth_e2e::process::Process;
use berth_e2e::wait::{always, eventually};
use berth_e2e::world::{SOON, condition, name, summary, uid};
use berth_e2e::{Part, StoreForm, World, binary, hits, soak};
use serde_json::{Value, json};

use crate::operator::Operator;

const NODES: usize = 10;
/// Tasks of 800m that a simulated node of 32 cores holds.
const FIT: usize = 40;
const TASKS: usize = 500;

fn crowd() -> String {
    format!(
        "apiVersion: berth.dev/v1
kind: App
metadata: {{name: crowd}}
spec:
  replicas: {TASKS}
  minReadySeconds: 0
  template:
    spec:
      unreachable: {{replaceAfterSeconds: 600}}
      containers:
        - name: main
          command: [sleep, '100000']
          resources: {{requests: {{cpu: 800m, memory: 8Mi}}}}
"
    )
}

fn named(node: usize) -> String {
    format!("sim-{node}")
}

/// How many Tasks not at their end are bound to each incarnation of a node.
fn bound(tasks: &[Value]) -> BTreeMap<String, usize> {
    let mut bound = BTreeMap::new();
    for task in tasks {
        let at_its_end = matches!(task["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        if let (false, Some(node)) = (at_its_end, task["spec"]["nodeUid"].as_str()) {
            *bound.entry(node.to_owned()).or_default() += 1;
        }
    }
    bound
}

fn never_over(operator: &Operator) -> Result<(), String> {
    let bound = bound(&operator.tasks()?);
    match bound.iter().find(|(_, count)| **count > FIT) {
        Some((node, count)) => panic!("{count} Tasks on node {node}, which holds {FIT}"),
        None => Ok(()),
    }
}

/// 500 Tasks for nodes that hold 400, two schedulers that both act, and nodes that shrink, are cordoned and re-join
/// meanwhile: never more than fits, in the end exactly that, and the rest say why.
pub fn two_schedulers_bind_exactly_what_fits(form: StoreForm) {
    let plan = World::plan(form).pace(Pace::of_run()).without(Part::Agent).simulate(NODES);
    let forced = ["--only", "scheduler", "--force-active"];
    let plan = plan.args(Part::Controllers, &["--only", "app,node,garbage"]);
    let mut world = plan.with(Part::SecondControllers).args(Part::SecondControllers, &forced).start();
    let mut command = Command::new(binary("controllers"));
    command.args(["--server", &world.server()]).args(forced).env("BERTH_FAILPOINT_HITS", world.hits());
    let second = Process::start("second scheduler", command, &world.data().join("log/second-scheduler.log"));
    let schedulers = [world.part(Part::SecondControllers).pid(), second.pid()];
    let operator = Operator::new(&world);

    let fault = world.faults().begin("two schedulers act; nodes shrink, are cordoned and re-join");
    world.apply(&crowd()).ok();
    let mut refused = 0;
    for round in 0..soak::counts(8, 60) {
        let (cordoned, shrunk) = (round % NODES, (round + 3) % NODES);
        operator.cordon(&named(cordoned), json!(true));
        operator.resize(&named(shrunk), 16);
        shrunk_takes_no_more(&world, &operator, shrunk);
        if round % 4 == 3 {
            rejoin(&mut world, (round + 5) % NODES);
        }
        operator.cordon(&named(cordoned), Value::Null);
        operator.resize(&named(shrunk), 32);
        refused += operator.crowd(&named(shrunk), FIT + FIT / 2);
        never_over(&operator).expect("the API answers");
    }
    drop(fault);
    assert!(refused > 0, "nobody asked for more than fits");

    eventually("what fits is bound, and the rest say why", SOON * 2, || {
        never_over(&operator)?;
        settled(&operator)
    });
    let stays = || {
        never_over(&operator)?;
        settled(&operator)
    };
    always("it stays so", soak::paced(Duration::from_secs(10)), stays);
    for pid in schedulers {
        assert!(
            hits::of_process(&world.hits(), pid, "runtime.bind.after") > 0,
            "both schedulers placed Tasks"
        );
    }
    world.settles();
    world.ctl(&["delete", "app/crowd"]).ok();
    world.wait_none("tasks");
    second.stop();
    world.stop_all();
}

/// From the answer on that it is smaller, a node that holds more than that takes no Task any more.
fn shrunk_takes_no_more(world: &World, operator: &Operator, node: usize) {
    let nodes = world.list("nodes").expect("the API answers");
    let node = nodes.iter().find(|one| name(one) == named(node)).expect("it is there");
    let count = |tasks: &[Value]| bound(tasks).get(uid(node)).copied().unwrap_or(0);
    let before = count(&operator.tasks().expect("the API answers"));
    always("a node that shrank takes nothing", Duration::from_millis(200), || {
        let now = count(&operator.tasks()?);
        if now <= before.max(FIT / 2) { Ok(()) } else { Err(format!("{before} before, now {now}")) }
    });
}

/// The operator says that nothing of a node runs, and it comes again.
fn rejoin(world: &mut World, node: usize) {
    world.kill(Part::Simulated);
    world.ctl(&["delete", "node", &named(node), "--yes"]).ok();
    world.begin(Part::Simulated);
    eventually("the node is there again", SOON, || {
        let nodes = world.list("nodes")?;
        let ready = nodes.iter().filter(|node| condition(node, "Ready") == "True").count();
        if ready == NODES { Ok(()) } else { Err(summary(&nodes)) }
    });
}

fn settled(operator: &Operator) -> Result<(), String> {
    let tasks = operator.tasks()?;
    let bound: usize = bound(&tasks).values().sum();
    let explained = tasks.iter().filter(|task| {
        condition(task, "Scheduled") == "False" && task["status"].to_string().contains("0 of 10 nodes fit")
    });
    match (tasks.len(), bound, explained.count()) {
        (TASKS, 400, 100) => Ok(()),
        other => Err(format!("Tasks, bound, explained: {other:?}")),
    }
}
