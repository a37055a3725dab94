//! Task: one placed unit, the containers that share a node and a network.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::BERTH_V1;
use crate::clock::Timestamp;
use crate::meta::{Condition, ObjectMeta};
use crate::quantity::ResourceList;
use crate::resource::resource;

/// Annotation of a Task: how many restarts in place the failed Tasks that it replaces had in a row. Its own waits
/// continue theirs.
pub const RESTARTS_BEFORE: &str = "berth.dev/restarts-before";
/// Reason of a Failed Task whose container used up its restarts in place.
pub const TOO_MANY_RESTARTS: &str = "TooManyRestarts";
/// Reason of a container that waits, and of a Failed Task: its image cannot be used.
pub const IMAGE_ERROR: &str = "ImageError";
/// Reason of a container that waits, and of a Failed Task: it could not be prepared.
pub const CREATE_ERROR: &str = "CreateError";
/// Reason of a Failed Task: a process outside it holds a port that was assigned to it. Its replacement gets another one.
pub const PORT_HELD: &str = "PortHeld";

/// One placed unit; bound to a node once, never moved.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Task {
    /// `berth.dev/v1`.
    pub api_version: String,
    /// `Task`.
    pub kind: String,
    /// Name, labels, owner.
    pub metadata: ObjectMeta,
    /// What runs, and where.
    pub spec: TaskSpec,
    /// How it goes.
    pub status: TaskStatus,
}
resource!(Task, BERTH_V1, "tasks", namespaced: true);

/// What runs. In an App's template the fields from `nodeName` to `revision` stay empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TaskSpec {
    /// The containers; at least one.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub containers: Vec<Container>,
    /// Labels that the node must have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of a node that do not keep this Task away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Vec<Toleration>,
    /// How often containers restart in place before the Task fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// Seconds between TERM and KILL; 30 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub termination_grace_period_seconds: Option<i64>,
    /// Seconds that a stopping Task, already out of the available ones, goes on answering before TERM; 2 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_delay_seconds: Option<i64>,
    /// What happens when its node is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<Unreachable>,

    /// The node it is bound to; written by Bind alone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node_name: String,
    /// uid of that node.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node_uid: String,
    /// A host port for each port that the manifest leaves open; written by Bind alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub assigned_ports: Vec<AssignedPort>,
    /// Position among the App's replicas, reused across incarnations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordinal: Option<u32>,
    /// Name of the Revision that it was made from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub revision: String,
}

/// One container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Unique in its Task.
    pub name: String,
    /// `oci:DIR[:TAG]`: an OCI image layout on the node. Empty: a read-only view of the node's root.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// Replaces the image's entrypoint; required without image. `$(NAME)` is replaced from the environment, an unknown
    /// `$(NAME)` stays as it is, and `$$` gives `$`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub command: Vec<String>,
    /// Replaces the image's arguments. `$(NAME)` is replaced from the environment, an unknown `$(NAME)` stays as it is,
    /// and `$$` gives `$`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub args: Vec<String>,
    /// Where the command starts; the image's, or the sandbox without image.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Environment, over the image's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<EnvVar>,
    /// Ports that it listens on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub ports: Vec<Port>,
    /// What it needs and what it may use.
    #[serde(skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    /// Whether it may get requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<Probe>,
    /// Whether it must be restarted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub liveness_probe: Option<Probe>,
    /// Who it runs as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_context: Option<SecurityContext>,
}

/// One variable of the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvVar {
    /// A word of letters, digits and `_`.
    pub name: String,
    /// `$(NAME)` is replaced from the variables before it, an unknown `$(NAME)` stays as it is, and `$$` gives `$`.
    pub value: String,
}

/// A port of a container; without `hostPort` the scheduler assigns one of the node's range.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Port {
    /// Unique in the Task; gives `PORT_<NAME>`.
    pub name: String,
    /// A fixed port of the node, 1 to 65535.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_port: Option<u16>,
}

/// A host port that the scheduler chose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AssignedPort {
    /// Name of the port.
    pub name: String,
    /// The host port.
    pub port: u16,
}

/// Requests and limits of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// What the node sets aside: `cpu`, `memory`, `disk`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: ResourceList,
    /// What it may use at most: `cpu`, `memory`, `pids`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: ResourceList,
}

