//! The disk under a data folder is full: of the agent, of the embedded store, of etcd.

use berth_e2e::load::Load;
use berth_e2e::pace::Pace;
use berth_e2e::wait::{always, eventually};
use berth_e2e::world::{SOON, condition, name, summary, uid};
use berth_e2e::{Part, StoreForm, World};
use berth_types::Reason;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;

use super::witness::{Api, Containers, Writer, present};
use super::{STEADY, judgement};

/// What cannot be journalled is not started, and the Task says why and where; what runs runs on, and an agent that died
/// comes back and removes what is deleted. With space again all is started, without anybody's help.
pub fn the_agents_disk_is_full(form: StoreForm) {
    // Otherwise the scheduler would send nothing here.
    let plan = World::plan(form).pace(Pace::of_run()).config(Part::Agent, "diskPressurePercent: 100");
    let mut world = plan.disk("data/node", 64).start();
    world.apply(STEADY).ok();
    let containers = Containers::of(&world, &world.wait_ready("steady", 2));
    let one = |name: &str| {
        STEADY.replace("name: steady", &format!("name: {name}")).replace("replicas: 2", "replicas: 1")
    };
    world.apply(&one("unwanted")).ok();
    world.wait_ready("unwanted", 1);
    world.disk().fill();
    world.apply(&one("late")).ok();
    let folder = world.data().join("node").display().to_string();
    eventually("the Task says what is full", SOON, || {
        let tasks = world.tasks_of("late")?;
        let says = |task: &Value| {
            let text = task["status"].to_string();
            text.contains("No space left") && text.contains(&folder) && text.contains("free some space")
        };
        if tasks.iter().any(says) { Ok(()) } else { Err(summary(&tasks)) }
    });
    // The node is there, though sessions are opened anew: no session needs the disk.
    world.kill(Part::Apiserver);
    world.begin(Part::Apiserver);
    always("containers stay, and nothing is started", judgement(), || containers.untouched(&world));
    nothing_of_it_runs(&world, "late");
    world.kill(Part::Agent);
    world.begin(Part::Agent);
    world.ctl(&["delete", "app/unwanted"]).ok();
    eventually("an agent that began on the full disk removes what is deleted", SOON, || {
        let tasks = world.tasks_of("unwanted")?;
        if tasks.is_empty() { Ok(()) } else { Err(summary(&tasks)) }
    });
    containers.untouched(&world).expect("no container notices");
    world.disk().free();
    world.wait_ready("late", 1);
    assert_eq!(world.wait_ready("steady", 2).len(), 2);
    containers.untouched(&world).expect("no container notices");
    world.ctl(&["delete", "app/steady", "app/late"]).ok();
    world.wait_none("tasks");
    world.end();
}

/// A Task that writes 2 MB of logs and fails, four times; nothing replaces it.
const TALKS: &str = "apiVersion: berth.dev/v1
kind: Task
metadata: {name: talks}
spec:
  terminationGracePeriodSeconds: 1
  restart: {inPlace: 3, initialDelaySeconds: 0}
  containers:
    - name: main
      command: [sh, -c, 'base64 -w 1000 /dev/zero | head -n 2000; exit 1']
      resources: {requests: {cpu: 10m, memory: 8Mi}, limits: {memory: 32Mi}}
";
/// MiB of a disk for Tasks that fill it. Logs of ended attempts have a twentieth of it.
const DISK: u32 = 64;

/// Logs of ended attempts that together are over the node's bound: the oldest are removed once an attempt ends.
fn logs_of_ended_attempts_are_bounded(world: &World) {
    let task = eventually("the Task has failed four times", SOON, || {
        let tasks = world.list("tasks")?;
        let task = tasks.iter().find(|task| name(task) == "talks").ok_or_else(|| summary(&tasks))?;
        let (phase, restarts) =
            (&task["status"]["phase"], &task["status"]["containerStatuses"][0]["restartCount"]);
        if *phase == "Failed" && *restarts == 3 { Ok(task.clone()) } else { Err(task.to_string()) }
    });
    let folder = world.data().join(format!("node/logs/default_talks_{}/main", uid(&task)));
    let bound = u64::from(DISK << 20) / 20;
    eventually("the logs of its attempts are within the node's bound", SOON, || {
        let logs: Vec<(String, u64)> = fs::read_dir(&folder)
            .map_err(|error| error.to_string())?
            .flatten()
            .filter_map(|log| {
                Some((log.file_name().to_string_lossy().into_owned(), log.metadata().ok()?.len()))
            })
            .collect();
        let all: u64 = logs.iter().map(|(_, bytes)| bytes).sum();
        let has_last = logs.iter().any(|(log, bytes)| log == "3.log" && *bytes > 2_000_000);
        assert!(has_last, "the last attempt keeps its log: {logs:?}");
        if all <= bound { Ok(()) } else { Err(format!("{bound} bytes, {logs:?}")) }
    });
}

