//! `ctl up`: one command, stopped and started again; refused twice; ended by `ctl down`.

use std::fs;
use std::path::Path;
use std::process::Command;

use berth_e2e::leftovers::{self, programs_of_task};
use berth_e2e::overdue::descendants;
use berth_e2e::process::Process;
use berth_e2e::wait::{eventually, output};
use berth_e2e::world::{Part, SOON, uid};
use berth_e2e::{StoreForm, World, binary};
use serde_json::Value;

use crate::census::idle_app;

fn up(world: &World) -> Command {
    let mut command = Command::new(binary("ctl"));
    command.envs(world.environment()).arg("up").arg("--data").arg(world.data()).arg("--run").arg(world.run());
    if let Some(url) = world.etcd_url() {
        command.args(["--etcd", &url, "--allow-unsupported-etcd"]);
    }
    command
}

fn start(world: &World) -> Process {
    let mut process = Process::start("ctl up", up(world), &world.dir().join("up.log"));
    let greeting = eventually("`ctl up` says what to type next", SOON, || {
        process.must_run();
        let said = process.output();
        // Its last words.
        if said.ends_with("stops Berth and everything it runs.\n") { Ok(said) } else { Err(said) }
    });
    let server = format!("  export CTL_SERVER=unix:{}\n", world.run().join("api.sock").display());
    for hint in [server, format!("`ctl down {}` stops Berth", folders(world)), "  ctl apply -f ".into()] {
        assert!(greeting.contains(&hint), "no {hint} in {greeting}");
    }
    process
}

/// The folders of the world, as a command that `ctl` suggests names them.
fn folders(world: &World) -> String {
    format!("--data {} --run {}", world.data().display(), world.run().display())
}

/// The oldest process of each Task.
fn first_processes(world: &World, tasks: &[Value]) -> Vec<Option<u32>> {
    tasks.iter().map(|task| programs_of_task(world.dir(), uid(task)).first().copied()).collect()
}

/// Three Tasks that run, and the first process of each.
fn hello(world: &World) -> (Vec<Value>, Vec<Option<u32>>) {
    world.ctl(&["apply", "-f", "manifests/hello.yaml"]).ok();
    let tasks = world.wait_ready("hello", 3);
    let processes = first_processes(world, &tasks);
    assert!(processes.iter().all(Option::is_some), "{processes:?}");
    (tasks, processes)
}

/// Whether the environment of a process says that its allocator returns free memory at once.
fn returns_memory_at_once(pid: u32) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|word| word == b"MIMALLOC_PURGE_DELAY=0")
}

fn copy_folder(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp starts");
    assert!(copied.success(), "{} is copied", from.display());
}

/// Follows the log of a Task that wrote a line.
fn follow(world: &World) -> Process {
    let talks =
        idle_app("talks", 1, "").replace("[sleep, '100000']", "[sh, -c, 'echo begun; exec sleep 100000']");
    world.apply(&talks).ok();
    world.wait_ready("talks", 1);
    let mut logs = Command::new(binary("ctl"));
    logs.env("CTL_SERVER", world.servers()).args(["logs", "-f", "app/talks"]);
    let follower = Process::start("ctl logs -f", logs, &world.dir().join("follower.log"));
    eventually("the log is followed", SOON, || match follower.output() {
        said if said.contains("begun") => Ok(()),
        said => Err(said),
    });
    follower
}

/// Up, apply, stop, up again: the same containers. A second `up` is refused; `down` leaves only the data.
pub fn up_stopped_and_started_again_adopts_its_containers(form: StoreForm) {
    let world = World::empty(form);
    let first = start(&world);

    let second = output(&mut up(&world), SOON).expect("the second `up` gives up");
    let refusal = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && refusal.contains(&first.pid().to_string()), "{refusal}");

    let parts = descendants(first.pid());
    assert!(parts.len() == 3 && parts.iter().all(|pid| returns_memory_at_once(*pid)), "{parts:?}");

    let (tasks, before) = hello(&world);

    let mut follower = follow(&world);
    first.stop();
    let said = fs::read_to_string(world.dir().join("up.log")).expect("`ctl up` has written its log");
    let etcd = world.etcd_url().map(|url| format!(" --etcd {url} --allow-unsupported-etcd"));
    let (folders, etcd) = (folders(&world), etcd.unwrap_or_default());
    let run_on = format!(
        "Berth has stopped; 4 tasks run on (`ctl up {folders}{etcd}` takes them back, `ctl down {folders}` stops them)\n"
    );
    assert!(said.ends_with(&run_on), "no {run_on} in {said}");
    assert_ne!(world.ctl(&["get", "apps"]).code, 0, "the control plane is gone");
    let left = eventually("who follows a log learns that it broke off", SOON, || {
        follower.ended().ok_or_else(|| follower.output())
    });
    assert!(!left.success() && follower.output().contains("went away"), "{left}: {}", follower.output());
    let meanwhile = first_processes(&world, &tasks);
    assert_eq!(meanwhile, before, "containers go on");

    let again = start(&world);
    let tasks = world.wait_ready("hello", 3);
    let after = first_processes(&world, &tasks);
    assert_eq!(after, before, "containers are adopted");

    world.settles();
    world.down();
    eventually("`ctl up` has ended", SOON, || {
        let left = leftovers::scan(world.dir());
        if left.is_empty() { Ok(()) } else { Err(format!("{left:#?}")) }
    });
    let stopping = format!("Berth has stopped; `ctl down {folders}` is stopping its tasks\n");
    assert!(again.output().ends_with(&stopping), "{}", again.output());
    drop(again);
    assert!(fs::exists(world.data().join("node")).expect("the data folder is readable"), "the data stays");
}