impl Resources {
    fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.limits.is_empty()
    }
}

/// A check that the node makes of a container; exactly one of `httpGet` and `tcpSocket`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Probe {
    /// A request that must be answered with 200 to 399.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGet>,
    /// A connection that must be accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_socket: Option<TcpSocket>,
    /// Seconds before the first check; 0 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_delay_seconds: Option<u32>,
    /// Seconds between checks; 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period_seconds: Option<u32>,
    /// Seconds that a check may take; 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// Checks in a row that turn it good; 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_threshold: Option<u32>,
    /// Checks in a row that turn it bad; 3 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_threshold: Option<u32>,
}

/// An HTTP check on the node's loopback address.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpGet {
    /// Path; `/` when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Name of a port of the Task, or its number.
    pub port: IntOrString,
}

/// A TCP check on the node's loopback address.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpSocket {
    /// Name of a port of the Task, or its number.
    pub port: IntOrString,
}

/// A number, or a text such as a port's name or `25%`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[allow(missing_docs)]
pub enum IntOrString {
    Int(i64),
    String(String),
}

impl JsonSchema for IntOrString {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "IntOrString".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"], "format": "int-or-string" })
    }
}

impl Default for IntOrString {
    fn default() -> Self {
        Self::Int(0)
    }
}

/// Ids that a container runs under.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SecurityContext {
    /// User id; when absent the image's, or 65534 without image. 0 is root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_user: Option<u32>,
    /// Group id; when absent the image's. Without image 0 for root, and 65534 for every other user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_group: Option<u32>,
}

/// A taint that a Task puts up with, as in Kubernetes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Toleration {
    /// Key of the taint; empty with `Exists` means all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// `Equal` (when empty) or `Exists`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub operator: String,
    /// Value of the taint for `Equal`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Effect of the taint; empty means all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub effect: String,
}

/// Restarting in place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Restart {
    /// Restarts within `withinSeconds` before the Task is Failed; 5 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_place: Option<u32>,
    /// The window for `inPlace`; 600 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within_seconds: Option<u32>,
    /// Seconds before the first restart, doubled with each; 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_delay_seconds: Option<u32>,
    /// The most seconds between restarts; 60 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_delay_seconds: Option<u32>,
}

/// What happens when a Task's node is away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Unreachable {
    /// Seconds after its node became NotReady until a Task is replaced; 15 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace_after_seconds: Option<u32>,
}

/// How a Task goes; written by its agent, and by the scheduler while it is not bound.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TaskStatus {
    /// `Pending`, `Starting`, `Running`, `Stopping`, `Succeeded` or `Failed`; the last two are final.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub phase: String,
    /// `Scheduled` (scheduler, Bind), `Ready` (agent), `Reachable` (node controller; absent means yes).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Each container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub container_statuses: Vec<ContainerStatus>,
    /// Address of its node.
    #[serde(rename = "hostIP", skip_serializing_if = "String::is_empty")]
    pub host_ip: String,
    /// When its agent took it on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// One word for why it is in its phase, as `NodeLost`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The same for a person.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What the node set aside for it when it was started.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub allocated: ResourceList,
}

/// How a container goes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// Name of the container.
    pub name: String,
    /// Whether it may get requests.
    pub ready: bool,
    /// How often it was started again.
    pub restart_count: u32,
    /// Digest of the image that runs.
    #[serde(rename = "imageID", skip_serializing_if = "String::is_empty")]
    pub image_id: String,
    /// What it does now.
    pub state: ContainerState,
    /// How the attempt before ended.
    #[serde(skip_serializing_if = "ContainerState::is_empty")]
    pub last_state: ContainerState,
}

/// State of one attempt; at most one field is there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerState {
    /// Not running yet, or again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// Running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<Running>,
    /// Ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminated: Option<Terminated>,
}

impl ContainerState {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why a container does not run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Waiting {
    /// `Creating`, `BackOff`, `ImageError`, `CreateError`.
    pub reason: String,
    /// For a person, with the time of the next try.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// A running attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Running {
    /// When it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
}

/// An ended attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Terminated {
    /// Exit code; 128 + signal for a killed one.
    pub exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `Unhealthy`, `StatusUnknown`.
    pub reason: String,
    /// For a person.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}
