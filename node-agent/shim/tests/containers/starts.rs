//! Starting, and starting again.

use std::fs;
use std::process::Command;
use std::thread;

use berth_shim_api::message::{ContainerState, Refusal, RefusalReason, Request, Start};
use berth_shim_api::{Access, Client, ClientError, End, Mount, ProcessId};

use crate::world::{World, eventually};

fn refused<T: std::fmt::Debug>(came: Result<T, ClientError>) -> Refusal {
    match came {
        Err(ClientError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_container_restarts_in_place_with_what_it_wrote() {
    let world = World::new();
    let mut client = world.listener();
    for attempt in 1..=3 {
        let mut ask = world.shell("echo was here >> /tmp/visits; exit $(wc -l < /tmp/visits)");
        ask.attempt = attempt;
        world.start(&mut client, &ask);
        let record = client.next_exit().unwrap();
        assert_eq!((record.attempt, record.end.code()), (attempt, i32::try_from(attempt).unwrap()));
    }
    assert_eq!(fs::read_dir(&world.bundle.state_root).unwrap().count(), 1);
    assert_eq!(world.mounts().matches("/root ").count(), 1);
}

#[test]
fn an_attempt_is_made_once() {
    let world = World::new();
    let mut client = world.listener();
    let mut ask = world.program(&["/bin/sleep", "1000"]);
    ask.attempt = 2;
    world.start(&mut client, &ask);
    let mut next = ask.clone();
    next.attempt = 3;
    let running = refused(client.start(world.starting(&next)));
    assert!(running.reason == RefusalReason::WrongState && running.message.contains("runs already"));
    client.kill("main").unwrap();
    client.next_exit().unwrap();
    for attempt in [1, 2] {
        ask.attempt = attempt;
        let old = refused(client.start(world.starting(&ask)));
        assert!(
            old.reason == RefusalReason::WrongState && old.message.contains("no new one"),
            "{}",
            old.message
        );
    }
}

#[test]
fn an_unknown_container_is_named() {
    let world = World::new();
    let refusal = refused(world.client().kill("web"));
    assert_eq!(refusal.reason, RefusalReason::Invalid);
    assert_eq!(refusal.message, "this task has no container web");
}

/// A start that never comes to an end: whoever opens its config waits for a writer that never comes.
fn hanging(world: &World) -> Start {
    let start = world.starting(&world.shell("echo never"));
    let config = start.bundle.join("config.json");
    fs::remove_file(&config).unwrap();
    assert!(Command::new("mkfifo").arg(&config).status().unwrap().success());
    start
}

#[test]
fn a_killed_shim_takes_along_who_works_for_it() {
    let world = World::new();
    let start = hanging(&world);
    let mut starter: Client = world.client();
    let waiting = thread::spawn(move || starter.call(Request::Start(start)));
    let children = format!("/proc/{0}/task/{0}/children", world.shim.pid);
    let mut helper = String::new();
    eventually("it works", || {
        helper = fs::read_to_string(&children).unwrap().trim().to_owned();
        !helper.is_empty()
    });
    let helper = ProcessId::of(helper.parse().unwrap()).unwrap();
    world.kill_shim();
    eventually("the helper is gone", || !helper.exists());
    assert!(matches!(waiting.join().unwrap(), Err(ClientError::Gone(_))));
}

#[test]
fn a_start_that_hangs_can_be_killed() {
    let world = World::new();
    let start = hanging(&world);
    let mut starter: Client = world.client();
    let waiting = thread::spawn(move || refused(starter.call(Request::Start(start))));
    let mut client = world.client();
    eventually("it hangs", || {
        matches!(client.state().unwrap()[0].state, ContainerState::Starting { attempt: 1 })
    });
    client.kill("main").unwrap();
    assert_eq!(waiting.join().unwrap().reason, RefusalReason::CannotStart);
    let mut ask = world.shell("exit 8");
    ask.attempt = 2;
    assert_eq!(world.run(&ask).end, End::Code(8));
}

#[test]
fn mounts_of_every_form_are_there_inside_and_nowhere_else() {
    let world = World::new();
    fs::create_dir(world.path("shared")).unwrap();
    fs::write(world.path("shared/file"), "from outside\n").unwrap();
    for folder in ["ro", "rw", "mem"] {
        fs::create_dir(world.path("image").join(folder)).unwrap();
    }
    let ask = world.shell(
        "exec 2>&1; cat /ro/file; echo x > /ro/file; echo y > /rw/made; echo z > /mem/made; stat -c %a /mem; mknod /rw/dev c 1 3; stat -c %a /",
    );
    let mut start = world.starting(&ask);
    let inside = |name: &str| world.path("root").join(name);
    let bind =
        |name: &str, access| Mount::Bind { source: world.path("shared"), target: inside(name), access };
    start.mounts.push(bind("ro", Access::ReadOnly));
    start.mounts.push(bind("rw", Access::ReadWrite));
    start.mounts.push(Mount::Tmpfs {
        target: inside("mem"),
        bytes: 1 << 20,
        mode: 0o711,
        access: Access::ReadWrite,
    });
    let mut client = world.listener();
    client.start(start).unwrap();
    client.next_exit().unwrap();
    expect_test::expect![[r#"
        stdout from outside
        stdout /bin/sh: can't create /ro/file: Read-only file system
        stdout 711
        stdout mknod: /rw/dev: Operation not permitted
        stdout 755
    "#]]
    .assert_eq(&world.output(&ask));
    assert!(world.path("shared/made").exists());
    assert!(!world.path("root/ro").exists(), "the overlay is seen outside");
    client.delete("main").unwrap();
    assert!(!world.mounts().contains(world.dir.path().to_str().unwrap()), "{}", world.mounts());
}

#[test]
fn a_mount_target_that_is_a_link_is_refused() {
    let world = World::new();
    std::os::unix::fs::symlink("/tmp", world.path("image/link")).unwrap();
    let mut start = world.starting(&world.shell("echo never"));
    let target = world.path("root/link");
    start.mounts.push(Mount::Tmpfs { target, bytes: 4096, mode: 0o755, access: Access::ReadOnly });
    let refusal = refused(world.client().start(start));
    assert!(refusal.message.contains("could not open mount target"), "{}", refusal.message);
}

#[test]
fn an_image_of_very_many_layers_starts() {
    let world = World::new();
    let mut start = world.starting(&world.shell("cat /layer; ls /many | wc -l"));
    let mut layers = Vec::new();
    for n in (0..60).rev() {
        let layer = world.path(&format!("layers/sha256:{n:064}"));
        fs::create_dir_all(layer.join("many")).unwrap();
        fs::write(layer.join("layer"), format!("{n}\n")).unwrap();
        fs::write(layer.join("many").join(n.to_string()), "").unwrap();
        layers.push(layer);
    }
    layers.push(world.path("image"));
    let Mount::Overlay { lower, .. } = &mut start.mounts[0] else { unreachable!() };
    *lower = layers;
    let mut client = world.listener();
    client.start(start.clone()).unwrap();
    client.next_exit().unwrap();
    assert_eq!(crate::world::read_log(&start.log), "stdout 59\nstdout 60\n");
}
