//! What a container is not let do, and what it finds when it starts.

use std::fs;
use std::os::unix::fs::symlink;

use berth_shim_api::message::RefusalReason;
use berth_shim_api::{Client, ClientError, End};
use serde_json::{Value, json};

use crate::world::{Ask, World};

/// The refusal of a start that must not succeed.
fn refusal(world: &World, client: &mut Client, ask: &Ask) -> (RefusalReason, String) {
    match client.start(world.starting(ask)) {
        Err(ClientError::Refused(refusal)) => (refusal.reason, refusal.message),
        other => panic!("{other:?}"),
    }
}

/// Nothing of a refused start is left: no process, cgroup, state, mount.
fn assert_nothing_left(world: &World) {
    assert!(world.cgroups().folders().is_empty());
    let states = fs::read_dir(&world.bundle.state_root).map_or(0, Iterator::count);
    assert_eq!(states, 0);
    assert!(!world.mounts().contains("/root "), "{}", world.mounts());
}

#[test]
fn the_filter_and_no_new_privileges_are_seen_inside() {
    let world = World::new();
    let fields = "^(Seccomp|NoNewPrivs|SigIgn|SigBlk|CapEff|CapBnd|CapAmb):";
    let ask = world.program(&["/bin/grep", "-E", fields, "/proc/self/status"]);
    world.run(&ask);
    let seen = world.output(&ask).replace('\t', " ");
    expect_test::expect![[r#"
        stdout SigBlk: 0000000000000000
        stdout SigIgn: 0000000000000000
        stdout CapEff: 0000000000000000
        stdout CapBnd: 0000000000000000
        stdout CapAmb: 0000000000000000
        stdout NoNewPrivs: 1
        stdout Seccomp: 2
    "#]]
    .assert_eq(&seen);
}

#[test]
fn calls_beyond_the_container_are_refused() {
    let world = World::new();
    let mut ask = world.shell(
        "exec 2>&1; unshare -U true; mount -t tmpfs none /tmp; chroot / true; reboot -f; echo still here",
    );
    // Only the filter stands in the way of who has every capability.
    let all = json!(["CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_SYS_BOOT"]);
    for set in ["bounding", "effective", "permitted"] {
        ask.spec["process"]["capabilities"][set] = all.clone();
    }
    world.run(&ask);
    expect_test::expect![[r#"
        stdout unshare: unshare(0x10000000): Operation not permitted
        stdout mount: permission denied (are you root?)
        stdout chroot: can't change root directory to '/': Operation not permitted
        stdout reboot: (null): Operation not permitted
        stdout still here
    "#]]
    .assert_eq(&world.output(&ask));
}

#[test]
fn a_program_starts_with_what_its_spec_says_and_nothing_else() {
    let world = World::new();
    let mut ask = world
        .shell("umask; env | grep -v ^SHLVL | grep -v ^PWD | sort; ulimit -n; ls -1 /proc/1/fd; pwd; id");
    ask.spec["process"]["env"] = json!(["PATH=/bin", "HOME=/tmp", "GREETING=hello"]);
    ask.spec["process"]["user"] = json!({"uid": 1000, "gid": 1001, "umask": 0o027});
    ask.spec["process"]["cwd"] = json!("/tmp");
    world.run(&ask);
    expect_test::expect![[r#"
        stdout 0027
        stdout GREETING=hello
        stdout HOME=/tmp
        stdout PATH=/bin
        stdout 1000
        stdout 0
        stdout 1
        stdout 2
        stdout /tmp
        stdout uid=1000 gid=1001
    "#]]
    .assert_eq(&world.output(&ask));
}

#[test]
fn a_program_has_the_further_groups_of_its_spec_and_none_of_the_shims() {
    for (asked, seen) in [(json!([2000, 7]), "7 2000"), (json!([]), "")] {
        let world = World::new();
        let mut ask = world.shell("set -- $(grep ^Groups: /proc/self/status); shift; echo \"$*\"");
        ask.spec["process"]["user"] =
            json!({"uid": 1000, "gid": 1001, "umask": 0o022, "additionalGids": asked});
        world.run(&ask);
        assert_eq!(world.output(&ask), format!("stdout {seen}\n"));
    }
}

#[test]
fn a_broken_pipe_ends_a_program_quietly() {
    let world = World::new();
    let ask = world.shell("yes | head -n 1");
    assert_eq!(world.run(&ask).end, End::Code(0));
    assert_eq!(world.output(&ask), "stdout y\n");
}

#[test]
fn any_user_may_open_its_output_by_name() {
    let world = World::new();
    let mut ask = world.shell("echo to a file > /dev/stdout; echo to another > /dev/stderr");
    ask.spec["process"]["user"] = json!({"uid": 1000, "gid": 1000, "umask": 0o022});
    world.run(&ask);
    assert_eq!(world.output(&ask).lines().count(), 2, "{}", world.output(&ask));
}

#[test]
fn a_spec_that_leaves_something_to_chance_is_refused() {
    let set =
        |path: &'static str, value: Value| move |spec: &mut Value| *spec.pointer_mut(path).unwrap() = value;
    type Change = Box<dyn FnOnce(&mut Value)>;
    let table: [(Change, &str); 10] = [
        (Box::new(set("/process/noNewPrivileges", json!(false))), "process.noNewPrivileges: must be true"),
        (Box::new(set("/process/env", json!(["PATH=/bin"]))), "process.env: must set HOME"),
        (Box::new(set("/process/env", json!(["HOME=/"]))), "process.env: must set PATH"),
        (Box::new(set("/process/rlimits", json!([]))), "process.rlimits: must not be empty"),
        (Box::new(set("/process/user", json!({"uid": 0, "gid": 0}))), "process.user.umask: must be set"),
        (
            Box::new(set("/linux/cgroupsPath", json!("/elsewhere/x"))),
            "linux.cgroupsPath: must be the container's",
        ),
        (Box::new(set("/linux/namespaces", json!([{"type": "pid"}]))), "must have a new mount namespace"),
        (Box::new(set("/root/path", json!("root"))), "root.path: must be absolute"),
        (
            Box::new(|spec| spec["hooks"] = json!({"prestart": [{"path": "/bin/true"}]})),
            "hooks: must be absent",
        ),
        (
            Box::new(|spec| spec["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW"})),
            "linux.seccomp: must be absent",
        ),
    ];
    let world = World::new();
    let mut client = world.client();
    for (attempt, (change, rule)) in (1..).zip(table) {
        let mut ask = world.shell("echo never");
        ask.attempt = attempt;
        change(&mut ask.spec);
        let (reason, message) = refusal(&world, &mut client, &ask);
        assert!(reason == RefusalReason::Unsafe && message.contains(rule), "{rule}: {message}");
    }
    assert_nothing_left(&world);
}

#[test]
fn an_image_that_leads_out_of_its_root_is_refused_and_nothing_outside_is_touched() {
    for folder in ["dev", "proc", "sys"] {
        for relative in [false, true] {
            let world = World::new();
            let outside = world.path("outside");
            fs::create_dir(&outside).unwrap();
            fs::write(outside.join("ptmx"), "precious").unwrap();
            // The same path exists inside too, so that resolving it within the root succeeds.
            let inside = world.path("image").join(outside.strip_prefix("/").unwrap());
            fs::create_dir_all(&inside).unwrap();
            let goal = if relative { "tmp".into() } else { outside.clone() };
            symlink(goal, world.path("image").join(folder)).unwrap();
            let (reason, message) = refusal(&world, &mut world.client(), &world.shell("echo never"));
            assert!(
                reason == RefusalReason::Unsafe && message.contains(&format!("/{folder} of root filesystem")),
                "{message}"
            );
            assert_eq!(fs::read_to_string(outside.join("ptmx")).unwrap(), "precious");
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
            assert_nothing_left(&world);
        }
    }
}

#[test]
fn a_file_in_the_place_of_a_folder_is_refused() {
    let world = World::new();
    fs::write(world.path("image/sys"), "").unwrap();
    let (reason, message) = refusal(&world, &mut world.client(), &world.shell("echo never"));
    assert_eq!(reason, RefusalReason::Unsafe, "{message}");
}

#[test]
fn a_missing_program_is_named_and_nothing_is_left() {
    let world = World::new();
    let ask = world.program(&["/bin/no-such-program"]);
    let (reason, message) = refusal(&world, &mut world.client(), &ask);
    assert!(reason == RefusalReason::CannotStart && message.contains("no-such-program"), "{message}");
    assert_nothing_left(&world);
}
