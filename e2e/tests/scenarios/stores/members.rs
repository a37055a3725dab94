//! Three members of etcd: one dies, one hangs, most are gone.

use std::time::Duration;

use berth_e2e::etcd::Setup;
use berth_e2e::wait::{always, eventually};
use berth_e2e::world::{SOON, condition, summary};
use berth_e2e::{StoreForm, World};
use berth_types::Reason;
use nix::sys::signal::Signal;

use super::witness::{Api, Containers, Writer, present};
use super::{STEADY, quick};

/// A fifth of a minute: far longer than a node may be silent.
const OUTAGE: Duration = Duration::from_secs(12);

/// Whatever becomes of a minority, writes go on; without a majority they are refused with a word, reads from the cache
/// and watches go on, nobody is judged; nothing acknowledged is lost, and no container notices.
pub fn three_members_lose_one_and_most(form: StoreForm) {
    let setup = Setup { members: 3, ..Setup::default() };
    let mut world = quick(World::plan(form)).etcd(setup).start();
    world.apply(STEADY).ok();
    let containers = Containers::of(&world, &world.wait_ready("steady", 2));
    let writer = Writer::start(&world, "kept");
    writer.goes_on("at first");

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

    most_members_are_gone(&mut world, &containers);
    writer.goes_on("when the members are back");
    let acknowledged = writer.stop();
    let missing: Vec<_> = acknowledged.difference(&present(&world)).cloned().collect();
    assert!(missing.is_empty(), "acknowledged and gone: {missing:?}");
    containers.untouched(&world).expect("no container notices");
    world.settles();
    world.ctl(&["delete", "app/steady"]).ok();
    world.wait_none("tasks");
    world.end();
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
    always("containers and cache stay", OUTAGE, || {
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
    eventually("a write is taken", SOON, || {
        api.create("after").or_else(|status| match status.reason {
            Reason::AlreadyExists => Ok(()),
            _ => Err(status.to_string()),
        })
    });
    watch.tells("after");
    nobody_was_judged(world);
}

/// For longer than a judgement takes, the node stays ready and its Tasks are not given up.
fn nobody_was_judged(world: &World) {
    always("the node and its Tasks are ready", Duration::from_secs(6), || {
        let (nodes, tasks) = (world.list("nodes")?, world.tasks_of("steady")?);
        let fine = nodes.iter().all(|node| condition(node, "Ready") == "True")
            && tasks.len() == 2
            && tasks.iter().all(|task| condition(task, "Reachable") != "False");
        if fine { Ok(()) } else { Err(format!("{}\n{}", summary(&nodes), summary(&tasks))) }
    });
}
