//! An older snapshot is restored under a running cluster: on three members of etcd, or as the folder of the embedded store.

use std::path::Path;
use std::time::Duration;

use berth_e2e::etcd::Setup;
use berth_e2e::pace::Pace;
use berth_e2e::wait::{always, eventually};
use berth_e2e::world::{Copy, SOON, condition, summary, uid};
use berth_e2e::{Part, StoreForm, World};
use berth_types::Reason;
use serde_json::Value;

use super::witness::{Api, Containers, Writer, present};
use super::{STEADY, judgement};

/// Processes end when they find the other history, and whoever supervises them starts them anew; what was acknowledged
/// before the snapshot is there; no container that the snapshot knows notices, one that it lacks is stopped with an
/// Event, and not before its time.
pub fn an_older_snapshot_is_restored(form: StoreForm) {
    let setup = Setup { members: 3, ..Setup::default() };
    let mut world = World::plan(form).pace(Pace::of_run()).etcd(setup).start();
    world.apply(STEADY).ok();
    let known = Containers::of(&world, &world.wait_ready("steady", 2));
    let writer = Writer::start(&world, "before");
    writer.goes_on("before the snapshot");
    let acknowledged = writer.stop();
    let snapshot = world.dir().join("snapshot");
    match form {
        StoreForm::Etcd(_) => world.etcd_mut().save(&snapshot),
        StoreForm::Embedded => world.copy_store(&snapshot, Copy::Away),
    }

    world.apply(&STEADY.replace("steady", "late").replace("replicas: 2", "replicas: 1")).ok();
    let late = world.wait_ready("late", 1);
    let unknown = Containers::of(&world, &late);
    let writer = Writer::start(&world, "lost");
    (0..10).for_each(|_| writer.goes_on("after the snapshot"));
    writer.stop();

    let lost = Api::of(&world).place();
    match form {
        StoreForm::Etcd(_) => restore_etcd(&mut world, &snapshot),
        StoreForm::Embedded => world.copy_store(&snapshot, Copy::Back),
    }
    // What is written now gets the revisions of what was lost.
    let writer = Writer::start(&world, "after");
    (0..10).for_each(|_| writer.goes_on("after the restore"));
    writer.stop();
    let refused = Api::of(&world).follow_from(&lost);
    assert!(refused.is_of_another_history(), "{refused:?}");
    for part in [Part::Controllers, Part::Agent] {
        // Each hears of the other history from the server that is started anew.
        supervise(&mut world, part, &known);
    }
    world.wait_for_node();
    assert!(acknowledged.is_subset(&present(&world)), "acknowledged before the snapshot and gone");
    assert!(present(&world).iter().all(|name| !name.starts_with("lost-")));
    // A fifth of the time that Tasks live which the store does not know, less what has passed already.
    always("containers stay", Duration::from_secs(3), || {
        known.untouched(&world)?;
        unknown.untouched(&world)
    });
    the_unknown_task_is_told_of_and_stopped(&world, &late[0]);
    known.untouched(&world).expect("no container that the snapshot knows notices");
    the_cluster_works_on(&world);
    known.untouched(&world).expect("no container that the snapshot knows notices");
    world.settles();
    world.ctl(&["delete", "app/steady"]).ok();
    world.wait_none("tasks");
    world.end();
}

/// The apiserver runs all the while; what watches it hears of the end.
fn restore_etcd(world: &mut World, snapshot: &Path) {
    let api = Api::of(world);
    let watch = api.watch();
    world.etcd_mut().restore(snapshot);
    let ended = watch.ends();
    assert!(matches!(ended.reason, Reason::Expired | Reason::Unavailable), "{ended:?}");
    assert!(world.gives_up(Part::Apiserver, SOON), "the apiserver does not notice the other history");
    world.begin(Part::Apiserver);
}

/// The part ends by itself and is started again.
fn supervise(world: &mut World, part: Part, known: &Containers) {
    assert!(world.gives_up(part, SOON), "{part:?} does not hear of the other history");
    known.untouched(world).expect("no container notices");
    world.begin(part);
}

fn the_unknown_task_is_told_of_and_stopped(world: &World, late: &Value) {
    eventually("the Task that the store lacks is stopped", SOON, || {
        let left = berth_e2e::leftovers::processes_of_task(world.dir(), uid(late));
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    eventually("an Event tells of it", SOON, || {
        let events = world.list("events")?;
        let tells =
            |event: &Value| event["reason"] == "UnknownTask" && event["involvedObject"]["uid"] == uid(late);
        if events.iter().any(tells) { Ok(()) } else { Err(format!("{events:?}")) }
    });
}

/// Controllers lead again, and names of Tasks that the snapshot lacks do no harm.
fn the_cluster_works_on(world: &World) {
    world.apply(&STEADY.replace("replicas: 2", "replicas: 3")).ok();
    world.wait_ready("steady", 3);
    always("the node stays ready", judgement(), || {
        let nodes = world.list("nodes")?;
        let ready = nodes.iter().all(|node| condition(node, "Ready") == "True");
        if ready { Ok(()) } else { Err(summary(&nodes)) }
    });
}
