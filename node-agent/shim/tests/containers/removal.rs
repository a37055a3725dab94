//! What is left of a container: nothing.

use std::fs;

use berth_shim_api::ClientError;
use berth_shim_api::message::{ContainerState, RefusalReason};

use crate::world::World;

#[test]
fn delete_leaves_no_cgroup_mount_or_state() {
    let world = World::new();
    let mut client = world.listener();
    let ask = world.shell("mkdir /made; exit 0");
    world.start(&mut client, &ask);
    client.next_exit().unwrap();
    assert!(!world.cgroups().folders().is_empty());
    assert!(world.mounts().contains("/root "));
    // libcontainer cannot remove a cgroup with another below it.
    for folder in world.cgroups().folders() {
        fs::create_dir_all(folder.join("below/it")).unwrap();
    }
    client.delete("main").unwrap();
    assert!(world.cgroups().folders().is_empty());
    assert!(!world.mounts().contains("/root "), "{}", world.mounts());
    assert_eq!(fs::read_dir(&world.bundle.state_root).unwrap().count(), 0);
    assert_eq!(client.state().unwrap()[0].state, ContainerState::Absent);
    assert!(world.bundle.exit_path("main", 1).exists());
    assert!(world.path("upper/made").exists());
    client.delete("main").unwrap();
}

#[test]
fn a_running_container_is_not_deleted() {
    let world = World::new();
    let mut client = world.client();
    let running = world.start(&mut client, &world.program(&["/bin/sleep", "1000"]));
    let Err(ClientError::Refused(refusal)) = client.delete("main") else { panic!() };
    assert_eq!(refusal.reason, RefusalReason::WrongState);
    assert!(running.process.exists());
}

#[test]
fn the_log_and_the_record_stay() {
    let world = World::new();
    let mut client = world.listener();
    let ask = world.shell("echo kept");
    world.start(&mut client, &ask);
    client.next_exit().unwrap();
    client.delete("main").unwrap();
    client.shutdown().unwrap();
    assert_eq!(world.output(&ask), "stdout kept\n");
    assert!(world.bundle.exit_path("main", 1).exists());
}
