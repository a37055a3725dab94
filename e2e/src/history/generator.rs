//! Long histories that keep every promise, made by chance: Apps that are rolled, scaled and lose Tasks on Nodes that
//! come and go, by controllers that change leaders. Equal seeds give equal histories.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::key;
use super::log::Event;
use super::story::{NAMESPACE, Story};

/// Cores of every Node; every Task takes one.
const CORES: usize = 16;
/// Tasks of every App, and the fewest available ones that its controller may leave.
const REPLICAS: usize = 10;
const KEEP: usize = 8;

/// A history of at least this many events.
pub fn generate(seed: u64, events: usize) -> Vec<Event> {
    let apps = (events / 4_000).clamp(3, 500);
    let mut world = World::new(seed, apps);
    let mut made = world.story.take();
    while made.len() < events {
        world.go_on();
        made.append(&mut world.story.take());
    }
    made
}

/// Numbers by chance (splitmix64).
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    /// From this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number less than `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).expect("less than a usize")
    }
}

/// How far a Task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Pending,
    Bound,
    Starting,
    Running,
    Ready,
    Told,
    Stopping,
    Failed,
}

struct Task {
    app: usize,
    node: usize,
    stage: Stage,
}

struct World {
    story: Story,
    chance: Chance,
    created: Vec<u64>,
    tasks: BTreeMap<String, Task>,
    used: Vec<usize>,
    epochs: [i64; 2],
    terms: u64,
}

/// The Leases, named by who leads under them.
const LEADERS: [&str; 2] = ["app-controller", "scheduler"];

fn lease(leader: usize) -> String {
    format!("berth-system/{}", LEADERS[leader])
}

impl World {
    fn new(seed: u64, apps: usize) -> Self {
        let mut story = Story::new();
        story.dress(dress);
        let nodes = apps * REPLICAS / CORES + 2;
        for node in 0..nodes {
            story.by("node-agent").node(&format!("node-{node}"), &CORES.to_string());
        }
        for app in 0..apps {
            story.by("ctl").app(&format!("app-{app}"), json!({"replicas": REPLICAS}));
        }
        let mut world = Self {
            story,
            chance: Chance::new(seed),
            created: vec![0; apps],
            tasks: BTreeMap::new(),
            used: vec![0; nodes],
            epochs: [0; 2],
            terms: 0,
        };
        (0..LEADERS.len()).for_each(|leader| world.lead(leader));
        world
    }

    fn lead(&mut self, leader: usize) {
        self.terms += 1;
        let holder = format!("{}-{}", LEADERS[leader], self.terms);
        self.epochs[leader] = self.story.by(LEADERS[leader]).lead(&lease(leader), &holder);
    }

    /// One more thing happens.
    fn go_on(&mut self) {
        match self.chance.below(100) {
            0 => {
                let leader = self.chance.below(LEADERS.len());
                self.lead(leader);
            }
            1..10 => {
                let leader = self.chance.below(LEADERS.len());
                self.story.by(LEADERS[leader]).renew(&lease(leader));
            }
            10..20 => self.create(),
            20 => self.cordon(),
            _ => self.advance(),
        }
    }

    /// One App gets a Task that it misses; App and Task are written together.
    fn create(&mut self) {
        let app = self.chance.below(self.created.len());
        let alive = |task: &&Task| task.app == app && task.stage != Stage::Failed;
        if self.tasks.values().filter(alive).count() >= REPLICAS {
            return;
        }
        let (app_name, number) = (format!("app-{app}"), self.created[app]);
        let name = format!("{app_name}-{number}");
        self.created[app] += 1;
        self.story.by_leader(LEADERS[0], self.epochs[0]).together(|story| {
            story.edit(&key::app(NAMESPACE, &app_name), |app| {
                app["status"]["tasksCreated"] = (number + 1).into()
            });
            story.task(&app_name, &name, "1")
        });
        self.tasks.insert(name, Task { app, node: 0, stage: Stage::Pending });
    }

    /// A Node is cordoned and given free again.
    fn cordon(&mut self) {
        let node = format!("node-{}", self.chance.below(self.used.len()));
        self.story.by("ctl").cordon(&node).uncordon(&node);
    }

