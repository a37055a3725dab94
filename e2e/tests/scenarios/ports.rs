//! Ports of Tasks on which somebody else listens: Tasks share the network of their node.

use std::fs;
use std::net::TcpListener;

use berth_e2e::port::Port;
use berth_e2e::wait::eventually;
use berth_e2e::world::{Part, SOON, condition, name, port, summary};
use berth_e2e::{StoreForm, World, http};
use serde_json::Value;

const SERVES: &str = "exec busybox httpd -f -p \"$PORT_HTTP\"";

fn app(name: &str, script: &str, port: &str, probe: &str) -> String {
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
          command: [sh, -c, 'echo well > index.html; {script}']
          ports: [{port}]
          resources: {{requests: {{cpu: 10m, memory: 8Mi}}}}
{probe}
"
    )
}

fn fixed(port: &Port) -> String {
    format!("{{name: http, hostPort: {}}}", port.number())
}

/// This process listens on a port.
fn listen(port: u16) -> TcpListener {
    TcpListener::bind(("127.0.0.1", port)).expect("the port is free")
}

/// What is said of a port on which this process listens.
fn held(port: u16) -> String {
    let own = fs::read_to_string("/proc/self/comm").expect("this process has a name");
    format!("port {port} is held by {} (pid {})", own.trim_end(), std::process::id())
}

/// The only Task of an App is not ready, and `ctl describe` gives `why` as the reason.
fn is_not_ready_because(world: &World, app: &str, why: &str) {
    eventually(&format!("the Task of {app} is not ready: {why}"), SOON, || {
        let tasks = world.tasks_of(app)?;
        let [task] = tasks.as_slice() else { return Err(summary(&tasks)) };
        let said = world.ctl(&["describe", "task", name(task)]).ok();
        let so = condition(task, "Ready") == "False" && said.contains(why);
        if so { Ok(()) } else { Err(said) }
    });
}

/// A stranger on a port of the manifest keeps its Task from being ready, is named, and is waited for: before the start, and
/// when it answers a probe. Where the port was assigned, the Task fails for it and the next one gets another.
pub fn a_port_that_a_stranger_holds_makes_no_task_ready_and_names_the_stranger(form: StoreForm) {
    let (low, high) = Port::take_pair();
    let range = format!("{}-{}", low.number(), high.number());
    let world = World::plan(form).args(Part::Agent, &["--ports", &range]).start();
    let (early, late) = (Port::take(), Port::take());

    // Without a probe, a Task is ready as soon as it runs.
    let stranger = listen(early.number());
    world.apply(&app("early", SERVES, &fixed(&early), "")).ok();
    is_not_ready_because(&world, "early", &held(early.number()));
    drop(stranger);
    world.wait_ready("early", 1);
    eventually("the Task answers", SOON, || http::get(early.number()).map_err(|error| error.to_string()));

    let probe = "          readinessProbe: {tcpSocket: {port: http}, periodSeconds: 1}";
    world.apply(&app("late", "exec sleep 1000", &fixed(&late), probe)).ok();
    is_not_ready_because(&world, "late", "readiness probe failed: 127.0.0.1");
    let stranger = listen(late.number());
    is_not_ready_because(&world, "late", &format!("readiness probe failed: {}", held(late.number())));
    drop(stranger);
    is_not_ready_because(&world, "late", "readiness probe failed: 127.0.0.1");
    world.ctl(&["delete", "app/late"]).ok();

    another_port_is_assigned(&world, &low, &high);
    world.settles();
    world.ctl(&["delete", "app/early", "app/assigned"]).ok();
    world.end();
}

/// Both ports of the node are held, then the one that the first Task did not get is free.
fn another_port_is_assigned(world: &World, low: &Port, high: &Port) {
    let mut strangers = [low, high].map(|port| Some(listen(port.number())));
    let probe = "          readinessProbe: {httpGet: {port: http}, periodSeconds: 1}";
    world.apply(&app("assigned", SERVES, "{name: http}", probe)).ok();
    let failed = eventually("the first Task has failed", SOON, || {
        let tasks = world.tasks_of("assigned")?;
        let first = tasks.iter().find(|task| task["status"]["phase"] == "Failed");
        first.cloned().ok_or_else(|| summary(&tasks))
    });
    let first = port(&failed, "http");
    let (reason, message) = (&failed["status"]["reason"], &failed["status"]["message"]);
    assert_eq!(
        (reason.as_str(), message.as_str()),
        (Some("PortHeld"), Some(held(first).as_str())),
        "{failed}"
    );
    strangers[usize::from(first == low.number())] = None;
    let ready = eventually("a Task is ready on the other port", SOON, || {
        let tasks: Vec<Value> = world.tasks_of("assigned")?;
        let ready = tasks.iter().find(|task| condition(task, "Ready") == "True");
        ready.cloned().ok_or_else(|| summary(&tasks))
    });
    assert_ne!(port(&ready, "http"), first, "{ready}");
    assert_eq!(http::get(port(&ready, "http")).expect("an answer").trim_end(), "well");
}
