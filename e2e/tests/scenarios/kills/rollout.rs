//! Apiservers and controllers killed at each of their failpoints during rolling updates.

use std::time::{Duration, Instant};

use berth_e2e::pace::Pace;
use berth_e2e::wait::eventually;
use berth_e2e::world::{Plan, condition};
use berth_e2e::{Part, StoreForm, World, hits, soak};
use berth_failpoint::PLACES;
use fastrand::Rng;
use serde_json::Value;

use super::bounds::{Bounds, Limits};
use super::story::Story;

/// Replicas of the App, one of which may be missing, and two more may be there.
const LIMITS: Limits = Limits { fewest: 9, asked: 10, most: 12 };

/// How long a rollout may take on a machine that does other things too, kills included.
const LIMIT: Duration = Duration::from_secs(90);

/// Processes that stand in for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Servers,
    Controllers,
}

/// What has a process come by a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trigger {
    /// The rollout itself.
    Rollout,
    /// A server that starts, or takes over the sessions of one that is gone.
    ServerStart,
    /// Controllers that are told to end.
    ControllersEnd,
}

/// Where apiservers and controllers are killed here, as they are reached in a world on this store. A session that ends
/// for silence is no part of a rollout.
fn places(side: Side, form: StoreForm) -> Vec<&'static str> {
    let here = |place: &&str| match side {
        Side::Controllers => place.starts_with("runtime."),
        Side::Servers if place.starts_with("store.journal.") => form == StoreForm::Embedded,
        Side::Servers => place.starts_with("store.") || place.starts_with("server."),
    };
    PLACES.iter().copied().filter(here).filter(|place| *place != "server.session.ending").collect()
}

fn side(place: &str) -> Side {
    if place.starts_with("runtime.") { Side::Controllers } else { Side::Servers }
}

fn trigger(place: &str) -> Trigger {
    match place {
        "server.key.before" | "server.key.put" => Trigger::ServerStart,
        "server.session.before" | "server.session.put" => Trigger::ServerStart,
        "runtime.lease.back" => Trigger::ControllersEnd,
        _ => Trigger::Rollout,
    }
}

fn app(version: usize) -> String {
    format!(
        "apiVersion: berth.dev/v1
kind: App
metadata: {{name: web}}
spec:
  replicas: {}
  strategy: {{rollingUpdate: {{maxSurge: 2, maxUnavailable: 1}}}}
  minReadySeconds: 0
  template:
    spec:
      containers:
        - name: main
          command: [sleep, '1000']
          env: [{{name: VERSION, value: '{version}'}}]
          resources: {{requests: {{cpu: 10m, memory: 8Mi}}}}
",
        LIMITS.asked
    )
}

/// An App after its rollout, whichever it was.
#[derive(Debug, PartialEq, Eq)]
struct End {
    /// Replicas, updated, ready, available.
    counts: [u64; 4],
    /// Each Task: its ordinal, phase, readiness.
    tasks: Vec<(u64, String, String)>,
    /// Of the App.
    conditions: Vec<(String, String, String)>,
}

struct Rolling {
    world: World,
    chance: Rng,
    story: Story,
    version: usize,
    form: StoreForm,
}

/// Every rollout ends as one without kills, and keeps its bounds in every revision.
pub fn a_rollout_ends_the_same_wherever_servers_and_controllers_are_killed(form: StoreForm) {
    let world = plan(form).start();
    let chance = Rng::with_seed(soak::seed() ^ u64::from(form == StoreForm::Embedded));
    let mut rolling = Rolling { world, chance, story: Story::default(), version: 0, form };
    let bounds = Bounds::watch(&rolling.world, LIMITS);
    rolling.rolls(&[]);
    let unperturbed = rolling.rolls(&[]);
    for _ in 0..soak::counts(1, 2) {
        for kills in rolling.pairs() {
            let end = rolling.rolls(&kills);
            assert_eq!(end, unperturbed, "after {kills:?}");
        }
    }
    let revisions = bounds.held();
    assert!(revisions > 10 * rolling.version, "{revisions} revisions in {} rollouts", rolling.version);
    rolling.world.settles();
    rolling.world.ctl(&["delete", "app/web"]).ok();
    rolling.world.wait_none("tasks");
    rolling.world.end();
}

fn plan(form: StoreForm) -> Plan {
    let pace = if soak::soaking() { Pace::Full } else { Pace::Fifth };
    let plan = World::plan(form).without(Part::Agent).with(Part::SecondControllers).simulate(2);
    let plan = if form == StoreForm::Embedded { plan } else { plan.with(Part::SecondApiserver) };
    plan.config(Part::Apiserver, &pace.apiserver())
        .config(Part::SecondApiserver, &pace.apiserver())
        .config(Part::Controllers, &pace.controllers())
        .config(Part::SecondControllers, &pace.controllers())
        .config(Part::Simulated, &pace.agent())
}

