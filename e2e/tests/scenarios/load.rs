//! Clients and watchers at work while apiservers die: what they were told is held against what happened.

use std::time::Duration;

use berth_e2e::load::Load;
use berth_e2e::pace::Pace;
use berth_e2e::{Part, StoreForm, World, soak};

/// How long an apiserver serves before it is killed.
const SERVES: Duration = Duration::from_millis(1200);
/// How long it is away.
const AWAY: Duration = Duration::from_millis(400);

/// Every answer and every event is true, whichever apiserver dies: over etcd either of two, else the only one.
pub fn answers_and_watches_stay_true_while_apiservers_die(form: StoreForm) {
    let plan = World::plan(form).pace(Pace::Fifth);
    let (plan, servers) = match form {
        StoreForm::Embedded => (plan, vec![Part::Apiserver]),
        StoreForm::Etcd(_) => {
            (plan.with(Part::SecondApiserver), vec![Part::Apiserver, Part::SecondApiserver])
        }
    };
    let mut world = plan.start();
    let load = Load::start(&world, soak::seed());
    for kill in 0..soak::counts(4, 40) {
        std::thread::sleep(SERVES);
        kill_for_a_while(&mut world, servers[kill % servers.len()]);
    }
    std::thread::sleep(SERVES);
    let measured = load.finish(&mut world);
    println!("{measured:?}");
    world.end();
}

fn kill_for_a_while(world: &mut World, part: Part) {
    let away = world.faults().begin(format!("{} away", part.name()));
    world.kill(part);
    std::thread::sleep(AWAY);
    world.begin(part);
    world.wait_for_node();
    drop(away);
}