    /// One Task goes a step further.
    fn advance(&mut self) {
        if self.tasks.is_empty() {
            return;
        }
        let at = self.chance.below(self.tasks.len());
        let name = self.tasks.keys().nth(at).expect("less than there are").clone();
        let stage = self.tasks[&name].stage;
        self.story.by("node-agent");
        let next = match stage {
            Stage::Pending => return self.bind(&name),
            Stage::Ready => return self.leave_or_waver(&name),
            Stage::Told => {
                self.story.phase(&name, "Stopping");
                Stage::Stopping
            }
            Stage::Bound => {
                self.story.phase(&name, "Starting");
                Stage::Starting
            }
            Stage::Starting => {
                self.story.phase(&name, "Running");
                Stage::Running
            }
            Stage::Running => {
                self.story.task_condition(&name, "Ready", "True", "Started");
                Stage::Ready
            }
            Stage::Stopping => {
                self.story.phase(&name, "Succeeded");
                return self.forget(&name);
            }
            Stage::Failed => {
                self.story.by("garbage-collector").delete(&key::task(NAMESPACE, &name));
                self.tasks.remove(&name);
                return;
            }
        };
        self.tasks.get_mut(&name).expect("it is there").stage = next;
    }

    fn bind(&mut self, name: &str) {
        let Some(node) = (0..self.used.len()).find(|node| self.used[*node] < CORES) else { return };
        self.used[node] += 1;
        self.story.by_leader("bind", self.epochs[1]).bind(name, &format!("node-{node}"));
        let task = self.tasks.get_mut(name).expect("it is there");
        (task.node, task.stage) = (node, Stage::Bound);
    }

    /// It is stopped if its App can spare it, else it fails or is not ready for a moment.
    fn leave_or_waver(&mut self, name: &str) {
        let app = self.tasks[name].app;
        let ready = |task: &&Task| task.app == app && task.stage == Stage::Ready;
        let spare = self.tasks.values().filter(ready).count() > KEEP;
        let next = match self.chance.below(3) {
            0 if spare => {
                self.story.by_leader(LEADERS[0], self.epochs[0]).stop(name);
                Stage::Told
            }
            1 => {
                self.story.phase(name, "Failed");
                self.used[self.tasks[name].node] -= 1;
                Stage::Failed
            }
            _ => {
                self.story.task_condition(name, "Ready", "False", "ProbeFailed");
                Stage::Running
            }
        };
        self.tasks.get_mut(name).expect("it is there").stage = next;
    }

    fn forget(&mut self, name: &str) {
        let gone = self.tasks.remove(name).expect("it is there");
        self.used[gone.node] -= 1;
    }
}

/// What makes a Task as large as real ones are.
fn dress(task: &mut Value) {
    task["apiVersion"] = "berth.dev/v1".into();
    let app = task["metadata"]["ownerReferences"][0]["name"].clone();
    task["metadata"]["labels"] = json!({"berth.dev/app": app, "tier": "web"});
    let container = &mut task["spec"]["containers"][0];
    container["image"] = "oci:/var/lib/images/web:1.2.3".into();
    container["command"] = json!(["/bin/server", "--port", "$(PORT_HTTP)", "--log", "info"]);
    container["env"] =
        json!([{"name": "MODE", "value": "production"}, {"name": "GREETING", "value": "hello"}]);
    container["ports"] = json!([{"name": "http"}]);
    container["readinessProbe"] =
        json!({"httpGet": {"path": "/healthy", "port": "http"}, "periodSeconds": 1});
    container["resources"]["limits"] = json!({"memory": "128Mi"});
    task["status"]["containerStatuses"] = json!([{
        "name": "main", "ready": false, "restartCount": 0, "imageID": "sha256:0123456789abcdef",
        "state": {"running": {"startedAt": "2026-01-01T00:00:00.123Z"}},
    }]);
    task["status"]["hostIP"] = "127.0.0.1".into();
    task["status"]["startTime"] = "2026-01-01T00:00:00.123Z".into();
}

#[cfg(test)]
mod tests;
