//! Clients and watchers at work while apiservers die: what they were told is held against what happened.

use berth_e2e::etcd::Setup;
use berth_e2e::load::Load;
use berth_e2e::pace::Pace;
use berth_e2e::sockets::established_to;
use berth_e2e::wait::eventually;
use berth_e2e::world::SOON;
use berth_e2e::{Part, StoreForm, World, soak};

/// How many calls the apiservers answer before one of them is killed.
const SERVES: u64 = 60;

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
        load.goes_on(SERVES);
        kill_for_a_while(&mut world, &load, servers[kill % servers.len()]);
    }
    if let StoreForm::Etcd(_) = form {
        compact_behind(&mut world, &load, Part::SecondApiserver);
    }
    load.goes_on(SERVES);
    let measured = load.end(&mut world);
    assert!(measured.in_faults > 0, "INVALID: nobody asked anything during a fault: {measured:?}");
    let lost_events = form == StoreForm::Embedded || measured.expired > 0;
    assert!(lost_events, "INVALID: no watcher was told that events are lost: {measured:?}");
    world.end();
}

/// A server stands still until etcd hangs up on it, and all that it has not seen is compacted.
fn compact_behind(world: &mut World, load: &Load, part: Part) {
    // One that stands still while it starts gives up: etcd did not answer it in time.
    let server = world.address(part);
    eventually("the server answers", SOON, || {
        let run = world.ctl(&["--server", &server, "get", "nodes"]);
        if run.code == 0 { Ok(()) } else { Err(run.stderr) }
    });
    let paused = world.pause(part);
    let (pid, url) = (world.part(part).pid(), world.etcd_url().expect("a world on etcd"));
    let port = url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a URL with a port");
    eventually("etcd hangs up on the server", SOON, || match established_to(pid, port) {
        0 => Ok(()),
        connections => Err(format!("{connections} connections")),
    });
    // Of this it is told nothing.
    load.goes_on(20);
    world.etcd_mut().compact();
    paused.resume();
    eventually("the server notices that it missed something", SOON, || {
        let said = world.part(part).output();
        if said.contains("events were compacted") { Ok(()) } else { Err(said) }
    });
    world.wait_for_node();
}

fn kill_for_a_while(world: &mut World, load: &Load, part: Part) {
    let away = world.faults().begin(format!("{} away", part.name()));
    world.kill(part);
    load.meets_a_fault();
    world.begin(part);
    world.wait_for_node();
    drop(away);
}
