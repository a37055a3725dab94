//! What runs, so that a scenario can say that nothing of it was touched.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_e2e::leftovers::programs_of_task;
use berth_e2e::wait::{always, eventually};
use berth_e2e::world::{condition, name, summary, uid};
use berth_e2e::{World, soak};
use serde_json::Value;

/// The Tasks of an App, by uid, with the processes of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census(BTreeMap<String, Vec<u32>>);

impl Census {
    /// Takes it. On simulated nodes there are no processes, and only the Tasks are compared.
    pub fn of(world: &World, app: &str) -> Result<Self, String> {
        let tasks = world.tasks_of(app)?;
        let pids = |task: &Value| (uid(task).to_owned(), programs_of_task(world.dir(), uid(task)));
        Ok(Self(tasks.iter().map(pids).collect()))
    }

    /// Fails the scenario unless the same Tasks are there, with the same processes.
    pub fn must_be_untouched(&self, world: &World, app: &str) {
        let now = eventually("the API answers", Duration::from_secs(60), || Self::of(world, app));
        assert_eq!(&now, self, "nothing of {app} was to be touched");
    }

    /// Fails the scenario unless the same is there for as long as `time`. A store that is slow for a moment is waited for.
    pub fn must_stay_untouched(&self, world: &World, app: &str, time: Duration) {
        always("nothing is touched", time, || {
            self.must_be_untouched(world, app);
            Ok(())
        });
    }

    /// Whether the same processes are there; the API is not asked.
    pub fn runs_on(&self, world: &World) -> Result<(), String> {
        let pids = |uid: &String| (uid.clone(), programs_of_task(world.dir(), uid));
        let now: BTreeMap<_, _> = self.0.keys().map(pids).collect();
        if now == self.0 { Ok(()) } else { Err(format!("were {:?}, are {now:?}", self.0)) }
    }

    /// Whether what is there is the same.
    pub fn is_untouched(&self, world: &World, app: &str) -> Result<(), String> {
        let now = Self::of(world, app)?;
        if now == *self { Ok(()) } else { Err(format!("{app} was {self:?} and is {now:?}")) }
    }
}

/// What is said of each node's readiness, and since when: who was judged meanwhile has another time.
#[derive(Debug, PartialEq, Eq)]
pub struct Readiness(BTreeMap<String, String>);

impl Readiness {
    /// As it is now.
    pub fn of(world: &World) -> Result<Self, String> {
        let ready = |node: &Value| {
            let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
            let said = conditions.filter(|condition| condition["type"] == "Ready");
            let said =
                said.map(|condition| format!("{} {}", condition["status"], condition["lastTransitionTime"]));
            (name(node).to_owned(), said.collect())
        };
        Ok(Self(world.list("nodes")?.iter().map(ready).collect()))
    }

    /// Fails the scenario if any node was judged since.
    pub fn must_be_unchanged(&self, world: &World) {
        let now = eventually("the API answers", Duration::from_secs(60), || Self::of(world));
        assert_eq!(&now, self, "nobody was to be judged");
    }
}

/// `replaceAfterSeconds` of the scenarios' Apps: as long as the default, at the run's pace.
pub fn replace_after() -> Duration {
    soak::paced(Duration::from_secs(15))
}

/// An App whose Tasks do nothing, with more lines of its Tasks' spec, indented by six.
pub fn idle_app(name: &str, replicas: usize, more: &str) -> String {
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
      unreachable: {{replaceAfterSeconds: {}}}
{more}      containers:
        - name: main
          command: [sleep, '100000']
          resources: {{requests: {{cpu: 10m, memory: 8Mi}}}}
---
",
        replace_after().as_secs()
    )
}

/// Waits until the Node of this name has this status of `Ready`.
pub fn wait_node(world: &World, node: &str, ready: &str, limit: Duration) -> Value {
    eventually(&format!("Ready of node {node} is {ready}"), limit, || {
        let nodes = world.list("nodes")?;
        let found = nodes.iter().find(|one| name(one) == node);
        let found = found.filter(|node| condition(node, "Ready") == ready);
        found.cloned().ok_or_else(|| summary(&nodes))
    })
}

/// The name of the node that a Task is bound to; empty when it is not.
pub fn node_of(task: &Value) -> &str {
    task["spec"]["nodeName"].as_str().unwrap_or_default()
}
