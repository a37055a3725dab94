use serde_json::{Value, json};

use super::*;

const THEN: &str = "2026-11-21T08:00:00Z";

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({ "type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": THEN })
}

fn replica(node: &str, status: Value) -> Replica {
    let tree = json!({
        "metadata": { "name": "web-7", "uid": "u7", "creationTimestamp": THEN },
        "spec": { "nodeName": node, "containers": [{ "name": "main" }], "ordinal": 2, "revision": "web-a" },
        "status": status,
    });
    Replica::read(&Arc::new(serde_json::from_value(tree).unwrap()), Timestamp::parse(THEN).unwrap())
}

#[test]
fn the_life_of_a_task_is_read_from_phase_node_and_conditions() {
    let then = Timestamp::parse(THEN).unwrap();
    let ready = condition("Ready", "True", "Ready", "");
    let away = condition("Reachable", "False", "NodeNotReady", "");
    let given_up = condition("Reachable", "False", "GivenUp", "");
    let back = condition("Reachable", "True", "NodeReady", "");
    for (node, status, expected) in [
        ("", json!({ "phase": "Pending" }), Life::Unbound),
        ("n1", json!({ "phase": "Pending" }), Life::Starting),
        ("n1", json!({ "phase": "Running" }), Life::Starting),
        ("n1", json!({ "phase": "Running", "conditions": [ready] }), Life::Ready(then)),
        ("n1", json!({ "phase": "Running", "conditions": [ready, back] }), Life::Ready(then)),
        ("n1", json!({ "phase": "Starting", "conditions": [ready] }), Life::Starting),
        ("n1", json!({ "phase": "Running", "conditions": [ready, away] }), Life::Unreachable),
        ("n1", json!({ "phase": "Running", "conditions": [ready, given_up] }), Life::GivenUp),
        ("n1", json!({ "phase": "Failed", "conditions": [given_up] }), Life::Failed(then)),
        ("n1", json!({ "phase": "Succeeded" }), Life::Succeeded),
        ("n1", json!({ "phase": "OfANewerServer" }), Life::Starting),
    ] {
        assert_eq!(replica(node, status.clone()).life, expected, "{node} {status}");
    }
}

#[test]
fn a_task_says_what_keeps_it_from_being_ready() {
    let container = |waiting: Value, last: Value| {
        json!({ "phase": "Running", "containerStatuses": [
            { "name": "main", "state": { "waiting": waiting }, "lastState": { "terminated": last } }
        ] })
    };
    let back_off = json!({ "reason": "BackOff", "message": "restarts at 08:10:11Z" });
    let no_node = condition("Scheduled", "False", "Unschedulable", "there is no node");
    let probe = condition("Ready", "False", "NotReady", "container main is not ready yet");
    let away = condition("Reachable", "False", "NodeNotReady", "");
    for (node, status, expected) in [
        ("", json!({}), "waits for the scheduler"),
        ("", json!({ "conditions": [no_node] }), "found no node: there is no node"),
        ("n1", json!({}), "starts on node n1"),
        ("n1", json!({ "conditions": [probe] }), "container main is not ready yet"),
        ("n1", json!({ "conditions": [probe, away] }), "is on node n1, which is away"),
        (
            "n1",
            container(back_off.clone(), json!({ "exitCode": 1, "reason": "Error" })),
            "BackOff exit 1, restarts at 08:10:11Z",
        ),
        (
            "n1",
            container(back_off, json!({ "exitCode": 137, "reason": "OOMKilled" })),
            "BackOff OOMKilled, restarts at 08:10:11Z",
        ),
        ("n1", container(json!({ "reason": "Creating" }), Value::Null), "starts on node n1"),
        (
            "n1",
            json!({ "phase": "Running", "containerStatuses": [
                { "name": "a", "state": { "running": {} } },
                { "name": "b", "state": { "waiting": { "reason": "Creating" } } },
                { "name": "c", "state": { "waiting": { "reason": "ImageError", "message": "no such folder" } } },
            ] }),
            "ImageError, no such folder",
        ),
    ] {
        let said = match replica(node, status.clone()).trouble {
            Trouble::None => String::new(),
            Trouble::OnItsWay(text)
            | Trouble::NodeAway(text)
            | Trouble::Unplaced(text)
            | Trouble::Container(text) => text,
        };
        assert_eq!(said, expected, "{node} {status}");
    }
}