impl Rolling {
    /// Every place once, one of each side in a rollout.
    fn pairs(&mut self) -> Vec<Vec<&'static str>> {
        let (mut servers, mut controllers) =
            (places(Side::Servers, self.form), places(Side::Controllers, self.form));
        self.chance.shuffle(&mut servers);
        self.chance.shuffle(&mut controllers);
        let pair =
            |at: usize| [servers.get(at), controllers.get(at)].into_iter().flatten().copied().collect();
        (0..servers.len().max(controllers.len())).map(pair).collect()
    }

    /// Rolls to another template; whoever comes by one of the places first is killed there, and started again.
    fn rolls(&mut self, kills: &[&'static str]) -> End {
        self.version += 1;
        let late = |place: &&&str| trigger(place) == Trigger::Rollout;
        for place in kills.iter().filter(late) {
            let nth = if self.chance.bool() { self.often(place) } else { 1 };
            self.arm(place, nth);
        }
        let (manifest, mut left) = (app(self.version), kills.to_vec());
        eventually("the new template is taken", LIMIT, || {
            self.revive(&mut left);
            let run = self.world.apply(&manifest);
            if run.code == 0 { Ok(()) } else { Err(run.stderr) }
        });
        kills.iter().for_each(|place| self.provoke(place, &mut left));
        let end = Instant::now() + LIMIT;
        while !left.is_empty() {
            assert!(Instant::now() < end, "nobody comes by {left:?}");
            self.revive(&mut left);
            std::thread::park_timeout(Duration::from_millis(5));
        }
        eventually(&format!("the rollout ends after {kills:?}"), LIMIT, || {
            self.revive(&mut left);
            self.end()
        })
    }

    /// A hit that comes soon in a rollout of many.
    fn often(&mut self, place: &str) -> u64 {
        let most = (self.hits(place) / 8).clamp(1, 4);
        self.chance.u64(1..=most)
    }

    fn parts(side: Side) -> [Part; 2] {
        match side {
            Side::Servers => [Part::Apiserver, Part::SecondApiserver],
            Side::Controllers => [Part::Controllers, Part::SecondControllers],
        }
    }

    fn running(&self, side: Side) -> Vec<Part> {
        Self::parts(side).into_iter().filter(|part| self.world.has(*part)).collect()
    }

    fn arm(&self, place: &str, nth: u64) {
        for part in Self::parts(side(place)) {
            self.world.arm(part, &format!("{place} kill {nth}\n"));
        }
    }

    /// Has somebody come by a place that a rollout alone does not lead to.
    fn provoke(&mut self, place: &'static str, left: &mut Vec<&'static str>) {
        match trigger(place) {
            Trigger::Rollout => {}
            Trigger::ServerStart => {
                let before = self.hits(place);
                self.arm(place, 1);
                // Sessions are opened again by those whose server is gone, whichever it was.
                for part in self.running(Side::Servers) {
                    self.world.kill(part);
                    self.world.begin(part);
                    let reached = || self.hits(place) > before;
                    if soon(reached) {
                        return;
                    }
                }
            }
            Trigger::ControllersEnd => {
                let before = self.hits(place);
                self.arm(place, 1);
                let end = Instant::now() + LIMIT;
                while self.hits(place) == before {
                    assert!(Instant::now() < end, "nobody comes by {place}");
                    // Who leads falls on the way, who does not ends as it was told to. For a moment nobody may lead.
                    for part in self.running(Side::Controllers) {
                        self.world.stop(part);
                        self.world.begin(part);
                    }
                    soon(|| self.hits(place) > before);
                }
                Self::parts(Side::Controllers).into_iter().for_each(|part| self.world.arm(part, ""));
                self.story.killed(place);
                left.retain(|open| *open != place);
            }
        }
    }

    fn hits(&self, place: &str) -> u64 {
        hits::counted_in(&self.world.hits()).get(place).copied().unwrap_or(0)
    }

    /// Starts again whoever fell, with nothing armed any more; what it fell at is done.
    fn revive(&mut self, left: &mut Vec<&'static str>) {
        for side_ in [Side::Servers, Side::Controllers] {
            for part in Self::parts(side_) {
                if !self.world.has_fallen(part) {
                    continue;
                }
                Self::parts(side_).into_iter().for_each(|part| self.world.arm(part, ""));
                if let Some(at) = left.iter().position(|place| side(place) == side_) {
                    self.story.killed(format!("{} of {}", left.remove(at), part.name()));
                }
                self.world.begin(part);
            }
        }
    }

    /// The App when its rollout is over.
    fn end(&self) -> Result<End, String> {
        let app = self.world.list("apps")?.pop().ok_or("no App")?;
        let tasks = self.world.tasks_of("web")?;
        let status = &app["status"];
        let current = &status["currentRevision"];
        let count = |field: &str| status[field].as_u64().unwrap_or(0);
        let counts = ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"].map(count);
        let version = self.version.to_string();
        let is_new = |task: &&Value| {
            let env = &task["spec"]["containers"][0]["env"][0]["value"];
            *env == *version && task["spec"]["revision"] == *current
        };
        let new = tasks.iter().filter(is_new).count();
        let over = status["observedGeneration"] == app["metadata"]["generation"]
            && counts == [LIMITS.asked as u64; 4]
            && (new, tasks.len()) == (LIMITS.asked, LIMITS.asked)
            && condition(&app, "Progressing") == "False";
        if !over {
            return Err(format!("{new} of {} Tasks are new; {status}", tasks.len()));
        }
        Ok(End { counts, tasks: told(&tasks), conditions: conditions(status) })
    }
}

/// Whether it happens within some seconds.
fn soon(mut happens: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        if happens() {
            return true;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    false
}

fn told(tasks: &[Value]) -> Vec<(u64, String, String)> {
    let told = |task: &Value| {
        let phase = task["status"]["phase"].as_str().unwrap_or_default().to_owned();
        (task["spec"]["ordinal"].as_u64().unwrap_or(99), phase, condition(task, "Ready").to_owned())
    };
    let mut all: Vec<_> = tasks.iter().map(told).collect();
    all.sort();
    all
}

fn conditions(status: &Value) -> Vec<(String, String, String)> {
    let text = |condition: &Value, field: &str| condition[field].as_str().unwrap_or_default().to_owned();
    let told =
        |condition: &Value| (text(condition, "type"), text(condition, "status"), text(condition, "reason"));
    let mut all: Vec<_> = status["conditions"].as_array().into_iter().flatten().map(told).collect();
    all.sort();
    all
}
