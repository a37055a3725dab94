//! Leaders that do not know that they lead no longer, or that they are not alone.

use std::time::Duration;

use berth_e2e::faults::Way;
use berth_e2e::pace::Pace;
use berth_e2e::wait::eventually;
use berth_e2e::world::{SOON, condition, summary};
use berth_e2e::{Part, StoreForm, World, soak};
use serde_json::Value;

use crate::census::{Census, idle_app};

/// Who holds the App controller's Lease.
fn holder(world: &World) -> Result<String, String> {
    let run = world.ctl(&["get", "lease", "app-controller", "-n", "berth-system", "-o", "json"]);
    let lease: Value = serde_json::from_str(&run.stdout).map_err(|why| format!("{why}: {}", run.stderr))?;
    lease["spec"]["holderIdentity"].as_str().map(str::to_owned).ok_or_else(|| lease.to_string())
}

/// A leader decides and writes, its write lingers on the way, and it stands still for longer than its Lease; meanwhile
/// the decision turned out wrong. The write is refused for its epoch when it arrives, and nothing but that refuses it.
pub fn a_leader_paused_with_its_write_on_the_way_is_refused(form: StoreForm) {
    let pace = Pace::of_run().controllers();
    let plan = World::plan(form).without(Part::Agent).simulate(3).with(Part::SecondControllers);
    let plan = plan.config(Part::Controllers, &pace).config(Part::SecondControllers, &pace);
    let mut world = plan.relayed(Part::Controllers).start();
    world.apply(&idle_app("pair", 2, "")).ok();
    world.wait_ready("pair", 2);
    // On a busy machine the leader may find its connection dead before it stands still: such a round shows nothing.
    let rounds = (0..8).filter(|_| one_pause(&mut world)).take(soak::counts(1, 4)).count();
    assert!(rounds > 0, "no leader's write was on the way when it stood still");
    world.settles();
    world.ctl(&["delete", "app/pair"]).ok();
    world.wait_none("tasks");
    world.stop_all();
}

/// Whether the leader's write was on the way when it stood still.
fn one_pause(world: &mut World) -> bool {
    // The standby starts after the Lease is held, so that it is known who leads.
    let (leader, standby) = (Part::Controllers, Part::SecondControllers);
    world.stop(standby);
    let held = eventually("the first leads", SOON, || {
        let holder = holder(world)?;
        if holder.is_empty() { Err(holder) } else { Ok(holder) }
    });
    world.begin(standby);
    world.wait_ready("pair", 2);
    let census = Census::of(world, "pair").expect("the API answers");
    let link = world.link(leader);
    link.swallow_one_way(Way::ToServer);
    world.ctl(&["scale", "app/pair", "--replicas", "1"]).ok();
    // Only the write that stops a Task names one.
    let is_sent = (0..50).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        link.holds(Way::ToServer, b"pair-")
    });
    let paused = world.pause(leader);
    // Before anybody else leads, the user thinks better of it.
    world.ctl(&["scale", "app/pair", "--replicas", "2"]).ok();
    let in_time = is_sent && holder(world) == Ok(held.clone());
    if in_time {
        eventually("another leads", SOON, || match holder(world)? {
            now if now != held && !now.is_empty() => Ok(()),
            now => Err(now),
        });
    }
    link.heal();
    if in_time {
        let hold = soak::paced(Duration::from_secs(20));
        census.must_stay_untouched(world, "pair", hold);
    }
    paused.resume();
    if in_time {
        let hold = soak::paced(Duration::from_secs(5));
        census.must_stay_untouched(world, "pair", hold);
    }
    world.wait_ready("pair", 2);
    in_time
}

/// Two of every controller act at once: slower, and right in the end.
pub fn two_of_every_controller_end_right(form: StoreForm) {
    let plan = World::plan(form).pace(Pace::of_run()).without(Part::Agent).simulate(4);
    let plan = plan.with(Part::SecondControllers);
    let plan = plan.args(Part::Controllers, &["--force-active"]);
    let mut world = plan.args(Part::SecondControllers, &["--force-active"]).start();
    let fault = world.faults().begin("two of every controller act at once");
    for (replicas, sleeps) in [(10, "100000"), (10, "100001"), (14, "100002"), (5, "100003"), (10, "100004")]
    {
        world.apply(&idle_app("both", replicas, "").replace("100000", sleeps)).ok();
        ends(&world, replicas, sleeps);
    }
    drop(fault);
    let census = Census::of(&world, "both").expect("the API answers");
    census.must_stay_untouched(&world, "both", soak::paced(Duration::from_secs(10)));
    world.settles();
    world.ctl(&["delete", "app/both"]).ok();
    world.wait_none("tasks");
    world.stop_all();
}

/// The App has as many Tasks as it asks for, all as it asks for them, and nothing of an older Revision is left.
fn ends(world: &World, replicas: usize, sleeps: &str) {
    eventually(&format!("{replicas} Tasks that sleep for {sleeps}"), SOON, || {
        let tasks = world.list("tasks")?;
        let right = |task: &&Value| {
            task["spec"]["containers"][0]["command"][1] == sleeps && condition(task, "Ready") == "True"
        };
        let right = tasks.iter().filter(right).count();
        if right == replicas && tasks.len() == replicas { Ok(()) } else { Err(summary(&tasks)) }
    });
}
