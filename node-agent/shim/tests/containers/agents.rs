//! Agents come and go; shims die; what runs goes on.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, thread};

use berth_shim_api::message::{ContainerState, Hello, RefusalReason, VERSION};
use berth_shim_api::{Client, ClientError, End, ExitRecord, LaunchError, LogRotation, SealedShim};

use crate::world::{PATIENCE, World, eventually};

fn shim_binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_shim"))
}

#[test]
fn a_new_agent_finds_what_the_old_one_started() {
    let world = World::new();
    let running = world.start(&mut world.client(), &world.program(&["/bin/sleep", "1000"]));
    let mut again = world.client();
    assert_eq!((again.task_uid(), again.shim()), (world.bundle.task_uid.as_str(), world.shim));
    let seen = again.state().unwrap();
    assert_eq!(seen[0].state, ContainerState::Running(running));
}

#[test]
fn an_end_that_nobody_saw_is_kept() {
    let world = World::new();
    let ask = world.shell("sleep 0.2; exit 9");
    world.start(&mut world.client(), &ask);
    let path = world.bundle.exit_path("main", 1);
    eventually("the record is written", || path.exists());
    let kept = ExitRecord::read(&path).unwrap().unwrap();
    assert_eq!(kept.end, End::Code(9));
    assert_eq!(world.client().state().unwrap()[0].state, ContainerState::Exited(kept.clone()));
    world.kill_shim();
    assert_eq!(ExitRecord::read(&path).unwrap(), Some(kept));
}

#[test]
fn a_container_outlives_its_shim_and_its_cgroup_ends_it() {
    let world = World::new();
    let running = world.start(&mut world.client(), &world.program(&["/bin/sleep", "1000"]));
    world.kill_shim();
    assert!(running.process.exists());
    let program = PathBuf::from(format!("/proc/{}/root/bin/busybox", running.process.pid));
    assert!(program.exists(), "its root filesystem went with the shim");
    assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&world.bundle.task_uid));
    world.cgroups().remove(PATIENCE).unwrap();
    assert!(world.cgroups().folders().is_empty());
    eventually("it is gone", || !running.process.exists());
}

#[test]
fn a_new_shim_takes_over_the_place_of_a_dead_one() {
    let world = World::new();
    world.start(&mut world.client(), &world.program(&["/bin/sleep", "1000"]));
    world.kill_shim();
    let shim = SealedShim::load(shim_binary()).unwrap();
    let process = shim.launch(&world.path("task.json")).unwrap();
    let mut client = world.listener();
    assert_eq!(client.shim(), process);
    // What the dead one left in the cgroup goes before the next attempt comes.
    let mut ask = world.shell("cat /proc/1/comm; exit 4");
    ask.attempt = 2;
    world.start(&mut client, &ask);
    assert_eq!(client.next_exit().unwrap().end, End::Code(4));
    client.shutdown().unwrap();
    eventually("it is gone", || !process.exists());
    assert_eq!(fs::read_dir(&world.bundle.state_root).unwrap().count(), 0);
}

#[test]
fn a_task_has_one_shim() {
    let world = World::new();
    let second = SealedShim::load(shim_binary()).unwrap().launch(&world.path("task.json"));
    let Err(LaunchError::Failed(why)) = second else { panic!("{second:?}") };
    assert!(why.contains("another shim holds"), "{why}");
    world.client().state().unwrap();
}

#[test]
fn a_bundle_that_breaks_rules_starts_no_shim_and_names_them_all() {
    let (dir, mut bundle) = World::bundle(&["main"], LogRotation { bytes: 0, files: 1 });
    bundle.task_uid = "../../x".into();
    bundle.containers[0].cgroup = "/a/../b".into();
    let path = dir.path().join("task.json");
    bundle.write(&path).unwrap();
    let Err(LaunchError::Failed(why)) = SealedShim::load(shim_binary()).unwrap().launch(&path) else {
        panic!()
    };
    for rule in ["taskUid: must be", "containers[0].cgroup: must be", "logRotation: bytes and files"] {
        assert!(why.contains(rule), "{rule}: {why}");
    }
}

#[test]
fn other_versions_are_refused() {
    let world = World::new();
    let table = [(VERSION, VERSION, true), (1, 99, true), (VERSION + 1, VERSION + 1, false), (0, 0, false)];
    for (oldest, newest, welcome) in table {
        let met = Client::connect_as(&world.bundle.socket, PATIENCE, &Hello { oldest, newest });
        match met {
            Ok(_) => assert!(welcome, "{oldest} to {newest}"),
            Err(ClientError::Version(why)) => {
                assert!(!welcome && why.contains("this shim speaks version"), "{why}")
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_line_that_is_no_call_is_answered_and_costs_only_its_sender() {
    let world = World::new();
    let mut client = world.client();
    let mut stream = UnixStream::connect(&world.bundle.socket).unwrap();
    stream.write_all(b"{\"oldest\":1,\"newest\":1}\nnonsense\n").unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("welcome"));
    assert!(lines.next().unwrap().unwrap().contains("no valid call: nonsense"));
    // More than a line may have, and never an end to it.
    let flood = thread::spawn(move || while stream.write_all(&[b'x'; 65536]).is_ok() {});
    flood.join().unwrap();
    let mut rude = UnixStream::connect(&world.bundle.socket).unwrap();
    rude.write_all(b"{}\n").unwrap();
    let mut answer = String::new();
    rude.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("the first line must be a hello"), "{answer}");
    client.state().unwrap();
}

#[test]
fn a_shim_runs_from_memory_that_nobody_can_change() {
    let world = World::new();
    let proc = PathBuf::from(format!("/proc/{}", world.shim.pid));
    let binary = fs::read_link(proc.join("exe")).unwrap();
    assert!(binary.to_str().unwrap().starts_with("/memfd:berth-shim"), "{}", binary.display());
    assert!(fs::OpenOptions::new().write(true).open(proc.join("exe")).is_err());
    assert!(fs::read(proc.join("environ")).unwrap().is_empty());
    let stat = fs::read_to_string(proc.join("stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let (parent, session) = (fields[1], fields[3]);
    assert_eq!((parent, session), ("1", world.shim.pid.to_string().as_str()));
}

#[test]
fn a_shim_started_from_a_file_seals_itself() {
    let (dir, bundle) = World::bundle(&["main"], LogRotation { bytes: 1, files: 1 });
    let path = dir.path().join("task.json");
    bundle.write(&path).unwrap();
    let started = Command::new(shim_binary()).arg(&path).output().unwrap();
    assert!(started.status.success(), "{started:?}");
    let mut client = Client::connect(&bundle.socket, PATIENCE).unwrap();
    let binary = fs::read_link(format!("/proc/{}/exe", client.shim().pid)).unwrap();
    assert!(binary.to_str().unwrap().starts_with("/memfd:berth-shim"), "{}", binary.display());
    let shim = client.shim();
    client.shutdown().unwrap();
    eventually("it is gone", || !shim.exists());
}

#[test]
fn a_shim_with_something_running_does_not_end() {
    let world = World::new();
    let mut client = world.listener();
    world.start(&mut client, &world.program(&["/bin/sleep", "1000"]));
    let Err(ClientError::Refused(refusal)) = client.shutdown() else { panic!() };
    assert_eq!(refusal.reason, RefusalReason::WrongState);
    client.kill("main").unwrap();
    client.next_exit().unwrap();
    client.shutdown().unwrap();
    eventually("it is gone", || !world.shim.exists());
    assert!(!world.bundle.socket.exists());
    assert!(world.cgroups().folders().is_empty());
}
