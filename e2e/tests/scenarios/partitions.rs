//! Nodes that cannot reach the API, nor be reached, or one of the two.

use std::time::Duration;

use berth_e2e::faults::{Network, Way};
use berth_e2e::leftovers::programs_of_task;
use berth_e2e::pace::Pace;
use berth_e2e::wait::{always, eventually};
use berth_e2e::world::{SOON, condition, name, summary, uid};
use berth_e2e::{Part, StoreForm, World, http, soak};
use berth_types::Timestamp;
use serde_json::Value;

use crate::census::{Census, idle_app, node_of, replace_after, wait_node};

/// The node `one` and the node `two`, each with a network of its own and a link to the API.
struct Pair {
    world: World,
    networks: [Network; 2],
}

impl Pair {
    fn start(form: StoreForm) -> Self {
        let networks = [Network::new(), Network::new()];
        let mut plan = World::plan(form).pace(Pace::of_run()).with(Part::SecondAgent);
        for (part, network) in [Part::Agent, Part::SecondAgent].into_iter().zip(&networks) {
            let launcher = network.launcher();
            let words: Vec<&str> = launcher.iter().map(String::as_str).collect();
            plan = plan.relayed(part).launcher(part, &words);
        }
        Self { world: plan.start(), networks }
    }
}

/// One web server on each node, on the same port of each; nobody replaces it.
const FRONT: &str = "apiVersion: berth.dev/v1
kind: App
metadata: {name: front}
spec:
  replicas: 2
  minReadySeconds: 0
  template:
    spec:
      drainDelaySeconds: 0
      terminationGracePeriodSeconds: 1
      unreachable: {replaceAfterSeconds: 600}
      containers:
        - name: web
          command: [sh, -c, 'echo here > index.html; exec busybox httpd -f -p 8080']
          ports: [{name: http, hostPort: 8080}]
          resources: {requests: {cpu: 10m, memory: 8Mi}}
---
";

/// The time that a condition of an object has its status since.
fn since(object: &Value, type_: &str) -> Timestamp {
    let conditions = object["status"]["conditions"].as_array().expect("it has conditions");
    let found = conditions.iter().find(|one| one["type"] == type_).expect("it has the condition");
    time(&found["lastTransitionTime"])
}

fn time(text: &Value) -> Timestamp {
    Timestamp::parse(text.as_str().expect("a time")).expect("a time")
}

/// A node that is cut off is NotReady; its Tasks run on, are replaced on the other after `replaceAfter`, and are stopped
/// when it returns: in the end there is one of each.
pub fn a_node_cut_off_is_replaced_and_stops_its_tasks_when_it_returns(form: StoreForm) {
    let pair = Pair::start(form);
    let world = &pair.world;
    world.apply(&(idle_app("calm", 4, "") + FRONT)).ok();
    let before = world.wait_ready("calm", 4);
    world.wait_ready("front", 2);
    let front = Census::of(world, "front").expect("the API answers");
    let (lost, other, link) = match node_of(&before[0]) {
        "one" => ("one", "two", world.link(Part::Agent)),
        _ => ("two", "one", world.link(Part::SecondAgent)),
    };
    let cut_off: Vec<&Value> = before.iter().filter(|task| node_of(task) == lost).collect();

    link.cut();
    let node = wait_node(world, lost, "False", SOON);
    assert!(link.refused() > 0, "the link was cut");
    let after = eventually("four Tasks are ready on the other node", SOON, || {
        let tasks = world.tasks_of("calm")?;
        let there = |task: &&Value| node_of(task) == other && condition(task, "Ready") == "True";
        let there = tasks.iter().filter(there).count();
        if there == 4 && tasks.len() == 4 { Ok(tasks) } else { Err(summary(&tasks)) }
    });
    let due = since(&node, "Ready").plus(replace_after()).whole_seconds();
    let new = after.iter().filter(|task| before.iter().all(|old| uid(old) != uid(task)));
    for task in new {
        assert!(time(&task["metadata"]["creationTimestamp"]) >= due, "{} came before {due}", name(task));
    }
    for task in &cut_off {
        assert_eq!(programs_of_task(world.dir(), uid(task)).len(), 1, "{} runs on", name(task));
    }
    for network in &pair.networks {
        assert_eq!(network.inside(|| http::get(8080)).expect("an answer"), "here");
    }

    link.heal();
    wait_node(world, lost, "True", SOON);
    eventually("what was replaced is stopped", SOON, || {
        let all = world.list("tasks")?;
        let left = all.iter().filter(|task| cut_off.iter().any(|old| uid(old) == uid(task)));
        let left = left.count() + cut_off.iter().filter(|old| !processes(world, old).is_empty()).count();
        if left == 0 { Ok(()) } else { Err(format!("{left} left: {}", summary(&all))) }
    });
    let kept = Census::of(world, "calm").expect("the API answers");
    always("there is exactly one of each", soak::paced(Duration::from_secs(10)), || {
        kept.is_untouched(world, "calm")?;
        let tasks = world.tasks_of("calm")?;
        let single = tasks.iter().all(|task| processes(world, task).len() == 1);
        if single && tasks.len() == 4 { Ok(()) } else { Err(summary(&tasks)) }
    });
    front.must_be_untouched(world, "front");
    pair.end();
}

fn processes(world: &World, task: &Value) -> Vec<u32> {
    programs_of_task(world.dir(), uid(task))
}

impl Pair {
    fn end(self) {
        self.world.settles();
        self.world.ctl(&["delete", "app/calm", "app/front"]).ok();
        self.world.wait_none("tasks");
        self.world.end();
    }
}

/// A link that carries only one direction, or nothing and tells nobody, makes its node NotReady in bounded time, and
/// Ready again when it heals; nothing that runs is touched.
pub fn one_way_cuts_and_a_black_hole_are_noticed_and_healed(form: StoreForm) {
    let pair = Pair::start(form);
    let world = &pair.world;
    world.apply(&(FRONT.to_owned() + &idle_app("calm", 2, ""))).ok();
    world.wait_ready("front", 2);
    let front = Census::of(world, "front").expect("the API answers");
    let link = world.link(Part::Agent);
    // Silence, the agent's missed answers, a connection's pings: none is longer than this, on a busy machine neither.
    let noticed = Duration::from_secs(10) + soak::paced(Duration::from_secs(30));
    type Begun<'a> = (&'a str, &'a dyn Fn(), &'a [Way]);
    let faults: [Begun<'_>; 3] = [
        ("nothing reaches the server", &|| link.swallow_one_way(Way::ToServer), &[Way::ToServer]),
        ("nothing reaches the agent", &|| link.swallow_one_way(Way::FromServer), &[Way::FromServer]),
        ("a black hole", &|| link.swallow(), &[Way::ToServer]),
    ];
    for (what, begin, ways) in faults {
        begin();
        wait_node(world, "one", "False", noticed);
        for way in ways {
            assert!(link.held(*way) > 0, "{what}: nothing was swallowed {way:?}");
        }
        always(&format!("the node stays NotReady: {what}"), soak::paced(Duration::from_secs(15)), || {
            let nodes = world.list("nodes")?;
            let ready = nodes.iter().any(|node| name(node) == "one" && condition(node, "Ready") == "True");
            if ready { Err(summary(&nodes)) } else { Ok(()) }
        });
        wait_node(world, "two", "True", SOON);
        link.heal();
        wait_node(world, "one", "True", SOON);
        front.must_be_untouched(world, "front");
    }
    pair.end();
}
