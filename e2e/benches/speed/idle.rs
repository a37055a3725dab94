//! What `ctl up` costs when nothing happens: itself and the three processes that it supervises.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use berth_e2e::process::Process;
use berth_e2e::wait::eventually;
use berth_e2e::world::SOON;
use berth_e2e::{StoreForm, World, binary};

use crate::measure::Usage;
use crate::report::{Figure, Report};

/// After the start, before anything is counted.
const SETTLES: Duration = Duration::from_secs(10);
/// How long is counted.
const COUNTED: Duration = Duration::from_secs(20);

/// Measures one form of the store; a process of etcd is not counted.
pub fn measure(form_name: &'static str, form: StoreForm, report: &mut Report) {
    let world = World::empty(form);
    let mut up = Process::start("ctl up", command(&world), &world.dir().join("up.log"));
    eventually("`ctl up` says what to type next", SOON, || {
        up.must_run();
        let said = up.output();
        if said.contains("ctl apply") { Ok(()) } else { Err(said) }
    });
    std::thread::sleep(SETTLES);
    let family = family(up.pid());
    let usage = || family.iter().map(|pid| Usage::of(*pid)).collect::<Vec<_>>();
    let (start, before) = (Instant::now(), usage());
    std::thread::sleep(COUNTED);
    let after = usage();
    let cpu = |usages: &[Usage]| usages.iter().map(|usage| usage.cpu).sum::<Duration>();
    let share = (cpu(&after) - cpu(&before)).as_secs_f64() / start.elapsed().as_secs_f64();
    let name = |figure: &str| format!("idle `ctl up`: {figure}");
    report.add(&Figure::new(name("processes"), family.len() as f64, "").on(form_name));
    let cpu = Figure::new(name("cpu"), share * 100.0, "% of a core").on(form_name);
    report.add(&cpu.asked("1 % of a core"));
    let memory = Figure::new(name("memory"), after.iter().map(|usage| usage.rss).sum(), "MiB");
    report.add(&memory.on(form_name).asked("must 100, aim 50; Kubernetes 1.36: 503"));
    up.stop();
}

fn command(world: &World) -> Command {
    let mut command = Command::new(binary("ctl"));
    command.arg("up").arg("--data").arg(world.data()).arg("--run").arg(world.run());
    if let Some(url) = world.etcd_url() {
        command.args(["--etcd", &url, "--allow-unsupported-etcd"]);
    }
    command
}

/// A process and its children.
fn family(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let children = threads.flat_map(|thread| {
        let file = thread.expect("a readable entry").path().join("children");
        let list = fs::read_to_string(file).unwrap_or_default();
        list.split_whitespace().map(|pid| pid.parse().expect("a process id")).collect::<Vec<u32>>()
    });
    std::iter::once(pid).chain(children).collect()
}
