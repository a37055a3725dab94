//! How long until things go on after a part is killed with -9, all durations as they are by default. What is counted
//! begins with the kill and ends with the change that a client sees.

use std::time::{Duration, Instant};

use berth_e2e::etcd::Setup;
use berth_e2e::{Part, StoreForm, World};
use berth_types::task::Task;

use crate::measure::percentile;
use crate::report::{Figure, Report};
use crate::scene::{self, Scene, runs, shims_of};

/// Before each fault: the world has settled from the one before.
const SETTLES: Duration = Duration::from_secs(4);

/// Measures one form of the store.
pub fn measure(form_name: &'static str, form: StoreForm, report: &mut Report) {
    let mut table = Table { form_name, report };
    containers(form, &mut table);
    node(form, &mut table);
    controllers(form, &mut table);
    only_apiserver(form, &mut table);
    if form != StoreForm::Embedded {
        one_of_two_apiservers(form, &mut table);
        leading_member(form, &mut table);
    }
}

struct Table<'a> {
    form_name: &'static str,
    report: &'a mut Report,
}

impl Table<'_> {
    fn add(&mut self, what: &str, mut times: Vec<Duration>, asked: &'static str) {
        for (share, name) in [(0.5, "p50"), (1.0, "longest")] {
            let value = percentile(&mut times, share) / 1000.0;
            let name = format!("recovery: {what}: {name}");
            self.report.add(&Figure::new(name, value, "s").on(self.form_name).of(times.len()).asked(asked));
        }
    }
}

/// The agent, and a shim, of one node.
fn containers(form: StoreForm, table: &mut Table) {
    let mut scene = Scene::of(World::start(form));
    scene.world.apply(&app("kept", 1)).ok();
    let kept = scene.until("kept runs", |tasks| tasks.values().find(|task| runs(task)).cloned());
    let mut times = Vec::new();
    for round in 0..5 {
        let name = format!("after-{round}");
        let start = Instant::now();
        scene.world.kill(Part::Agent);
        scene.world.begin(Part::Agent);
        scene.world.apply(&app(&name, 1)).ok();
        scene.until("a new Task runs", |tasks| running(tasks, &name).next().map(drop));
        times.push(start.elapsed());
        std::thread::sleep(SETTLES);
    }
    let restarts = scene.until("kept is seen", |tasks| tasks.get(&kept.metadata.name).map(restarts));
    assert_eq!(restarts, 0, "a restarted agent restarts no container");
    table.add("agent kill -9 and start, to a new Task running there", times, "5 s");

    let mut times = Vec::new();
    for _ in 0..3 {
        let task = scene.until("kept runs", |tasks| running(tasks, "kept").next().cloned());
        let start = Instant::now();
        shims_of(&task.metadata.uid).into_iter().for_each(scene::kill);
        scene.until("it is told", |tasks| {
            tasks.get(&task.metadata.name).is_none_or(|t| !runs(t)).then_some(())
        });
        times.push(start.elapsed());
        scene.until("it runs again", |tasks| running(tasks, "kept").next().map(drop));
        std::thread::sleep(SETTLES);
    }
    table.add("shim kill -9, to its container reported as ended", times, "5 s");
}

/// Everything of one of two nodes, with the apiserver alive on another machine.
fn node(form: StoreForm, table: &mut Table) {
    let mut scene = Scene::of(World::plan(form).with(Part::SecondAgent).start());
    scene.world.apply(&app("moved", 1)).ok();
    let mut times = Vec::new();
    for _ in 0..2 {
        // The first fault may come once the servers may be believed.
        std::thread::sleep(Duration::from_secs(20));
        let task = scene.until("it runs", |tasks| running(tasks, "moved").next().cloned());
        let part = if task.spec.node_name == "one" { Part::Agent } else { Part::SecondAgent };
        let start = Instant::now();
        scene.world.kill(part);
        scene.kill_processes_of(&task.metadata.uid);
        let old = task.metadata.uid;
        scene.until("its replacement runs", |tasks| {
            running(tasks, "moved").find(|task| task.metadata.uid != old).map(drop)
        });
        times.push(start.elapsed());
        scene.world.begin(part);
        scene.until("the old Task is gone", |tasks| {
            tasks.values().all(|task| task.metadata.uid != old).then_some(())
        });
    }
    table.add("node death, to the replacement running", times, "must 30 s, aim 23 s");
}

