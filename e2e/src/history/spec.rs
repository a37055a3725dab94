//! What is asked for, of the kinds that promises are about.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::amounts::{Amounts, Listed};
use super::object::Problem;

/// What an object asks for.
#[derive(Debug, Clone, Default)]
pub enum Spec {
    /// Of a Task.
    Task(TaskSpec),
    /// Of an App.
    App(AppSpec),
    /// Of a Node.
    Node(NodeSpec),
    /// Of a Lease: who holds it.
    Lease(Box<str>),
    /// Of a kind that no promise looks into.
    #[default]
    Other,
}

/// What a Task asks for, and where it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskSpec {
    /// Name of its node; empty while it is not bound.
    pub node: Box<str>,
    /// uid of its node.
    pub node_uid: Box<str>,
    /// Name of the Revision that it was made from.
    pub revision: Box<str>,
    /// What its containers request together; it is one Task.
    pub requests: Amounts,
    /// Host ports, fixed and assigned.
    pub ports: Box<[u16]>,
    /// How many ports of its containers the node's range is to give.
    pub open_ports: usize,
    /// Its place among the replicas of its App.
    pub ordinal: Option<u32>,
    /// Labels that its node must have.
    pub selector: BTreeMap<String, String>,
    /// Taints that it puts up with.
    pub tolerations: Vec<Toleration>,
}

/// What an App asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AppSpec {
    /// How many Tasks.
    pub replicas: i64,
    /// The most Tasks that its controller may bring about.
    pub most: i64,
    /// The fewest available Tasks that its controller may leave.
    pub keep: i64,
    /// How a new Revision replaces an old one.
    pub rollout: Rollout,
    /// Seconds that a Task must be Ready before it is available.
    pub min_ready: u64,
}

/// How a new Revision replaces an old one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rollout {
    /// Step by step.
    #[default]
    Rolling,
    /// All of the old are at their end before the first of the new is made.
    Recreate,
}

/// What an operator says of a Node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    /// Whether new Tasks are kept away.
    pub unschedulable: bool,
    /// Keep away Tasks that do not tolerate them.
    pub taints: Vec<Taint>,
}

/// A mark that keeps Tasks away.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Taint {
    key: String,
    value: String,
    effect: String,
}

/// A taint that a Task puts up with; an empty key, value or effect leaves it open.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Toleration {
    key: String,
    operator: String,
    value: String,
    effect: String,
}

impl Spec {
    /// Reads the spec of a kind, as `berth.dev/tasks`.
    pub(super) fn read(kind: &str, text: &str) -> Result<Self, Problem> {
        Ok(match kind {
            "berth.dev/tasks" => Self::Task(serde_json::from_str::<RawTask>(text)?.into()),
            "berth.dev/apps" => Self::App(AppSpec::of(&serde_json::from_str(text)?)?),
            "berth.dev/nodes" => Self::Node(serde_json::from_str(text)?),
            "coordination.k8s.io/leases" => {
                Self::Lease(serde_json::from_str::<RawLease>(text)?.holder_identity)
            }
            _ => Self::Other,
        })
    }
}

