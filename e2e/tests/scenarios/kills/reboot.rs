//! A node that boots again: all of its processes are gone, its run folder is empty, its boot id is another, and numbers of
//! its processes belong to others.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use berth_e2e::identity::Identity;
use berth_e2e::leftovers::{self, processes_of_task, programs_of_task};
use berth_e2e::pace::Pace;
use berth_e2e::wait::eventually;
use berth_e2e::world::{SOON, condition, name, summary, uid};
use berth_e2e::{Part, StoreForm, World, soak};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::fleet::{Fleet, shim_of};
use super::story::Story;

/// Its Task is replaced when its node was away for a moment.
const AWAY: &str = "apiVersion: berth.dev/v1
kind: App
metadata: {name: away}
spec:
  minReadySeconds: 0
  template:
    spec:
      drainDelaySeconds: 0
      terminationGracePeriodSeconds: 1
      unreachable: {replaceAfterSeconds: 1}
      containers:
        - name: main
          command: [sleep, '100000']
          resources: {requests: {cpu: 5m, memory: 4Mi}}
";

/// Processes that have nothing to do with Berth, under numbers that were the cluster's.
#[derive(Default)]
struct Innocents {
    processes: Vec<(Child, Identity)>,
}

impl Drop for Innocents {
    fn drop(&mut self) {
        for (child, _) in &mut self.processes {
            // Both fail only when it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Nothing of an earlier boot is believed to live: containers start again in place, or their Task is replaced when the
/// node was away for long; nobody else's process gets a signal.
pub fn a_rebooted_node_believes_nothing_and_signals_no_stranger(form: StoreForm) {
    let boot = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(boot.path(), "first").expect("it is writable");
    let pace = if soak::soaking() { Pace::Full } else { Pace::Fifth };
    let mut world = World::plan(form)
        .env(Part::Agent, "BERTH_BOOT_ID", &boot.path().display().to_string())
        .config(Part::Apiserver, &pace.apiserver())
        .config(Part::Controllers, &pace.controllers())
        .config(Part::Agent, &pace.agent())
        .start();
    let mut story = Story::default();
    let mut innocents = Innocents::default();
    let mut fleet = Fleet::start(&world);

    // A Task is half removed: of its shim only the number is known to the next agent.
    world.arm(Part::Agent, "agent.cleanup.journalled kill\n");
    fleet.shrink(&world);
    assert!(world.falls(Part::Agent, SOON), "the agent begins to remove a Task");
    story.killed("a reboot in the middle of a removal");
    reboots(&world, &mut innocents);
    fs::write(boot.path(), "second").expect("it is writable");
    fleet.all_ended(&world);
    world.arm(Part::Agent, "");
    world.begin(Part::Agent);
    fleet.settles(&world);
    fleet.keep(&world);
    innocents.are_well();

    world.apply(AWAY).ok();
    world.wait_ready("away", 1);
    world.kill(Part::Agent);
    story.killed("a long reboot");
    reboots(&world, &mut innocents);
    fs::write(boot.path(), "third").expect("it is writable");
    eventually("the Task that may not wait is replaced", SOON, || {
        let tasks = world.tasks_of("away")?;
        if tasks.iter().any(|task| name(task) == "away-1") { Ok(()) } else { Err(summary(&tasks)) }
    });
    fleet.all_ended(&world);
    world.begin(Part::Agent);
    fleet.settles(&world);
    only_the_new_one_runs(&world);
    world.ctl(&["delete", "app/away"]).ok();
    fleet.end(&world);
    innocents.are_well();
    world.end();
}

fn only_the_new_one_runs(world: &World) {
    eventually("the replaced Task is gone and the other runs", SOON, || {
        let tasks: Vec<_> =
            world.list("tasks")?.into_iter().filter(|task| name(task).starts_with("away-")).collect();
        let [task] = &tasks[..] else { return Err(summary(&tasks)) };
        let pids = programs_of_task(world.dir(), uid(task));
        let runs = name(task) == "away-1" && condition(task, "Ready") == "True" && pids.len() == 1;
        if runs { Ok(()) } else { Err(format!("{pids:?} {}", summary(&tasks))) }
    });
}

/// All that a boot ends, for a node without agent: shims, containers, cgroups, the run folder. Some of the numbers are
/// given to others.
fn reboots(world: &World, innocents: &mut Innocents) {
    let tasks = world.list("tasks").expect("the API answers");
    let shims: Vec<Identity> = tasks.iter().flat_map(|task| shim_of(uid(task))).collect();
    let containers: Vec<u32> =
        tasks.iter().flat_map(|task| processes_of_task(world.dir(), uid(task))).collect();
    assert!(shims.len() >= 3 && containers.len() >= 3, "{shims:?} {containers:?}");
    let pids: Vec<u32> = shims.iter().map(|shim| shim.pid).chain(containers).collect();
    eventually("all processes of the node are gone", SOON, || {
        // A zombie keeps its number from others until it is reaped.
        let there = |pid: &u32| Path::new(&format!("/proc/{pid}")).exists();
        let left: Vec<u32> = pids.iter().copied().filter(there).collect();
        left.iter().for_each(|pid| end(*pid));
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    eventually("its cgroups are gone", SOON, || {
        let left = leftovers::remove_cgroups(world.dir());
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    fs::remove_dir_all(world.run().join("node")).expect("the run folder was there");
    let taken = pids.iter().filter(|pid| innocents.take(**pid)).count();
    assert!(taken * 2 > pids.len(), "{taken} of {} numbers could be given to others", pids.len());
}

fn end(pid: u32) {
    // It fails only when it has ended already.
    let _ = kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), Signal::SIGKILL);
}

impl Innocents {
    /// Starts a process under this number; whether it got it.
    fn take(&mut self, number: u32) -> bool {
        let last = Path::new("/proc/sys/kernel/ns_last_pid");
        for _ in 0..20 {
            fs::write(last, (number - 1).to_string()).expect("root may say which number is next");
            let sleep =
                Command::new("sleep").arg("100000").stdin(Stdio::null()).stdout(Stdio::null()).spawn();
            let mut child = sleep.expect("`sleep` starts");
            if child.id() == number {
                let identity = Identity::of(number).expect("it was just started");
                self.processes.push((child, identity));
                return true;
            }
            // Somebody else on this machine was quicker.
            let _ = child.kill();
            let _ = child.wait();
        }
        false
    }

    /// None was ended or stopped.
    fn are_well(&self) {
        for (_, identity) in &self.processes {
            let stat = fs::read_to_string(format!("/proc/{}/stat", identity.pid)).unwrap_or_default();
            assert!(identity.runs() && stat.contains(") S "), "somebody signalled a stranger: {stat}");
        }
    }
}
