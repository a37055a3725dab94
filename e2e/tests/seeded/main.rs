//! The history checker's own proof. Each deliberate defect is switched on in a small cluster that lives through the
//! history which brings it to light: the checker must name the promise that it breaks, and must find nothing in the
//! same cluster without the defect. Each cluster is a process of its own, for the switch is its environment.
#![allow(clippy::unwrap_used)]

mod answers;
mod ends;
mod gate;
mod nodes;
mod proof;
mod rollouts;
mod rooms;
mod table;
mod watches;
mod witness;
mod world;
mod writes;

use libtest_mimic::{Arguments, Failed, Trial};

use table::{TABLE, WORLDS};

fn main() {
    if let Ok(world) = std::env::var(proof::WORLD) {
        return proof::live_through(&world);
    }
    let mut arguments = Arguments::from_args();
    // Each is a process with threads of its own, and other tests wait for states that two do not keep from coming.
    arguments.test_threads = Some(2);
    let whole = trial("every_defect_has_a_row".into(), table::is_whole);
    let clean = |name: &'static str| trial(format!("{name} breaks nothing"), || proof::finds_nothing(name));
    let clean = WORLDS.iter().map(|world| clean(world.name));
    let caught =
        TABLE.iter().map(|row| trial(format!("{} breaks {}", row.bug, row.breaks), || proof::catches(row)));
    let ended = libtest_mimic::run(&arguments, [whole].into_iter().chain(clean).chain(caught).collect());
    proof::print_table();
    ended.exit();
}

fn trial(name: String, run: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, || {
        run();
        Ok::<(), Failed>(())
    })
}
