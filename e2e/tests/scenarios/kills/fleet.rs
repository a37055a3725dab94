//! The Apps that live through kills of agents and shims: what must never restart, what ends when it is told to, what
//! comes and goes; and what must hold of all of them whenever things have settled.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use berth_e2e::World;
use berth_e2e::identity::Identity;
use berth_e2e::leftovers::{self, processes_of_container};
use berth_e2e::wait::eventually;
use berth_e2e::world::{SOON, condition, name, summary, uid};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;

/// Nobody touches its Tasks.
pub const STEADY: &str = "steady";
/// Its first containers end with the code that they are told, and start again.
pub const GATE: &str = "gate";
/// It is scaled up and down.
pub const CHURN: &str = "churn";
/// Its shim may be killed.
pub const VICTIM: &str = "victim";

const SLEEPS: &str = "exec sleep 100000";
const WAITS: &str = "rm -f gate; mkfifo gate; read code < gate; exit $code";

/// The most Tasks of the App that comes and goes.
const MOST: usize = 4;

/// The code of an end that nobody saw.
const UNSEEN: i64 = 137;

/// What a shim did last about an end that it did not outlive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// It saw it.
    Seen,
    /// It recorded it.
    Recorded,
}

/// What is expected of the Apps.
pub struct Fleet {
    /// How many Tasks come and go at present.
    churn: usize,
    /// How often a container must have restarted, and its last code, by Task and container; others never did.
    ended: BTreeMap<String, (u64, i64)>,
    /// Apps whose containers may restart as often as they like.
    excused: BTreeSet<&'static str>,
    /// First processes that must stay, by Task and container.
    kept: BTreeMap<String, Identity>,
}

fn app(name: &str, replicas: usize, containers: &[(&str, &str)]) -> String {
    let container = |(name, script): &(&str, &str)| {
        format!(
            "        - name: {name}
          command: [sh, -c, '{script}']
          resources: {{requests: {{cpu: 5m, memory: 4Mi}}, limits: {{memory: 32Mi}}}}
"
        )
    };
    let containers: String = containers.iter().map(container).collect();
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
      terminationGracePeriodSeconds: 1
      unreachable: {{replaceAfterSeconds: 600}}
      restart: {{inPlace: 1000, initialDelaySeconds: 0, maxDelaySeconds: 1}}
      containers:
{containers}---
"
    )
}

impl Fleet {
    /// Starts the Apps and waits until all run.
    pub fn start(world: &World) -> Self {
        let manifests = [
            app(STEADY, 2, &[("one", SLEEPS), ("two", SLEEPS)]),
            app(GATE, 2, &[("main", WAITS), ("side", SLEEPS)]),
            app(CHURN, 2, &[("main", SLEEPS)]),
            app(VICTIM, 1, &[("main", WAITS), ("side", SLEEPS)]),
        ];
        world.apply(&manifests.concat()).ok();
        let mut fleet =
            Self { churn: 2, ended: BTreeMap::new(), excused: BTreeSet::new(), kept: BTreeMap::new() };
        fleet.settles(world);
        fleet.keep(world);
        fleet
    }

    /// From now on the processes that nobody touches must be the ones that there are.
    pub fn keep(&mut self, world: &World) {
        for (app, containers) in [(STEADY, &["one", "two"][..]), (GATE, &["side"])] {
            for task in world.tasks_of(app).expect("the API answers") {
                for container in containers {
                    let process = only_process(world, &task, container).expect("it runs");
                    assert!(!process.environment().contains("FAILPOINT"), "it is nobody's to kill");
                    self.kept.insert(format!("{} {container}", name(&task)), process);
                }
            }
        }
    }

    /// Leaves room for one Task to come and one to go. Called while nothing is armed: it waits for the agent.
    pub fn make_room(&mut self, world: &World) {
        if self.churn == 0 || self.churn >= MOST {
            self.scale(world, MOST / 2);
            self.settles(world);
        }
    }

    /// One Task more comes.
    pub fn grow(&mut self, world: &World) {
        self.scale(world, self.churn + 1);
    }

    /// One Task goes.
    pub fn shrink(&mut self, world: &World) {
        self.scale(world, self.churn - 1);
    }

    fn scale(&mut self, world: &World, replicas: usize) {
        world.ctl(&["scale", &format!("app/{CHURN}"), "--replicas", &replicas.to_string()]).ok();
        self.churn = replicas;
    }

    /// From now on an App's containers may restart.
    pub fn excuse(&mut self, app: &'static str) {
        self.excused.insert(app);
    }

    /// Has the first container of a Task of the gate end with `code`; waits until it has.
    pub fn end_one(&mut self, world: &World, which: usize, code: i64) {
        let task = &world.tasks_of(GATE).expect("the API answers")[which];
        end_main(world, task, code);
        self.expect(task, "main", code);
    }

    /// One more restart of a container, after an end with `code`.
    fn expect(&mut self, task: &Value, container: &str, code: i64) {
        let ended = self.ended.entry(format!("{} {container}", name(task))).or_default();
        *ended = (ended.0 + 1, code);
    }

    /// Kills the shim of the victim: all of its containers end with it, and nobody saw how.
    pub fn bereave(&mut self, world: &World) {
        let task = &world.tasks_of(VICTIM).expect("the API answers")[0];
        kill_shim(uid(task));
        self.expect(task, "main", UNSEEN);
        self.expect(task, "side", UNSEEN);
    }