/// `ctl down` on a copy of the data folder ends nothing of the cluster that runs on the original.
pub fn down_of_a_copy_leaves_the_original_alone(form: StoreForm) {
    let world = World::start(form);
    world.claim();
    let (tasks, before) = hello(&world);

    let (copy, run) = (world.dir().join("copy"), world.dir().join("run-copy"));
    copy_folder(&world.data(), &copy);
    let (copy, run) = (copy.display().to_string(), run.display().to_string());
    let said = world.ctl(&["down", "--data", &copy, "--run", &run]).ok();
    assert!(said.contains("left 3 tasks of this cluster alone") && !said.contains("sandboxes"), "{said}");
    assert_eq!(first_processes(&world, &tasks), before, "{said}");
    world.ctl(&["get", "apps"]).ok();
    world.end();
}

/// `ctl down` on a data folder that was renamed while its Tasks ran ends them; on a copy at its old place it ends none.
pub fn down_of_a_renamed_folder_ends_its_tasks(form: StoreForm) {
    let world = World::empty(form);
    let first = start(&world);
    let (tasks, before) = hello(&world);
    first.stop();

    let renamed = world.dir().join("renamed");
    fs::rename(world.data(), &renamed).expect("the world's folder is writable");
    copy_folder(&renamed, &world.data());
    let down = |data: &Path, run: &Path| {
        let (data, run) = (data.display().to_string(), run.display().to_string());
        world.ctl(&["down", "--data", &data, "--run", &run]).ok()
    };
    let said = down(&world.data(), &world.dir().join("run-copy"));
    assert!(
        said.contains("left 3 tasks of this cluster alone") && said.contains("/renamed/node/tasks"),
        "{said}"
    );
    assert_eq!(first_processes(&world, &tasks), before, "{said}");
    let said = down(&renamed, &world.run());
    assert!(said.contains("killed 3 tasks") && !said.contains("left"), "{said}");
    fs::remove_dir_all(world.data()).expect("the world's folder is writable");
    fs::rename(&renamed, world.data()).expect("the world's folder is writable");
    assert!(first_processes(&world, &tasks).iter().all(Option::is_none), "{said}");
}

/// An older copy is put in place of the data folder while Tasks run: `ctl up` adopts them, and `ctl down` ends them.
pub fn down_after_a_restore_ends_the_tasks(form: StoreForm) {
    let world = World::empty(form);
    let first = start(&world);
    let (_, before) = hello(&world);
    first.stop();

    let copy = world.dir().join("copy");
    copy_folder(&world.data(), &copy);
    fs::remove_dir_all(world.data()).expect("the world's folder is writable");
    fs::rename(&copy, world.data()).expect("the world's folder is writable");
    let second = start(&world);
    let tasks = world.wait_ready("hello", 3);
    assert_eq!(first_processes(&world, &tasks), before, "containers are adopted");
    let (data, run) = (world.data().display().to_string(), world.run().display().to_string());
    let said = world.ctl(&["down", "--data", &data, "--run", &run]).ok();
    assert!(said.contains("killed 3 tasks") && !said.contains("left"), "{said}");
    assert!(first_processes(&world, &tasks).iter().all(Option::is_none), "{said}");
    drop(second);
}

/// A `ctl up` that fails after its agent registered takes the Node back, as nothing of its data stays.
pub fn a_failed_up_takes_back_the_node_that_it_registered(form: StoreForm) {
    let world = World::plan(form).without(Part::Controllers).without(Part::Agent).start();
    // While another holds this Lease, no controller reports the node as ready.
    let lease = "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata:\n  name: node-controller\n  \
                 namespace: berth-system\nspec: {holderIdentity: other, leaseDurationSeconds: 3600}\n";
    world.apply(lease).ok();
    for place in [&[][..], &["--detach"]] {
        let (data, run) = (world.dir().join("new/data"), world.dir().join("new-run"));
        let mut up = Command::new(binary("ctl"));
        up.args(["up", "--node-name", "new", "--timeout", "10s", "--allow-unsupported-etcd"]).args(place);
        up.arg("--etcd").arg(world.etcd_url().expect("a world on etcd"));
        up.arg("--data").arg(&data).arg("--run").arg(&run);
        let ended = output(&mut up, SOON).expect("it gives up");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(3), "{said}");
        assert!(said.contains("its state is not known yet"), "the node is registered: {said}");
        assert_eq!(world.list("nodes"), Ok(Vec::new()), "{said}");
        assert!(!world.dir().join("new").exists() && !run.exists(), "{said}");
    }
    world.end();
}
