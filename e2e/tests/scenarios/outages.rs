//! Everybody away at once, or the one who would say so: nobody is replaced for it.

use std::time::Duration;

use berth_e2e::faults::Paused;
use berth_e2e::load::Load;
use berth_e2e::pace::Pace;
use berth_e2e::wait::{always, eventually};
use berth_e2e::world::{SOON, condition, summary};
use berth_e2e::{Part, StoreForm, World, soak};

use serde_json::{Value, json};

use crate::census::{Census, Readiness, idle_app, replace_after, wait_node};
use crate::operator::Operator;

/// Longer than `replaceAfter` and all that comes before it.
fn outage() -> Duration {
    soak::paced(Duration::from_secs(20)).max(replace_after() + Duration::from_secs(1))
}

/// The only apiserver stands still, and goes on, and its agents come back later than it does: nobody is judged, nobody
/// is replaced, containers are untouched.
pub fn the_only_apiserver_paused_replaces_nobody(form: StoreForm) {
    during_an_outage(form, |world| world.pause(Part::Apiserver));
}

/// etcd has no leader for a while: the same.
pub fn an_etcd_without_leader_replaces_nobody(form: StoreForm) {
    during_an_outage(form, World::pause_etcd);
}

/// One protection holds here: that a server which was away itself is not believed (`Roll::believed`, for `judgeAfter`).
/// Without it every node is told NotReady within two seconds; with nobody waiting for `replaceAfter` either, all Tasks
/// are replaced: both were seen to fail here. Three more would hide that, so they are kept out: agents that come back
/// before anybody judges (their links are cut), the grace for agents of a lost server (the cuts outlast it), and the
/// rule about most nodes (there are three).
fn during_an_outage(form: StoreForm, begin: impl Fn(&World) -> Paused) {
    let pace = Pace::of_run();
    let plan = World::plan(form).simulate(2).relayed(Part::Agent).relayed(Part::Simulated);
    let plan = plan.config(Part::Apiserver, &pace.doubtful_apiserver());
    let plan = plan.config(Part::Controllers, &pace.controllers());
    let plan = plan.config(Part::Agent, &pace.agent()).config(Part::Simulated, &pace.agent());
    let mut world = plan.start();
    let load = Load::start(&world);
    world.apply(&idle_app("calm", 6, "")).ok();
    world.wait_ready("calm", 6);
    let census = Census::of(&world, "calm").expect("the API answers");
    let readiness = Readiness::of(&world).expect("the API answers");
    let paused = begin(&world);
    always("the containers run on", outage(), || census.runs_on(&world));
    let links = [Part::Agent, Part::Simulated].map(|part| world.link(part));
    links.iter().for_each(|link| link.cut());
    paused.resume();
    always("nobody is replaced", outage(), || match census.is_untouched(&world, "calm") {
        // Right after the outage there may be no answer.
        Err(why) if why.contains("was Census") => Err(why),
        Ok(()) | Err(_) => Ok(()),
    });
    readiness.must_be_unchanged(&world);
    links.iter().for_each(|link| link.heal());
    load.end(&mut world).must_have_lost_answers();
    census.must_be_untouched(&world, "calm");
    world.wait_ready("calm", 6);
    world.settles();
    readiness.must_be_unchanged(&world);
    world.ctl(&["delete", "app/calm"]).ok();
    world.wait_none("tasks");
    world.end();
}

/// Most nodes vanish at once: they are NotReady and it is told why nothing is replaced; when they are back, nothing was.
/// The rule about that (`MassVanish`) alone holds here; without it this was seen to fail.
pub fn most_nodes_gone_at_once_are_not_replaced(form: StoreForm) {
    let plan = World::plan(form).pace(Pace::of_run()).simulate(6).relayed(Part::Simulated);
    let world = plan.start();
    let operator = Operator::new(&world);
    // So that those that vanish have all the Tasks.
    operator.cordon("one", json!(true));
    world.apply(&idle_app("calm", 14, "")).ok();
    world.wait_ready("calm", 14);
    operator.cordon("one", Value::Null);
    let census = Census::of(&world, "calm").expect("the API answers");
    world.link(Part::Simulated).cut();
    eventually("six nodes are NotReady", SOON, || {
        let nodes = world.list("nodes")?;
        let away = nodes.iter().filter(|node| condition(node, "Ready") == "False").count();
        if away == 6 { Ok(()) } else { Err(summary(&nodes)) }
    });
    wait_node(&world, "one", "True", SOON);
    census.must_stay_untouched(&world, "calm", replace_after() * 2);
    let tasks = world.tasks_of("calm").expect("the API answers");
    let told = summary(&tasks);
    assert!(told.contains("6 of 7 nodes vanished at once"), "{told}");
    world.link(Part::Simulated).heal();
    eventually("all nodes are Ready", SOON, || {
        let nodes = world.list("nodes")?;
        let ready = nodes.iter().filter(|node| condition(node, "Ready") == "True").count();
        if ready == 7 { Ok(()) } else { Err(summary(&nodes)) }
    });
    eventually("every Task is in reach", SOON, || {
        let tasks = world.tasks_of("calm")?;
        let away = tasks.iter().filter(|task| condition(task, "Reachable") == "False").count();
        if away == 0 { Ok(()) } else { Err(summary(&tasks)) }
    });
    census.must_be_untouched(&world, "calm");
    world.settles();
    world.ctl(&["delete", "app/calm"]).ok();
    world.wait_none("tasks");
    world.end();
}
