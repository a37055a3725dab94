//! Clients and watchers at work while apiservers die: what they were told is held against what happened.

use std::time::{Duration, Instant};

use berth_e2e::etcd::Setup;
use berth_e2e::load::Load;
use berth_e2e::pace::Pace;
use berth_e2e::wait::eventually;
use berth_e2e::world::SOON;
use berth_e2e::{Part, StoreForm, World, soak};

/// How long an apiserver serves before it is killed.
const SERVES: Duration = Duration::from_millis(1200);
/// How long it is away.
const AWAY: Duration = Duration::from_millis(400);
/// Longer than etcd, as it is set up here, takes to hang up on a client that is silent.
const HUNG_UP: Duration = Duration::from_millis(2500);

/// Every answer and every event is true, whichever apiserver dies: over etcd either of two, else the only one. Over
/// etcd one of them also stands still, and the history that it has not seen is compacted meanwhile.
pub fn answers_and_watches_stay_true_while_apiservers_die(form: StoreForm) {
    let plan = World::plan(form).pace(Pace::Fifth);
    let (plan, servers) = match form {
        StoreForm::Embedded => (plan, vec![Part::Apiserver]),
        StoreForm::Etcd(_) => {
            let args = ["--grpc-keepalive-interval=1s", "--grpc-keepalive-timeout=1s"];
            let setup = Setup { args: args.map(String::from).into(), ..Setup::default() };
            let plan = plan.with(Part::SecondApiserver).etcd(setup);
            (plan, vec![Part::Apiserver, Part::SecondApiserver])
        }
    };
    let mut world = plan.start();
    let load = Load::start(&world);
    for kill in 0..soak::counts(3, 40) {
        std::thread::sleep(SERVES);
        kill_for_a_while(&mut world, servers[kill % servers.len()]);
    }
    if let StoreForm::Etcd(_) = form {
        let compacted = (0..4).any(|_| compact_behind(&mut world, Part::SecondApiserver));
        assert!(compacted, "INVALID: the server missed nothing of what was compacted");
    }
    std::thread::sleep(SERVES);
    let measured = load.end(&mut world);
    assert!(measured.in_faults > 0, "INVALID: nobody asked anything during a fault: {measured:?}");
    let lost_events = form == StoreForm::Embedded || measured.expired > 0;
    assert!(lost_events, "INVALID: no watcher was told that events are lost: {measured:?}");
    world.end();
}

/// A server stands still until etcd hangs up on it, and all that it has not seen is compacted. Whether it noticed:
/// on a busy machine etcd may not have hung up in time.
fn compact_behind(world: &mut World, part: Part) -> bool {
    // One that stands still while it starts gives up: etcd did not answer it in time.
    let server = world.address(part);
    eventually("the server answers", SOON, || {
        let run = world.ctl(&["--server", &server, "get", "nodes"]);
        if run.code == 0 { Ok(()) } else { Err(run.stderr) }
    });
    let paused = world.pause(part);
    std::thread::sleep(HUNG_UP);
    world.etcd_mut().compact();
    paused.resume();
    let end = Instant::now() + Duration::from_secs(5);
    let noticed = || world.part(part).output().contains("events were compacted");
    let mut has_noticed = noticed();
    while !has_noticed && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
        has_noticed = noticed();
    }
    world.wait_for_node();
    has_noticed
}

fn kill_for_a_while(world: &mut World, part: Part) {
    let away = world.faults().begin(format!("{} away", part.name()));
    world.kill(part);
    std::thread::sleep(AWAY);
    world.begin(part);
    world.wait_for_node();
    drop(away);
}
