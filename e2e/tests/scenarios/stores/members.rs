//! Three members of etcd: one dies, one hangs, one is cut off, most are gone.

use std::time::Duration;

use berth_e2e::etcd::Setup;
use berth_e2e::load::Load;
use berth_e2e::pace::Pace;
use berth_e2e::wait::{always, eventually};
use berth_e2e::world::{SOON, condition, summary};
use berth_e2e::{Part, StoreForm, World};
use berth_types::Reason;
use nix::sys::signal::Signal;

use super::witness::{Api, Containers, Writer, present};
use super::{STEADY, judgement};

/// The member that is cut off while it leads.
const CUT_OFF: usize = 0;

/// Whatever becomes of a minority, writes go on; without a majority they are refused with a word, reads from the cache
/// and watches go on, nobody is judged; nothing acknowledged is lost, and no container notices.
pub fn three_members_lose_one_and_most(form: StoreForm) {
    let setup = Setup { members: 3, ..Setup::default() };
    let plan = World::plan(form).pace(Pace::of_run()).etcd(setup).members(Part::SecondApiserver, &[CUT_OFF]);
    let mut world = plan.start();
    world.apply(STEADY).ok();
    let containers = Containers::of(&world, &world.wait_ready("steady", 2));
    let writer = Writer::start(&world, "kept");
    let load = Load::start(&world);
    writer.goes_on("at first");

    let fault = world.faults().begin("members of etcd die, hang and are cut off");
    let leader = world.etcd_mut().leader();
    world.etcd_mut().kill(leader);
    writer.goes_on("after the leader's death");
    world.etcd_mut().begin(leader);

    let leader = world.etcd_mut().leader();
    world.etcd_mut().signal(leader, Signal::SIGSTOP);
    writer.goes_on("while the leader hangs");
    world.etcd_mut().signal(leader, Signal::SIGCONT);
    writer.goes_on("when it goes on");
    containers.untouched(&world).expect("no container notices");

    the_leader_is_cut_off(&mut world, &writer);
    let follower = (world.etcd_mut().leader() + 1) % 3;
    world.etcd_mut().cut_off(follower);
    writer.goes_on("while a follower is cut off");
    world.etcd_mut().heal();
    writer.goes_on("when it is back");
    containers.untouched(&world).expect("no container notices");

    most_members_are_gone(&mut world, &containers);
    writer.goes_on("when the members are back");
    drop(fault);
    load.end(&mut world).must_have_lost_answers();
    let acknowledged = writer.stop();
    let missing: Vec<_> = acknowledged.difference(&present(&world)).cloned().collect();
    assert!(missing.is_empty(), "acknowledged and gone: {missing:?}");
    containers.untouched(&world).expect("no container notices");
    world.settles();
    world.ctl(&["delete", "app/steady"]).ok();
    world.wait_none("tasks");
    world.end();
}

/// Whoever asks the leader that most have left is refused: it neither tells what was, nor says that it did what the
/// others will never hear of. What the others take meanwhile stays.
fn the_leader_is_cut_off(world: &mut World, writer: &Writer) {
    world.begin(Part::SecondApiserver);
    let (with_most, alone) = (Api::of(world), Api::at(world.address(Part::SecondApiserver)));
    eventually("a server that knows one member serves", SOON, || {
        alone.create("before").or_else(unless_there)
    });
    world.etcd_mut().give_lead_to(CUT_OFF);
    let cut = world.faults().begin("the leader of etcd is cut off from the others");
    world.etcd_mut().cut_off(CUT_OFF);
    let given = alone.create("given-to-the-minority").err();
    eventually("the others take a write", SOON, || with_most.create("taken-by-most").or_else(unless_there));
    always("nothing old is told as new", Duration::from_secs(3), || match alone.list("") {
        Ok(names) if !names.contains("taken-by-most") => Err(format!("{names:?}")),
        Ok(_) | Err(_) => Ok(()),
    });
    let refused = alone.list("").expect_err("a minority knows nothing of now");
    assert_eq!(refused.reason, Reason::Unavailable, "{refused:?}");
    let why = given.expect("a minority cannot agree to a write");
    assert!(matches!(why.reason, Reason::Unavailable | Reason::Timeout), "{why:?}");
    writer.goes_on("while the leader is cut off");
    world.etcd_mut().heal();
    drop(cut);
    writer.goes_on("when it is back");
    eventually("it has what the others took", SOON, || match alone.list("") {
        Ok(names) if names.contains("taken-by-most") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    world.kill(Part::SecondApiserver);
}

/// A write whose first answer was lost had been done.
fn unless_there(status: berth_types::Status) -> Result<(), String> {
    match status.reason {
        Reason::AlreadyExists => Ok(()),
        _ => Err(status.to_string()),
    }
}

fn most_members_are_gone(world: &mut World, containers: &Containers) {
    let api = Api::of(world);
    let mut watch = api.watch();
    [1, 2].into_iter().for_each(|member| world.etcd_mut().kill(member));
    eventually("the server says that it is not ready", SOON, || {
        let health = api.health().map_err(|status| status.to_string())?;
        if health.ready || health.faults.is_empty() { Err(format!("{health:?}")) } else { Ok(()) }
    });
    let refused = api.create("refused").expect_err("nobody can agree to a write");
    assert!(matches!(refused.reason, Reason::Unavailable | Reason::Timeout), "{refused:?}");
    assert_eq!(api.list("").expect_err("nobody knows the newest state").reason, Reason::Unavailable);
    let cached = api.list("0").expect("the cache answers").len();
    assert!(cached > 0);
    always("containers and cache stay", judgement(), || {
        containers.untouched(world)?;
        let now = api.list("0").map_err(|status| status.to_string())?.len();
        if now == cached { Ok(()) } else { Err(format!("{now} objects in the cache, {cached} before")) }
    });
    let refused = api.create("refused-too").expect_err("nobody can agree to a write");
    assert_eq!(refused.reason, Reason::Unavailable, "{refused:?}");
    assert!(refused.details.retry_after_seconds > 0, "{refused:?}");
    [1, 2].into_iter().for_each(|member| world.etcd_mut().begin(member));
    eventually("the server is ready", SOON, || {
        let health = api.health().map_err(|status| status.to_string())?;
        if health.ready && health.writable { Ok(()) } else { Err(format!("{health:?}")) }
    });
    eventually("a write is taken", SOON, || api.create("after").or_else(unless_there));
    watch.tells("after");
    nobody_was_judged(world);
}

/// For longer than a judgement takes, the node stays ready and its Tasks are not given up.
fn nobody_was_judged(world: &World) {
    always("the node and its Tasks are ready", judgement(), || {
        let (nodes, tasks) = (world.list("nodes")?, world.tasks_of("steady")?);
        let fine = nodes.iter().all(|node| condition(node, "Ready") == "True")
            && tasks.len() == 2
            && tasks.iter().all(|task| condition(task, "Reachable") != "False");
        if fine { Ok(()) } else { Err(format!("{}\n{}", summary(&nodes), summary(&tasks))) }
    });
}
