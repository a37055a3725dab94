//! One container made, started and deleted: our shim beside crun, in turn, on the same bundle: the same spec, the
//! same filter of system calls, the same cgroups, a root filesystem that is mounted before. What crun does not do at
//! all has rows of its own: the root filesystem mounted for the attempt, and the shim itself, which is started once for
//! a Task. The shim also keeps the container's log and has its end on disk before it tells it; that is in every row.

use std::path::Path;
use std::time::{Duration, Instant};

use berth_e2e::{StoreForm, World, binary};
use berth_shim_api::Client;

use crate::apply;
use crate::bundle::Bundle;
use crate::crun::{Calls, Crun};
use crate::measure::percentile;
use crate::report::{Figure, Report};
use crate::shim::{RootFrom, Shim};

const ROUNDS: u32 = 40;

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
    let crun = Crun::new(bundle, &dir.join("crun"), Calls::Filtered);
    let free = Crun::new(bundle, &dir.join("free"), Calls::Free);
    let shim = |name: &str, from| Shim::new(bundle, &dir.join(name), &binary("shim"), &name.repeat(16), from);
    let (plain, own, task) =
        (shim("b0", RootFrom::Outside), shim("b1", RootFrom::Shim), shim("b2", RootFrom::Shim));
    let (mut to_plain, mut to_own) = (plain.launch(), own.launch());
    let mut rows = [
        Row::new("crun, with the shim's filter of system calls"),
        Row::new("crun, without a filter"),
        Row::new("a running shim, the same work"),
        Row::new("a running shim, root filesystem mounted too"),
        Row::new("a Task: shim started, one container, shim ended"),
    ];
    // The first round warms everybody up.
    for round in 0..=ROUNDS {
        let times = [
            timed(|| crun.create_and_start(), |()| crun.delete()),
            timed(|| free.create_and_start(), |()| free.delete()),
            in_running(&plain, &mut to_plain, round),
            in_running(&own, &mut to_own, round),
            timed(
                || launched(&task, round),
                |mut client| {
                    task.delete(&mut client);
                    client.shutdown().expect("the shim ends");
                },
            ),
        ];
        if round > 0 {
            rows.iter_mut().zip(times).for_each(|(row, times)| row.add(times));
        }
    }
    for mut client in [to_plain, to_own] {
        client.shutdown().expect("the shim ends");
    }
    let crun = rows[0].medians();
    for row in &mut rows {
        row.report(crun, report);
    }
}

fn in_running(shim: &Shim, client: &mut Client, attempt: u32) -> [Duration; 2] {
    let started = move || {
        shim.create_and_start(client, attempt);
        client
    };
    timed(started, |client| shim.delete(client))
}

fn launched(shim: &Shim, attempt: u32) -> Client {
    let mut client = shim.launch();
    shim.create_and_start(&mut client, attempt);
    client
}

/// How long `start` took, and both together.
fn timed<T>(start: impl FnOnce() -> T, delete: impl FnOnce(T)) -> [Duration; 2] {
    let began = Instant::now();
    let started = start();
    let running = began.elapsed();
    delete(started);
    [running, began.elapsed()]
}

struct Row {
    who: &'static str,
    running: Vec<Duration>,
    whole: Vec<Duration>,
}

impl Row {
    fn new(who: &'static str) -> Self {
        Self { who, running: Vec::new(), whole: Vec::new() }
    }

    fn add(&mut self, [running, whole]: [Duration; 2]) {
        self.running.push(running);
        self.whole.push(whole);
    }

    /// Until it ran, and until it was gone again.
    fn medians(&mut self) -> [f64; 2] {
        [percentile(&mut self.running, 0.5), percentile(&mut self.whole, 0.5)]
    }

    fn report(&mut self, crun: [f64; 2], report: &mut Report) {
        let steps = ["create and start", "create, start and delete"];
        for ((step, value), crun) in steps.into_iter().zip(self.medians()).zip(crun) {
            let figure = Figure::new(format!("container: {step}: {}", self.who), value, "ms");
            report.add(&figure.of(ROUNDS as usize).beside("crun", crun).asked("must 0.8 x, aim 0.4 x"));
        }
    }
}
