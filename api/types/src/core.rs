//! Kinds borrowed from the Kubernetes core group: Namespace and Event.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::meta::ObjectMeta;
use crate::resource::resource;

/// A scope for names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Namespace {
    /// `v1`.
    pub api_version: String,
    /// `Namespace`.
    pub kind: String,
    /// Name and labels.
    pub metadata: ObjectMeta,
    /// Who must agree before it goes.
    pub spec: NamespaceSpec,
    /// Whether it is going.
    pub status: NamespaceStatus,
}
resource!(Namespace, "v1", "namespaces", namespaced: false);

/// Who must agree before a Namespace goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceSpec {}

/// Whether a Namespace is going.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceStatus {
    /// `Active` or `Terminating`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub phase: String,
}

/// Something that happened to an object, for a person to read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Event {
    /// `v1`.
    pub api_version: String,
    /// `Event`.
    pub kind: String,
    /// Name and namespace.
    pub metadata: ObjectMeta,
    /// What it happened to.
    pub involved_object: ObjectReference,
    /// One word for a program.
    pub reason: String,
    /// A sentence for a person.
    pub message: String,
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    pub type_: String,
    /// How often it was seen.
    pub count: u32,
    /// The first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_timestamp: Option<Timestamp>,
    /// The last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_timestamp: Option<Timestamp>,
    /// Who says so.
    pub source: EventSource,
}
resource!(Event, "v1", "events", namespaced: true);

/// What an Event is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ObjectReference {
    pub api_version: String,
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// Who wrote an Event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EventSource {
    /// As `scheduler`.
    pub component: String,
    /// The node it runs on, for an agent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
}