/// The leaders of all controllers, with a standby.
fn controllers(form: StoreForm, table: &mut Table) {
    let (first, second) = (Part::Controllers, Part::SecondControllers);
    let mut world = World::plan(form).without(Part::Agent).simulate(10).with(second).start_nothing();
    [Part::Apiserver, first, Part::Simulated].into_iter().for_each(|part| world.begin(part));
    world.wait_for_nodes();
    world.claim();
    world.begin(second);
    let mut scene = Scene::of(world);
    let mut replicas = 1;
    scene.world.apply(&app("grows", replicas)).ok();
    let mut leads = first;
    for (how, asked, rounds) in [(How::Kill, "12 s, with a Lease of 10 s", 3), (How::Stop, "5 s", 3)] {
        let mut times = Vec::new();
        for _ in 0..rounds {
            scene.until("all run", |tasks| (running(tasks, "grows").count() == replicas).then_some(()));
            std::thread::sleep(SETTLES);
            replicas += 1;
            let start = Instant::now();
            match how {
                How::Kill => scene.world.kill(leads),
                How::Stop => scene.world.stop(leads),
            }
            scene.world.apply(&app("grows", replicas)).ok();
            scene.until("one more runs", |tasks| (running(tasks, "grows").count() == replicas).then_some(()));
            times.push(start.elapsed());
            scene.world.begin(leads);
            leads = if leads == first { second } else { first };
        }
        let what = match how {
            How::Kill => "leading controllers kill -9, to a Task placed by a standby",
            How::Stop => "leading controllers TERM, to a Task placed by a standby",
        };
        table.add(what, times, asked);
    }
}

#[derive(Clone, Copy)]
enum How {
    Kill,
    Stop,
}

fn only_apiserver(form: StoreForm, table: &mut Table) {
    let mut scene = Scene::of(World::plan(form).start());
    let client = scene.client(&scene.world.server());
    let mut times = Vec::new();
    for _ in 0..5 {
        scene.write(&client);
        let start = Instant::now();
        scene.world.kill(Part::Apiserver);
        scene.world.begin(Part::Apiserver);
        scene.write(&client);
        times.push(start.elapsed());
        std::thread::sleep(SETTLES);
    }
    table.add("the only apiserver kill -9 and start, to a write answered", times, "5 s");
}

fn one_of_two_apiservers(form: StoreForm, table: &mut Table) {
    let parts = [Part::Apiserver, Part::SecondApiserver];
    let mut scene = Scene::of(World::plan(form).with(Part::SecondApiserver).start());
    let mut times = Vec::new();
    for round in 0..6 {
        let (killed, other) = (parts[round % 2], parts[(round + 1) % 2]);
        let servers = format!("{},{}", scene.world.address(killed), scene.world.address(other));
        let client = scene.client(&servers);
        scene.write(&client);
        let start = Instant::now();
        scene.world.kill(killed);
        scene.write(&client);
        times.push(start.elapsed());
        scene.world.begin(killed);
        std::thread::sleep(SETTLES);
    }
    table.add("one of two apiservers kill -9, to a write answered", times, "2 s");
}

/// The leader of three members of etcd.
fn leading_member(form: StoreForm, table: &mut Table) {
    let setup = Setup { members: 3, ..Setup::default() };
    let mut scene = Scene::of(World::plan(form).etcd(setup).start());
    let client = scene.client(&scene.world.server());
    let mut times = Vec::new();
    for _ in 0..5 {
        let leader = scene.world.etcd_mut().leader();
        scene.write(&client);
        let start = Instant::now();
        scene.world.etcd_mut().kill(leader);
        scene.write(&client);
        times.push(start.elapsed());
        scene.world.etcd_mut().begin(leader);
        std::thread::sleep(SETTLES);
    }
    table.add("leader of three etcds kill -9, to a write answered", times, "3 s");
}

/// The Tasks of an App that run.
fn running<'a>(
    tasks: &'a std::collections::BTreeMap<String, Task>,
    app: &'a str,
) -> impl Iterator<Item = &'a Task> {
    let of_app = move |name: &str| name.rsplit_once('-').is_some_and(|(of, _)| of == app);
    tasks.values().filter(move |task| of_app(&task.metadata.name) && runs(task))
}

fn restarts(task: &Task) -> u64 {
    task.status.container_statuses.iter().map(|status| u64::from(status.restart_count)).sum()
}

fn app(name: &str, replicas: usize) -> String {
    format!(
        "apiVersion: berth.dev/v1
kind: App
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  minReadySeconds: 0
  template:
    spec:
      drainDelaySeconds: 0
      terminationGracePeriodSeconds: 0
      containers:
        - name: main
          command: [sleep, '100000']
          resources: {{requests: {{cpu: 10m, memory: 8Mi}}}}
"
    )
}
