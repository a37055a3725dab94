//! etcd has reached its quota.

use berth_e2e::etcd::Setup;
use berth_e2e::pace::Pace;
use berth_e2e::wait::{always, eventually};
use berth_e2e::world::{SOON, condition, summary};
use berth_e2e::{Part, StoreForm, World};
use berth_types::Reason;

use super::witness::{Api, Containers};
use super::{STEADY, judgement};

/// Reads and watches go on, writes are refused with the way back, a server can even be started anew, nobody is judged;
/// after the way back all is as before.
pub fn an_etcd_at_its_quota_is_read_and_comes_back(form: StoreForm) {
    let setup = Setup { args: vec![format!("--quota-backend-bytes={}", 16 << 20)], ..Setup::default() };
    let mut world = World::plan(form).pace(Pace::of_run()).etcd(setup).start();
    world.apply(STEADY).ok();
    let containers = Containers::of(&world, &world.wait_ready("steady", 2));
    let api = Api::of(&world);
    api.create("early").expect("there is room");
    fill(&api);
    let full = eventually("writes are refused", SOON, || match api.create("late") {
        Err(status) if status.reason == Reason::StorageFull => Ok(status),
        other => Err(format!("{other:?}")),
    });
    for word in ["compact", "defrag", "disarm"] {
        assert!(full.message.contains(word), "the refusal does not tell the way back: {}", full.message);
    }
    assert!(api.list("").expect("reads go on").contains("early"));
    let health = api.health().expect("the server lives");
    assert!(health.ready && !health.writable && health.faults[0].contains("NOSPACE"), "{health:?}");
    // etcd 3.5.1 to 3.5.6 refuse any transaction while they are full, one that only deletes too.
    match (form, api.delete("early")) {
        (StoreForm::Etcd("3.5.1"), Err(status)) if status.reason == Reason::StorageFull => {}
        (_, deleted) => deleted.expect("deletes go on"),
    }
    containers.untouched(&world).expect("no container notices");

    world.kill(Part::Apiserver);
    world.begin(Part::Apiserver);
    eventually("a server over a full store serves", SOON, || {
        api.list("").map(drop).map_err(|status| status.to_string())
    });
    always("containers stay", judgement(), || containers.untouched(&world));

    world.etcd_mut().make_space();
    eventually("writes go on", SOON, || api.create("late").map_err(|status| status.to_string()));
    world.wait_for_node();
    always("the node stays ready and its Tasks stay", judgement(), || {
        containers.untouched(&world)?;
        let (nodes, tasks) = (world.list("nodes")?, world.tasks_of("steady")?);
        let fine = nodes.iter().all(|node| condition(node, "Ready") == "True") && tasks.len() == 2;
        if fine { Ok(()) } else { Err(format!("{}\n{}", summary(&nodes), summary(&tasks))) }
    });
    world.settles();
    world.ctl(&["delete", "app/steady"]).ok();
    world.wait_none("tasks");
    world.end();
}

/// Writes one object until etcd takes no more.
fn fill(api: &Api) {
    for number in 0..1_000 {
        match api.rewrite("early", number, 150_000) {
            Err(status) if status.reason == Reason::StorageFull => return,
            Err(_) | Ok(()) => {}
        }
    }
    panic!("etcd is never full");
}
