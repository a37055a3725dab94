//! A Node on which Tasks run is deleted only after a yes.

use std::io::Write as _;
use std::process::{Command, Stdio};

use berth_client::{BindItem, Client, Write};
use berth_types::node::Node;
use berth_types::task::Task;
use serde_json::{Value, json};

use super::World;

/// A world with the Nodes `busy`, on which the Task `t` runs, and `idle`.
fn world() -> World {
    let world = World::start();
    let node = |name: &str| format!("apiVersion: berth.dev/v1\nkind: Node\nmetadata: {{name: {name}}}\n");
    world.write("nodes.yaml", &format!("{}---\n{}", node("idle"), node("busy")));
    world.run("apply -f nodes.yaml");
    by_client(&world, async |client| {
        let room = json!({"cpu": "4", "memory": "8Gi", "disk": "8Gi"});
        let status = json!({"status": {"allocatable": room, "capacity": room}});
        let node = client.write(&Write::patch_status::<Node>("", "busy", status)).await.expect("a Node");
        let task = json!({
            "apiVersion": "berth.dev/v1", "kind": "Task", "metadata": {"name": "t", "namespace": "default"},
            "spec": {"containers": [{"name": "main", "command": ["sleep", "1"]}]},
        });
        let task = client.write(&Write::create_json(&task)).await.expect("a Task");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let item = BindItem {
            namespace: "default".into(),
            task: "t".into(),
            task_uid: text(&task["metadata"]["uid"]),
            node: "busy".into(),
            node_uid: text(&node["metadata"]["uid"]),
            node_version: text(&node["metadata"]["resourceVersion"]),
            ports: Vec::new(),
        };
        let bound = client.bind(&[item], None).await.expect("an answer");
        assert!(bound.iter().all(Result::is_ok), "{bound:?}");
    });
    world
}

fn by_client(world: &World, work: impl AsyncFnOnce(Client)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        work(Client::new(&[format!("unix:{}", world.socket().display())]).expect("a client")).await;
    });
}

fn nodes(world: &World) -> String {
    world.run("get nodes -o name").1
}

#[test]
fn without_a_terminal_it_is_refused_and_nothing_is_deleted() {
    let world = world();
    for line in ["delete node busy", "delete nodes idle busy", "delete -f nodes.yaml", "delete nodes --all"] {
        let (code, said, why) = world.run(line);
        assert_eq!((code, said.as_str()), (2, ""), "{line}");
        assert_eq!(
            why,
            "error: deleting a node on which tasks run, node/busy (1 task), needs confirmation\nhint: add --yes\n"
        );
        assert_eq!(nodes(&world), "node/busy\nnode/idle\n", "{line}");
    }
    assert_eq!(world.run("delete node idle").0, 0);
    assert_eq!(world.run("delete node busy --yes").0, 0);
    assert_eq!(nodes(&world), "");
}

#[test]
fn a_node_whose_tasks_have_ended_is_not_asked_about() {
    let world = world();
    by_client(&world, async |client| {
        let over = json!({"status": {"phase": "Succeeded"}});
        client.write(&Write::patch_status::<Task>("default", "t", over)).await.expect("a Task");
    });
    assert_eq!(world.run("delete node busy").0, 0);
}

#[test]
fn at_a_terminal_only_a_yes_deletes_it() {
    let world = world();
    for (answer, code, left) in [
        ("\n", 130, "node/busy\nnode/idle\n"),
        ("y\n", 130, "node/busy\nnode/idle\n"),
        ("yes\n", 0, "node/idle\n"),
    ] {
        let ctl = format!("{} delete node busy", env!("CARGO_BIN_EXE_ctl"));
        let mut typed = Command::new("script")
            .args(["-qec", &ctl, "/dev/null"])
            .env("CTL_SERVER", format!("unix:{}", world.socket().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script starts");
        let mut keyboard = typed.stdin.take().expect("a pipe");
        keyboard.write_all(answer.as_bytes()).expect("script reads");
        let run = typed.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&run.stdout).into_owned();
        assert_eq!(run.status.code(), Some(code), "{answer:?}: {said}");
        assert!(said.contains("Type yes to go on: "), "{said}");
        assert_eq!(nodes(&world), left, "{answer:?}: {said}");
    }
}
