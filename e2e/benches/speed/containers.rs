//! One container made, started and deleted: our shim beside crun, in turn, on the same bundle. The shim does more:
//! it starts itself from a sealed copy, keeps the container's log and writes down its end. crun gets no seccomp
//! filter, for ours is the shim's own.

use std::path::Path;
use std::time::{Duration, Instant};

use berth_e2e::{StoreForm, World, binary};

use crate::apply;
use crate::bundle::{Bundle, Crun, Shim};
use crate::measure::{Figure, Report, percentile};

const ROUNDS: u32 = 30;

/// Measures both, on the bundle of a container that runs meanwhile.
pub fn measure(report: &mut Report) {
    let world = World::start(StoreForm::Embedded);
    world.apply(&apply::app("kept", &apply::image(&world))).ok();
    world.wait_ready("kept", 1);
    rounds(&apply::bundle(&world), &world.dir().join("bench"), report);
    world.ctl(&["delete", "app", "kept"]).ok();
    world.wait_none("tasks");
    world.end();
}

fn rounds(bundle: &Bundle, dir: &Path, report: &mut Report) {
    let shim = Shim::new(bundle, &dir.join("shim"), &binary("shim"));
    let crun = Crun::new(bundle, &dir.join("crun"));
    let (mut ours, mut theirs) = (Rounds::default(), Rounds::default());
    for round in 0..ROUNDS {
        let start = Instant::now();
        let client = shim.create_and_start(round);
        let running = start.elapsed();
        shim.delete(client);
        ours.add(running, start.elapsed());

        let start = Instant::now();
        crun.create_and_start();
        let running = start.elapsed();
        crun.delete();
        theirs.add(running, start.elapsed());
    }
    let running = theirs.add_to(report, "crun", None);
    ours.add_to(report, "shim", Some(running));
}

#[derive(Default)]
struct Rounds {
    running: Vec<Duration>,
    whole: Vec<Duration>,
}

impl Rounds {
    fn add(&mut self, running: Duration, whole: Duration) {
        self.running.push(running);
        self.whole.push(whole);
    }

    /// The medians: until it ran, and until it was gone again.
    fn add_to(&mut self, report: &mut Report, who: &str, beside: Option<(f64, f64)>) -> (f64, f64) {
        let running = percentile(&mut self.running, 0.5);
        let whole = percentile(&mut self.whole, 0.5);
        let figure = |what: &str, value, crun: Option<f64>| {
            let figure =
                Figure::new(format!("container: {what}, {who}, p50"), value, "ms").of(ROUNDS as usize);
            match crun {
                Some(value) => figure.beside("crun", value),
                None => figure,
            }
        };
        report.add(&figure("create and start", running, beside.map(|(running, _)| running)));
        let all = figure("create, start and delete", whole, beside.map(|(_, whole)| whole));
        report.add(&if beside.is_some() { all.asked("must 0.8 x, aim 0.4 x") } else { all });
        (running, whole)
    }
}
