//! What 10,000 Apps leave behind in memory and on disk, ten minutes after they were deleted, beside what was there before
//! they were created. All durations as they are by default.

use std::time::{Duration, Instant};

use berth_e2e::crowd::{self, Crowd, sizes};

use crate::report::{Figure, Report};

const APPS: usize = 10_000;
/// After the start, before anything is counted.
const SETTLES: Duration = Duration::from_secs(10);
/// After the deletion.
const LATER: Duration = Duration::from_secs(600);

/// Measures the embedded store.
pub fn measure(report: &mut Report) {
    let mut world = crowd::plan().start();
    let crowd = Crowd::of(&world, APPS);
    std::thread::sleep(SETTLES);
    let before = sizes(&world);
    let began = Instant::now();
    crowd.comes();
    let most = sizes(&world);
    crowd.goes();
    let took = began.elapsed();
    std::thread::sleep(LATER);
    let now = sizes(&world);
    world.stop_all();
    let figure = |what: &str, value, unit| {
        Figure::new(format!("{APPS} Apps created and deleted: {what}"), value, unit).on("embedded").of(APPS)
    };
    report.add(&figure("took", took.as_secs_f64(), "s"));
    for (part, before) in before {
        report.add(&figure(&format!("{part} with them"), most[part], "MiB").beside("before", before));
        let later = figure(&format!("{part} ten minutes later"), now[part], "MiB");
        report.add(&later.beside("before", before).asked("must 2 x before"));
    }
}
