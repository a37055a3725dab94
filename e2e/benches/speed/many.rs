//! Many Tasks on many simulated nodes: created, placed, bound, running and ready; everything but containers.

use std::time::Instant;

use berth_client::{Client, Query};
use berth_e2e::many::{self, TASKS};
use berth_e2e::{Part, StoreForm, World};
use berth_types::app::App;

use crate::measure::Usage;
use crate::report::{Figure, Report};
use crate::{bare, writes};

const RATE_ASKED: &str = "must 1500, aim 4000; Kubernetes 1.36, this kind of machine: 250-480";
const CPU_ASKED: &str = "must 1, aim 0.3; Kubernetes 1.36, this kind of machine: 3.9-7.8";

/// Measures one form of the store, and the reference when that is etcd.
pub fn measure(form_name: &'static str, form: StoreForm, nodes: usize, report: &mut Report) {
    let mut world = many::world(form, nodes);
    let figure = |what: &str, value, unit| {
        Figure::new(format!("{TASKS} Tasks, {nodes} nodes: {what}"), value, unit).on(form_name)
    };
    let mut parts = vec![
        ("apiserver", world.part(Part::Apiserver).pid()),
        ("controllers", world.part(Part::Controllers).pid()),
        ("simulated agents", world.part(Part::Simulated).pid()),
    ];
    parts.extend(world.etcd().map(|etcd| ("etcd", etcd.process().pid())));
    let usage = || parts.iter().map(|(_, pid)| Usage::of(*pid)).collect::<Vec<_>>();
    let (before, rev) = (usage(), revision(&world));
    let start = Instant::now();
    many::run(&world);
    let rate = TASKS as f64 / start.elapsed().as_secs_f64();
    let after = usage();
    world.stop_all();

    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let writes = runtime.block_on(writes::since(&world, rev));
    let mut available = figure("available", rate, "Tasks/s").of(TASKS).asked(RATE_ASKED);
    if let Some(url) = world.etcd_url() {
        let bare = runtime.block_on(bare::puts_per_second(&url, TASKS, 100));
        available = available.beside("bare puts, 100 per txn", bare);
    }
    report.add(&available);
    let mut whole = 0.0;
    for ((part, _), (before, after)) in parts.iter().zip(before.iter().zip(&after)) {
        let each = (after.cpu - before.cpu).as_secs_f64() * 1000.0 / TASKS as f64;
        whole += each;
        report.add(&figure(&format!("cpu of {part}"), each, "ms/Task").of(TASKS));
        report.add(&figure(&format!("memory of {part}"), after.rss, "MiB"));
    }
    report.add(&figure("cpu of all", whole, "ms/Task").of(TASKS).asked(CPU_ASKED));
    report_writes(&writes, &figure, report);
}

fn report_writes(
    writes: &writes::Writes,
    figure: &dyn Fn(&str, f64, &'static str) -> Figure,
    report: &mut Report,
) {
    let mut add = |what: &str, count: usize| {
        report.add(&figure(what, count as f64 / TASKS as f64, "1/Task").of(TASKS));
    };
    add("store revisions", writes.revisions);
    add("writes", writes.writes);
    for (kind, count) in &writes.by_kind {
        // What is written once per App or now and then says nothing about a Task.
        if *count > TASKS / 100 {
            add(&format!("writes of {kind}"), *count);
        }
    }
}

/// The store's revision: versions are revisions times 1024, and a position.
fn revision(world: &World) -> i64 {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let listed = runtime.block_on(async {
        let client = Client::new(&[world.server()]).expect("an address");
        client.list_as::<App>(&Query::of::<App>()).await.expect("the API answers")
    });
    listed.version.parse::<i64>().expect("a number") / 1024
}
