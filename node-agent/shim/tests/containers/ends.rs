//! How containers end, and what is known of it afterwards.

use berth_shim_api::{End, ExitRecord};
use rustix::process::Signal;
use serde_json::json;

use crate::world::{World, eventually};

#[test]
fn an_exit_code_arrives_with_the_whole_output() {
    let world = World::new();
    let ask = world.shell("echo hello; echo oh no >&2; printf torn; exit 42");
    let record = world.run(&ask);
    assert_eq!((record.end, record.oom_kills), (End::Code(42), 0));
    let mut lines: Vec<String> = world.output(&ask).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["stderr oh no", "stdout hello", "stdout torn"]);
}

#[test]
fn the_record_is_on_disk_when_the_end_is_told() {
    let world = World::new();
    let told = world.run(&world.program(&["/bin/true"]));
    let kept = ExitRecord::read(&world.bundle.exit_path("main", 1)).unwrap();
    assert_eq!(kept, Some(told.clone()));
    assert!(told.started_at <= told.finished_at);
}

#[test]
fn a_fast_container_is_not_missed() {
    let world = World::new();
    let mut client = world.listener();
    for attempt in 1..=10 {
        let mut ask = world.program(&["/bin/true"]);
        ask.attempt = attempt;
        world.start(&mut client, &ask);
        assert_eq!((client.next_exit().unwrap().attempt, attempt), (attempt, attempt));
    }
}

#[test]
fn a_signal_reaches_the_first_process() {
    let world = World::new();
    let mut client = world.listener();
    let ask = world.shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done");
    world.start(&mut client, &ask);
    eventually("the trap is set", || world.output(&ask).contains("ready"));
    client.signal("main", Signal::TERM.as_raw()).unwrap();
    assert_eq!(client.next_exit().unwrap().end, End::Code(7));
}

#[test]
fn kill_reaches_everything_in_the_cgroup() {
    let world = World::new();
    let mut ask = world.shell("(setsid sh -c 'sleep 1000 & exec sleep 1000' &); exec sleep 1000");
    for namespaces in [&["pid", "mount"][..], &["mount"]] {
        let mut client = world.listener();
        ask.spec["linux"]["namespaces"] = namespaces.iter().map(|kind| json!({"type": kind})).collect();
        world.start(&mut client, &ask);
        eventually("three sleep", || world.cgroups().pids().unwrap().len() == 3);
        client.kill("main").unwrap();
        assert_eq!(client.next_exit().unwrap().end, End::Signal(9));
        eventually("none is left", || world.cgroups().pids().unwrap().is_empty());
        ask.attempt += 1;
    }
}

#[test]
fn a_frozen_container_can_be_killed() {
    let world = World::new();
    let mut client = world.listener();
    world.start(&mut client, &world.program(&["/bin/sleep", "1000"]));
    let folders = world.cgroups().folders();
    let files = [("freezer.state", "FROZEN"), ("cgroup.freeze", "1")];
    let freezer = folders.iter().flat_map(|folder| files.map(|(file, word)| (folder.join(file), word)));
    let (file, word) = freezer.into_iter().find(|(file, _)| file.exists()).unwrap();
    std::fs::write(&file, word).unwrap();
    client.kill("main").unwrap();
    assert_eq!(client.next_exit().unwrap().end, End::Signal(9));
}

#[test]
fn what_the_first_process_leaves_running_ends_with_it() {
    let world = World::new();
    let mut ask = world.shell("setsid sleep 1000 & exit 3");
    ask.spec["linux"]["namespaces"] = json!([{"type": "mount"}]);
    assert_eq!(world.run(&ask).end, End::Code(3));
    eventually("the orphan is gone", || world.cgroups().pids().unwrap().is_empty());
}

#[test]
fn want_of_memory_is_told_from_other_ends() {
    let hog = "dd if=/dev/zero of=/dev/null bs=200M count=1";
    let table = [
        (format!("exec {hog}"), End::Signal(9), 137, true),
        (format!("{hog}; exit 3"), End::Code(3), 3, true),
        (format!("{hog}; exit 0"), End::Code(0), 0, false),
        ("kill -9 $$; exec sleep 0.1; exit 4".to_owned(), End::Code(0), 0, false),
    ];
    let world = World::new();
    for (attempt, (script, end, code, oom_killed)) in (1..).zip(table) {
        let mut ask = world.shell(&script);
        ask.attempt = attempt;
        let record = world.run(&ask);
        assert_eq!((record.end, record.end.code(), record.oom_killed()), (end, code, oom_killed), "{script}");
    }
}

#[test]
fn a_fork_bomb_stops_at_its_limit() {
    let world = World::new();
    let ask =
        world.shell("i=0; while [ $i -lt 200 ]; do sleep 1000 & i=$((i+1)); done; echo none stopped me");
    world.run(&ask);
    let output = world.output(&ask);
    assert!(output.contains("can't fork") && !output.contains("none"), "{output}");
}
