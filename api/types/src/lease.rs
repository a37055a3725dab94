//! Lease (`coordination.k8s.io/v1`): who leads.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::meta::ObjectMeta;
use crate::resource::resource;

/// Who leads. A change of `holderIdentity` starts a new epoch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Lease {
    /// `coordination.k8s.io/v1`.
    pub api_version: String,
    /// `Lease`.
    pub kind: String,
    /// Name and namespace.
    pub metadata: ObjectMeta,
    /// Who holds it, and for how long.
    pub spec: LeaseSpec,
}
resource!(Lease, "coordination.k8s.io/v1", "leases", namespaced: true);

/// Who holds a Lease, and for how long.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaseSpec {
    /// The holder, new with every process; empty when released.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub holder_identity: String,
    /// Seconds after the last renewal that a standby waits, by its own monotonic clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_duration_seconds: Option<u32>,
    /// When the holder took it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acquire_time: Option<Timestamp>,
    /// When the holder last renewed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_time: Option<Timestamp>,
    /// How often the holder changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_transitions: Option<i64>,
}