/// A disk that others fill keeps new Tasks away, and costs nothing that runs. One that a Task fills costs this Task.
/// Logs of ended attempts keep within their share of it.
pub fn a_filling_disk_gets_no_tasks_and_loses_the_one_that_fills_it(form: StoreForm) {
    let mut world = World::plan(form).pace(Pace::of_run()).disk("data/node", DISK).start();
    world.apply(STEADY).ok();
    world.apply(TALKS).ok();
    let containers = Containers::of(&world, &world.wait_ready("steady", 2));
    let one = STEADY.replace("replicas: 2", "replicas: 1");
    logs_of_ended_attempts_are_bounded(&world);

    world.disk().fill_past(92);
    under_pressure(&world, "True");
    world.apply(&one.replace("name: steady", "name: late")).ok();
    eventually("the scheduler says why the Task has no node", SOON, || {
        let tasks = world.tasks_of("late")?;
        let says = |task: &Value| task["status"].to_string().contains("1 under disk pressure");
        if tasks.iter().any(says) { Ok(()) } else { Err(summary(&tasks)) }
    });
    always("what runs runs on", judgement(), || containers.untouched(&world));
    world.disk().free();
    world.wait_ready("late", 1);
    under_pressure(&world, "False");

    // On a disk in memory a container's files count for its memory.
    let hog = one.replace("name: steady", "name: hog").replace(", limits: {memory: 32Mi}", "");
    let writes = "[sh, -c, 'head -c 62000000 /dev/zero > large; exec sleep 100000']";
    world.apply(&hog.replace("[sleep, '100000']", writes)).ok();
    eventually("the Task that fills the disk has failed for it", SOON, || {
        let tasks = world.tasks_of("hog")?;
        let failed = |task: &Value| {
            let status = &task["status"];
            status["phase"] == "Failed"
                && status["reason"] == "DiskPressure"
                && status["message"].as_str().is_some_and(|text| text.starts_with("used "))
        };
        if tasks.iter().any(failed) { Ok(()) } else { Err(summary(&tasks)) }
    });
    world.ctl(&["delete", "app/hog"]).ok();
    under_pressure(&world, "False");
    containers.untouched(&world).expect("no other container notices");
    world.ctl(&["delete", "app/steady", "app/late", "task/talks"]).ok();
    world.wait_none("tasks");
    world.end();
}

fn under_pressure(world: &World, expected: &str) {
    eventually(&format!("the Node says DiskPressure={expected}"), SOON, || {
        let nodes = world.list("nodes")?;
        if condition(&nodes[0], "DiskPressure") == expected { Ok(()) } else { Err(summary(&nodes)) }
    });
}

fn nothing_of_it_runs(world: &World, app: &str) {
    let tasks = world.tasks_of(app).expect("Tasks are listed");
    assert!(tasks.iter().all(|task| condition(task, "Ready") != "True"), "{}", summary(&tasks));
    let running = |task: &Value| !task["status"]["containerStatuses"][0]["state"]["running"].is_null();
    assert!(!tasks.iter().any(running), "{}", summary(&tasks));
}