    /// Every container ended, and nobody saw how.
    pub fn all_ended(&mut self, world: &World) {
        for app in [STEADY, GATE, CHURN, VICTIM] {
            for task in world.tasks_of(app).expect("the API answers") {
                for container in task["spec"]["containers"].as_array().into_iter().flatten() {
                    self.expect(&task, container["name"].as_str().expect("a container has a name"), UNSEEN);
                }
            }
        }
        self.kept.clear();
    }

    /// Has a container of the victim end with `code`, which its shim does not outlive: it told `told` of it.
    pub fn end_with_shim(&mut self, world: &World, code: i64, told: Last) {
        let task = &world.tasks_of(VICTIM).expect("the API answers")[0];
        end_main(world, task, code);
        self.expect(task, "main", if told == Last::Recorded { code } else { UNSEEN });
        self.expect(task, "side", UNSEEN);
    }

    /// Waits until everything is as it must be, each container with one process; panics at once when something
    /// happened that nobody asked for.
    pub fn settles(&self, world: &World) {
        eventually("all Apps are as they must be", SOON, || {
            let all = world.list("tasks")?;
            for (app, count) in [(STEADY, 2), (GATE, 2), (CHURN, self.churn), (VICTIM, 1)] {
                let tasks = of(&all, app);
                let ready = tasks.iter().filter(|task| condition(task, "Ready") == "True").count();
                if tasks.len() != count || ready != count {
                    return Err(format!("{ready} of {count} {app}: {}", summary(&tasks)));
                }
                for task in &tasks {
                    self.is_as_told(app, task)?;
                    one_process_each(world, task)?;
                }
            }
            Ok(())
        });
        for (who, process) in &self.kept {
            assert!(process.runs(), "{who} was touched by nobody, and its process {process:?} is gone");
        }
    }

    /// Restarts are those that were asked for, and their codes are told.
    fn is_as_told(&self, app: &str, task: &Value) -> Result<(), String> {
        for status in task["status"]["containerStatuses"].as_array().into_iter().flatten() {
            let container = format!("{} {}", name(task), status["name"].as_str().unwrap_or_default());
            let (times, code) = self.ended.get(&container).copied().unwrap_or_default();
            let restarts = status["restartCount"].as_u64().unwrap_or(0);
            if self.excused.contains(app) {
                continue;
            }
            assert!(restarts <= times, "{container} restarted for no reason: {status}");
            if restarts < times {
                return Err(format!("{restarts} of {times} ends of {container} are told: {status}"));
            }
            let told = &status["lastState"]["terminated"]["exitCode"];
            assert!(times == 0 || *told == code, "{container} ended with {code}: {status}");
        }
        Ok(())
    }

    /// Everything goes, and nothing of it is left.
    pub fn end(self, world: &World) {
        world.settles();
        for app in [STEADY, GATE, CHURN, VICTIM] {
            world.ctl(&["delete", &format!("app/{app}")]).ok();
        }
        world.wait_none("tasks");
        let left = leftovers::of_tasks(world.dir());
        assert!(left.is_empty(), "left after the last Task was acknowledged: {left:#?}");
    }
}

/// The Tasks of an App among `all` that are not told to stop.
fn of(all: &[Value], app: &str) -> Vec<Value> {
    let mine = |task: &&Value| {
        task["metadata"]["labels"]["berth.dev/app"] == app && task["metadata"]["deletionTimestamp"].is_null()
    };
    all.iter().filter(mine).cloned().collect()
}

fn one_process_each(world: &World, task: &Value) -> Result<(), String> {
    for container in task["spec"]["containers"].as_array().into_iter().flatten() {
        only_process(world, task, container["name"].as_str().unwrap_or_default())?;
    }
    Ok(())
}

/// Has the container `main` of a Task end with `code`; waits until it has.
fn end_main(world: &World, task: &Value, code: i64) {
    let process = only_process(world, task, "main").expect("it runs");
    eventually("the container hears how it must end", SOON, || {
        let path = format!("/proc/{}/cwd/gate", process.pid);
        let pipe = OpenOptions::new().write(true).custom_flags(nix::libc::O_NONBLOCK).open(&path);
        let mut pipe = pipe.map_err(|error| format!("{path}: {error}"))?;
        writeln!(pipe, "{code}").map_err(|error| format!("{path}: {error}"))
    });
    eventually("the container ended", SOON, || match process.runs() {
        false => Ok(()),
        true => Err(format!("{process:?}")),
    });
}

/// The shims of a Task; one, or none.
pub fn shim_of(task_uid: &str) -> Vec<Identity> {
    Identity::with_words(&[task_uid, "bundle.json"])
}

/// Kills the shim of a Task with -9.
fn kill_shim(task_uid: &str) {
    let shims = shim_of(task_uid);
    let [shim] = shims[..] else { panic!("Task {task_uid} has shims {shims:?}") };
    let pid = nix::unistd::Pid::from_raw(i32::try_from(shim.pid).expect("a pid"));
    kill(pid, Signal::SIGKILL).expect("the shim is there");
}

/// The one process of a container: a second one would be a second copy.
pub fn only_process(world: &World, task: &Value, container: &str) -> Result<Identity, String> {
    let pids = processes_of_container(world.dir(), uid(task), container);
    let [pid] = pids[..] else { return Err(format!("{} {container} has processes {pids:?}", name(task))) };
    Identity::of(pid).ok_or_else(|| format!("{} {container}: process {pid} is gone", name(task)))
}