impl Taint {
    /// Whether one of `tolerations` puts up with it.
    pub fn is_tolerated(&self, tolerations: &[Toleration]) -> bool {
        tolerations.iter().any(|toleration| {
            let exists = toleration.operator == "Exists";
            (toleration.effect.is_empty() || toleration.effect == self.effect)
                && (toleration.key == self.key || (toleration.key.is_empty() && exists))
                && (exists || toleration.value == self.value)
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawLease {
    holder_identity: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawTask {
    node_name: Box<str>,
    node_uid: Box<str>,
    revision: Box<str>,
    ordinal: Option<u32>,
    containers: Vec<RawContainer>,
    assigned_ports: Vec<RawPort>,
    node_selector: BTreeMap<String, String>,
    tolerations: Vec<Toleration>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawContainer {
    resources: RawResources,
    ports: Vec<RawPort>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawResources {
    requests: Listed,
}

/// A port of a container, or one that was assigned.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawPort {
    host_port: Option<u16>,
    port: Option<u16>,
}

impl From<RawTask> for TaskSpec {
    fn from(raw: RawTask) -> Self {
        let containers = raw.containers.iter();
        let one_task = Amounts([0, 0, 0, 1]);
        let requests = containers
            .clone()
            .map(|container| container.resources.requests.or(Amounts::default()))
            .fold(one_task, Amounts::plus);
        let ports = containers.flat_map(|container| &container.ports);
        let open_ports = ports.clone().filter(|port| port.host_port.is_none()).count();
        let fixed = ports.filter_map(|port| port.host_port);
        let assigned = raw.assigned_ports.iter().filter_map(|assigned| assigned.port);
        Self {
            requests,
            ports: fixed.chain(assigned).collect(),
            open_ports,
            ordinal: raw.ordinal,
            node: raw.node_name,
            node_uid: raw.node_uid,
            revision: raw.revision,
            selector: raw.node_selector,
            tolerations: raw.tolerations,
        }
    }
}

impl AppSpec {
    /// Bounds as Kubernetes has them: both portions 25% when absent, surge rounded up, unavailable rounded down; one may
    /// be missing when both come out as none. A Recreate has no surge and leaves nothing.
    fn of(spec: &Value) -> Result<Self, Problem> {
        let replicas = spec.get("replicas").map_or(Some(1), Value::as_i64).ok_or("replicas is no number")?;
        let min_ready = spec.get("minReadySeconds").and_then(Value::as_u64);
        let min_ready = min_ready.unwrap_or(if is_probed(spec) { 0 } else { 10 });
        let strategy = spec.get("strategy").cloned().unwrap_or_default();
        if strategy.get("type").is_some_and(|name| name == "Recreate") {
            let rollout = Rollout::Recreate;
            return Ok(Self { replicas, most: replicas, keep: 0, rollout, min_ready });
        }
        let portion = |name: &str, extra| {
            let given = strategy.get("rollingUpdate").and_then(|update| update.get(name));
            portion(given, replicas, extra)
        };
        // A hundredth less than a whole more rounds up.
        let surge = portion("maxSurge", 99)?;
        let unavailable = portion("maxUnavailable", 0)?;
        let unavailable = if surge + unavailable == 0 { 1 } else { unavailable.min(replicas) };
        let keep = (replicas - unavailable).max(0);
        Ok(Self { replicas, most: replicas + surge, keep, rollout: Rollout::Rolling, min_ready })
    }
}

/// Whether a readinessProbe says when a Task of the App works.
fn is_probed(spec: &Value) -> bool {
    let containers = spec.pointer("/template/spec/containers").and_then(Value::as_array);
    containers.is_some_and(|all| all.iter().any(|container| container.get("readinessProbe").is_some()))
}

/// A number, or a percentage of `whole` with `extra` hundredths before it is cut; 25% when absent.
fn portion(given: Option<&Value>, whole: i64, extra: i64) -> Result<i64, Problem> {
    let percent = match given {
        None | Some(Value::Null) => Some(25),
        Some(Value::Number(number)) => return Ok(number.as_i64().ok_or("a portion is no whole number")?),
        Some(Value::String(text)) => text.strip_suffix('%').and_then(|digits| digits.parse::<i64>().ok()),
        Some(_) => None,
    };
    let percent = percent.ok_or("a portion is neither a number nor a percentage")?;
    Ok(percent.checked_mul(whole).and_then(|part| part.checked_add(extra)).ok_or("a portion is too large")?
        / 100)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_bounds_of_a_rollout_come_from_its_portions() {
        let app = |spec| {
            AppSpec::of(&spec).map(|app| (app.most, app.keep)).unwrap_or_else(|_| panic!("unreadable"))
        };
        let rolling = |replicas, surge, unavailable| {
            let update = json!({"maxSurge": surge, "maxUnavailable": unavailable});
            app(json!({"replicas": replicas, "strategy": {"rollingUpdate": update}}))
        };
        let null = || json!(null);
        assert_eq!(app(json!({})), (2, 1));
        assert_eq!(app(json!({"replicas": 10})), (13, 8));
        assert_eq!(rolling(4, null(), null()), (5, 3));
        assert_eq!(rolling(3, null(), null()), (4, 3));
        assert_eq!(rolling(10, json!(0), json!("5%")), (10, 9));
        assert_eq!(rolling(2, json!(1), json!(5)), (3, 0));
        assert_eq!(rolling(2, json!("200%"), json!("100%")), (6, 0));
        assert_eq!(app(json!({"replicas": 4, "strategy": {"type": "Recreate"}})), (4, 0));
        assert!(AppSpec::of(&json!({"strategy": {"rollingUpdate": {"maxSurge": "x"}}})).is_err());
    }

    #[test]
    fn without_a_probe_a_task_must_have_run_for_a_while() {
        let min_ready = |given: Value, containers: Value| {
            let mut spec = json!({"template": {"spec": {"containers": containers}}});
            if !given.is_null() {
                spec["minReadySeconds"] = given;
            }
            AppSpec::of(&spec).map(|app| app.min_ready).unwrap_or_else(|_| panic!("unreadable"))
        };
        let probed = || json!([{"name": "a"}, {"name": "b", "readinessProbe": {}}]);
        assert_eq!(min_ready(json!(null), json!([{"name": "a"}])), 10);
        assert_eq!(min_ready(json!(null), probed()), 0);
        assert_eq!(min_ready(json!(3), probed()), 3);
        assert_eq!(min_ready(json!(0), json!([{"name": "a"}])), 0);
    }

    #[test]
    fn a_task_takes_what_its_containers_request_and_all_of_their_ports() {
        let spec = json!({
            "containers": [
                {"resources": {"requests": {"cpu": "500m", "memory": "1Ki"}}, "ports": [{"name": "a", "hostPort": 80}, {"name": "b"}]},
                {"resources": {"requests": {"cpu": 1}}},
            ],
            "assignedPorts": [{"name": "b", "port": 31000}],
        });
        let Ok(Spec::Task(task)) = Spec::read("berth.dev/tasks", &spec.to_string()) else { panic!("a Task") };
        assert_eq!(task.requests, Amounts([1500, 1024, 0, 1]));
        assert_eq!(&task.ports[..], [80, 31000]);
    }

    #[test]
    fn a_taint_is_tolerated_by_what_matches_it() {
        let taint = Taint { key: "gpu".into(), value: "a".into(), effect: "NoSchedule".into() };
        let table = [
            (json!({"key": "gpu", "value": "a"}), true),
            (json!({"key": "gpu", "operator": "Exists"}), true),
            (json!({"operator": "Exists"}), true),
            (json!({"key": "gpu", "value": "b"}), false),
            (json!({"key": "disk", "operator": "Exists"}), false),
            (json!({"key": "gpu", "value": "a", "effect": "NoExecute"}), false),
            (json!({"value": "a"}), false),
        ];
        for (toleration, expected) in table {
            let tolerations = [serde_json::from_value(toleration.clone()).unwrap()];
            assert_eq!(taint.is_tolerated(&tolerations), expected, "{toleration}");
        }
    }
}