/// Writes are refused with the folder and the remedy, reads go on. Meanwhile objects are deleted, Tasks end, leaders stay
/// and an apiserver that dies is replaced. With space again writes go on by themselves; then all of it again.
pub fn the_embedded_stores_disk_is_full(form: StoreForm) {
    // Not mounted below the data folder: `ctl down` would unmount it before the recorder has read the journal.
    let mut world = World::plan(form).pace(Pace::of_run()).disk("disk", 128).start_nothing();
    symlink(world.dir().join("disk"), world.data().join("store")).expect("the world's folder is writable");
    Part::ALL.into_iter().for_each(|part| world.begin(part));
    world.wait_for_nodes();
    world.claim();
    world.apply(STEADY).ok();
    let containers = Containers::of(&world, &world.wait_ready("steady", 2));
    let writer = Writer::start(&world, "kept");
    let load = Load::start(&world);
    for app in ["first", "second"] {
        world.apply(&STEADY.replace("name: steady", &format!("name: {app}"))).ok();
        world.wait_ready(app, 2);
        let api = Api::of(&world);
        api.create(&format!("before-{app}")).expect("there is room");
        writer.goes_on(&format!("while there is room, before {app} leaves"));
        world.disk().fill();
        refuses_writes(&world, &api);
        always("containers and reads stay", judgement(), || {
            containers.untouched(&world)?;
            api.list("").map(drop).map_err(|status| status.to_string())
        });
        if app == "second" {
            world.kill(Part::Apiserver);
            world.begin(Part::Apiserver);
        }
        eventually("objects are deleted", SOON, || match api.delete(&format!("before-{app}")) {
            Err(status) if status.reason != Reason::NotFound => Err(status.to_string()),
            Ok(()) | Err(_) => Ok(()),
        });
        world.ctl(&["delete", &format!("app/{app}")]).ok();
        eventually("the Tasks of a deleted App end", SOON, || {
            let tasks = world.tasks_of(app)?;
            if tasks.is_empty() { Ok(()) } else { Err(summary(&tasks)) }
        });
        refuses_writes(&world, &api);
        containers.untouched(&world).expect("no container notices");
        world.disk().free();
        writer.goes_on(&format!("when there is room again, after {app} left"));
    }
    load.end(&mut world);
    let acknowledged = writer.stop();
    let missing: Vec<_> = acknowledged.difference(&present(&world)).cloned().collect();
    assert!(missing.is_empty(), "acknowledged and gone: {missing:?}");
    all_is_well(&mut world, &containers);
    world.end();
}

fn refuses_writes(world: &World, api: &Api) {
    let mut number = 0;
    let full = eventually("writes are refused", SOON, || {
        number += 1;
        match api.create_large(&format!("large-{number}"), 200_000) {
            Err(status) if status.reason == Reason::StorageFull => Ok(status),
            other => Err(format!("{other:?}")),
        }
    });
    let folder = world.data().join("store").display().to_string();
    for part in [folder.as_str(), "free some space", "deletes"] {
        assert!(full.message.contains(part), "{}", full.message);
    }
    let health = api.health().expect("the server lives");
    assert!(health.ready && !health.writable && health.faults[0].contains(&folder), "{health:?}");
}

/// etcd ends when its disk is full: calls are refused as without a store, the cache is read; with space again etcd is
/// started and all goes on.
pub fn etcds_disk_is_full(form: StoreForm) {
    // etcd takes twice 64 MB for its log at once.
    let mut world = World::plan(form).pace(Pace::of_run()).disk("etcd", 160).start();
    world.apply(STEADY).ok();
    let containers = Containers::of(&world, &world.wait_ready("steady", 2));
    let writer = Writer::start(&world, "kept");
    let load = Load::start(&world);
    writer.goes_on("while there is room");
    let api = Api::of(&world);
    api.create("large").expect("there is room");
    world.disk().fill();
    let mut number = 0;
    let refused = eventually("writes are refused", SOON, || {
        number += 1;
        api.rewrite("large", number, 150_000).err().ok_or_else(|| "a write was taken".to_owned())
    });
    let honest = [Reason::Unavailable, Reason::StorageFull, Reason::Timeout];
    assert!(honest.contains(&refused.reason), "{refused:?}");
    // A change reads first, and may be refused for that alone.
    let refused = api.create("given-when-full").expect_err("nobody can keep it");
    assert!(honest.contains(&refused.reason), "{refused:?}");
    assert!(!api.list("0").expect("the cache is read").is_empty());
    always("containers and cache stay", judgement(), || {
        containers.untouched(&world)?;
        api.list("0").map(drop).map_err(|status| status.to_string())
    });
    world.disk().free();
    world.etcd_mut().begin_if_ended(0);
    writer.goes_on("when there is room again");
    load.end(&mut world);
    let acknowledged = writer.stop();
    let missing: Vec<_> = acknowledged.difference(&present(&world)).cloned().collect();
    assert!(missing.is_empty(), "acknowledged and gone: {missing:?}");
    all_is_well(&mut world, &containers);
    world.end();
}

fn all_is_well(world: &mut World, containers: &Containers) {
    world.wait_for_node();
    always("the node and its Tasks stay", judgement(), || {
        containers.untouched(world)?;
        let nodes = world.list("nodes")?;
        let ready = nodes.iter().all(|node| condition(node, "Ready") == "True");
        if ready { Ok(()) } else { Err(summary(&nodes)) }
    });
    world.ctl(&["delete", "app/steady"]).ok();
    world.wait_none("tasks");
}
