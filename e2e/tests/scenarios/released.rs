//! What many objects took of memory and disk is released once they are gone.

use std::time::Duration;

use berth_e2e::crowd::{self, Crowd, sizes};
use berth_e2e::wait::eventually;
use berth_e2e::{Part, StoreForm, soak};

/// Apps with a Task and a Revision each are created and deleted: the server, the controllers and the journal are then at
/// most twice as large as before. What keeps events and versions for a while does so for seconds here.
pub fn what_many_apps_took_is_released(_: StoreForm) {
    let apps = soak::counts(800, 10_000);
    let seconds = soak::counts(2, 240);
    let within = Duration::from_secs(if soak::soaking() { 600 } else { 60 });
    let config = format!("compactionSeconds: {seconds}\nwindowSeconds: {seconds}");
    let mut world = crowd::plan().config(Part::Apiserver, &config).start();
    let crowd = Crowd::of(&world, apps);
    let before = sizes(&world);
    crowd.comes();
    let most = sizes(&world);
    crowd.goes();
    let now = eventually("what the Apps took is released", within, || {
        let now = sizes(&world);
        let released = now.iter().all(|(part, size)| *size <= 2.0 * before[part]);
        if released {
            Ok(now)
        } else {
            Err(format!("before {before:.1?}, with them {most:.1?}, now {now:.1?}"))
        }
    });
    println!("MiB before {before:.1?}, with {apps} Apps {most:.1?}, once released {now:.1?}");
    world.stop_all();
}
