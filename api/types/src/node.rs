//! Node: one machine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::BERTH_V1;
use crate::meta::{Condition, ObjectMeta};
use crate::quantity::ResourceList;
use crate::resource::resource;

/// One machine; its attributes are labels.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Node {
    /// `berth.dev/v1`.
    pub api_version: String,
    /// `Node`.
    pub kind: String,
    /// Name and labels (`berth.dev/hostname`, `berth.dev/os`, `berth.dev/arch`).
    pub metadata: ObjectMeta,
    /// What an operator says of it.
    pub spec: NodeSpec,
    /// What its agent and the node controller say of it.
    pub status: NodeStatus,
}
resource!(Node, BERTH_V1, "nodes", namespaced: false);

/// What an operator says of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSpec {
    /// Whether new Tasks are kept away.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unschedulable: bool,
    /// Keep away Tasks that do not tolerate them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key", "effect"]))]
    pub taints: Vec<Taint>,
}

/// A mark that keeps Tasks away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    /// A label key.
    pub key: String,
    /// A label value.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// `NoSchedule`: new Tasks stay away.
    pub effect: String,
}

/// What a machine has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    /// All it has: `cpu`, `memory`, `disk`.
    pub capacity: ResourceList,
    /// What Tasks may have of it.
    pub allocatable: ResourceList,
    /// Host ports that may be assigned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_range: Option<PortRange>,
    /// Address under which its Tasks answer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// The machine and its software.
    pub node_info: NodeInfo,
    /// `Ready` (by the node controller, from presence), `DiskPressure` (by its agent; absent means no).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Host ports, both ends included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

/// The machine and its software.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeInfo {
    /// Host name.
    pub hostname: String,
    /// `linux`.
    pub operating_system: String,
    /// As `x86_64`.
    pub architecture: String,
    /// Changes with every boot.
    #[serde(rename = "bootID")]
    pub boot_id: String,
    /// Release of the kernel.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kernel_version: String,
    /// Version of the node agent.
    pub agent_version: String,
}
