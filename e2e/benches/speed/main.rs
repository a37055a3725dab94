//! How fast Berth is, beside bare etcd and crun in the same run: `e2e/setup bench`, `cargo build --release --workspace`,
//! then `cargo bench --workspace --bench speed`, as root. A line per figure for people; the same as JSON lines in
//! `target/bench/speed.jsonl` or the file that is named (a word that ends in `.jsonl`), and as the README's tables in
//! the file beside it that ends in `.md`. All of it takes some 12 minutes, most of it waiting in `recovery`. Nothing
//! here fails for being slow: machines differ, so figures mean something only beside those of the same run.
//! Words on the command line choose: `store`, `many`, `apply`, `watchers`, `recovery`, `idle`, `containers`; `embedded`
//! or `etcd` among the forms; `nodes=5000` how many nodes `many` simulates. `released` waits ten minutes, and is measured
//! only where it is named.

use std::path::PathBuf;

use berth_e2e::StoreForm::{self, Embedded, Etcd};
use nix::mount::{MntFlags, umount2};

mod apply;
mod bare;
mod bundle;
mod containers;
mod crun;
mod filter;
mod idle;
mod many;
mod measure;
mod recovery;
mod released;
mod report;
mod scene;
mod shim;
mod store;
mod watchers;
mod writes;

use report::{Figure, Report};

const FORMS: [(&str, StoreForm); 2] = [("embedded", Embedded), ("etcd", Etcd("3.5.1"))];
const PARTS: [&str; 8] = ["store", "many", "apply", "watchers", "recovery", "idle", "containers", "released"];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |among: &[&str], name: &str| {
        !words.iter().any(|word| among.contains(&word.as_str())) || words.iter().any(|word| word == name)
    };
    let part = |name| wanted(&PARTS, name);
    let nodes = words.iter().find_map(|word| word.strip_prefix("nodes="));
    let nodes = nodes.map_or(1000, |count| count.parse().expect("nodes=COUNT"));
    let file = words.iter().find(|word| word.ends_with(".jsonl")).map(PathBuf::from);
    let mut report =
        Report::new(&file.unwrap_or_else(|| berth_e2e::workspace().join("target/bench/speed.jsonl")));
    berth_e2e::namespaces::enter();
    leave_the_unified_hierarchy();
    report_machine(&mut report);
    if part("store") {
        store::measure(&mut report);
    }
    for (name, form) in FORMS.into_iter().filter(|(name, _)| wanted(&["embedded", "etcd"], name)) {
        if part("many") {
            many::measure(name, form, nodes, &mut report);
        }
        if part("apply") {
            apply::measure(name, form, &mut report);
        }
        if part("watchers") {
            watchers::measure(name, form, &mut report);
        }
        if part("recovery") {
            recovery::measure(name, form, &mut report);
        }
        if part("idle") {
            idle::measure(name, form, &mut report);
        }
    }
    if part("containers") {
        containers::measure(&mut report);
    }
    if words.iter().any(|word| word == "released") {
        released::measure(&mut report);
    }
    report.end();
}

/// crun refuses a machine with both versions of cgroups, so neither side sees the second one. Our mounts are our own.
fn leave_the_unified_hierarchy() {
    // It fails where there is no such mount: on one version alone.
    let _ = umount2("/sys/fs/cgroup/unified", MntFlags::MNT_DETACH);
}

/// What a reader of the figures must know first: who else is at work on this machine.
fn report_machine(report: &mut Report) {
    let cores = std::thread::available_parallelism().expect("a machine has cores").get();
    report.add(&Figure::new("machine: cores", cores as f64, ""));
    let load = std::fs::read_to_string("/proc/loadavg").expect("a Linux machine");
    let load: f64 = load.split(' ').next().and_then(|word| word.parse().ok()).expect("a number");
    report.add(&Figure::new("machine: load of the minute before", load, ""));
}