#[test]
fn the_name_of_a_revision_is_computed_from_the_template_and_the_restarts() {
    let template = |args: &[&str]| {
        let tree = json!({ "spec": { "containers": [{ "name": "main", "args": args }] } });
        serde_json::from_value::<TaskTemplate>(tree).unwrap()
    };
    let name = revision_name("web", &template(&["a"]), 0);
    // Were this name to change, an upgrade of Berth would restart every Task of every cluster.
    assert_eq!(name, "web-fb0497aa7e");
    assert_eq!(revision_name("web", &template(&["a"]), 0), name);
    assert_ne!(revision_name("web", &template(&["b"]), 0), name);
    assert_ne!(revision_name("web", &template(&["a"]), 1), name);
}

#[test]
fn how_long_a_task_must_be_ready_to_count_is_read_from_the_app() {
    let probe = json!({ "tcpSocket": { "port": 80 } });
    for (given, container, expected) in [
        (Value::Null, json!({}), 10),
        (Value::Null, json!({ "readinessProbe": probe }), 0),
        (json!(3), json!({}), 3),
        (json!(3), json!({ "readinessProbe": probe }), 3),
        (json!(0), json!({}), 0),
    ] {
        let mut app = json!({ "metadata": { "name": "web" }, "spec": { "template": { "spec": { "containers": [container] } } } });
        if !given.is_null() {
            app["spec"]["minReadySeconds"] = given.clone();
        }
        let app: App = serde_json::from_value(app).unwrap();
        assert_eq!(Wanted::read(&app).unwrap().min_ready.as_secs(), expected, "{given} {container}");
    }
}

#[test]
fn a_task_that_is_ready_from_an_hour_ahead_on_is_not_waited_for() {
    let task = json!({
        "metadata": { "name": "web-7" },
        "spec": { "nodeName": "n1" },
        "status": { "phase": "Running", "conditions": [condition("Ready", "True", "Ready", "")] },
    });
    let then = Timestamp::parse(THEN).unwrap();
    let read = |now| Replica::read(&serde_json::from_value(task.clone()).unwrap(), now);
    let from = |now| read(now).available_from(Duration::from_secs(9)).unwrap();
    assert_eq!(from(then), then.plus(Duration::from_secs(9)));
    let an_hour_before = Timestamp::from_millis(then.millis() - 3_600_000);
    assert!(from(an_hour_before) < an_hour_before);
}

#[test]
fn a_failed_task_counts_its_restarts_in_place_only_when_it_used_them_up() {
    for (reason, restart, expected) in [
        ("TooManyRestarts", json!({}), 5),
        ("TooManyRestarts", json!({ "inPlace": 2 }), 2),
        ("ImageError", json!({}), 5),
        ("CreateError", json!({}), 5),
        ("NodeLost", json!({}), 0),
        ("TookAgentDown", json!({}), 0),
        ("", json!({}), 0),
    ] {
        let tree = json!({
            "metadata": { "name": "web-7", "creationTimestamp": THEN, "annotations": {
                "berth.dev/failed-before": "3", "berth.dev/restarts-before": "15",
            } },
            "spec": { "restart": restart },
            "status": { "phase": "Failed", "reason": reason },
        });
        let now = Timestamp::parse(THEN).unwrap();
        let read = Replica::read(&Arc::new(serde_json::from_value(tree).unwrap()), now).failures();
        assert_eq!(read, Some(Failures { at: now, tasks: 4, restarts: 15 + expected }), "{reason} {restart}");
    }
}

#[test]
fn a_task_failed_when_the_last_of_its_containers_ended_and_was_restarted_when_any_was() {
    let ended = |second: u32| json!({ "name": "c", "state": { "terminated": { "finishedAt": format!("2026-11-21T07:00:{second:02}Z") } } });
    let status = |containers: Value| json!({ "phase": "Failed", "containerStatuses": containers });
    let at = |text: &str| Life::Failed(Timestamp::parse(text).unwrap());
    for containers in [json!([ended(1), ended(9), ended(4)]), json!([ended(9), ended(1)])] {
        assert_eq!(replica("n1", status(containers)).life, at("2026-11-21T07:00:09Z"));
    }
    let restarts = |counts: [u32; 3]| {
        let containers: Vec<Value> = counts.iter().map(|count| json!({ "restartCount": count })).collect();
        replica("n1", json!({ "phase": "Running", "containerStatuses": containers })).restarted
    };
    assert_eq!([[0, 0, 0], [0, 0, 2], [0, 1, 0], [1, 0, 0]].map(restarts), [false, true, true, true]);
}
