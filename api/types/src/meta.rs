//! Object metadata and conditions, as the Kubernetes API conventions have them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;

/// What every object carries beside its spec and status.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectMeta {
    /// Unique among the objects of its kind and namespace; never changes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The Namespace it lives in; `default` when a namespaced object names none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Unique over all objects and all time; given by the server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Version of the object, opaque; equal versions mean equal objects.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    /// Grows by one with every change of the spec.
    #[serde(skip_serializing_if = "is_zero")]
    pub generation: i64,
    /// When the server created it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<Timestamp>,
    /// When its deletion was asked for; it goes once its finalizers are gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<Timestamp>,
    /// Seconds that the deletion leaves it to stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_grace_period_seconds: Option<i64>,
    /// For selecting; both sides are short words.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// For anything else; not selectable.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Who must agree before the object goes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub finalizers: Vec<String>,
    /// Objects this one belongs to: it is collected once all of them are gone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["uid"]))]
    pub owner_references: Vec<OwnerReference>,
    /// Who applied which fields; kept by the server.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub managed_fields: Vec<ManagedFields>,
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

impl ObjectMeta {
    /// Metadata with a name in a namespace.
    pub fn named(namespace: &str, name: &str) -> Self {
        Self { name: name.into(), namespace: namespace.into(), ..Self::default() }
    }

    /// The owner that controls the object, if one does.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|owner| owner.controller == Some(true))
    }

    /// Whether its deletion was asked for.
    pub fn deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }
}

/// An object that another belongs to; same namespace, or without namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    /// `apiVersion` of the owner.
    pub api_version: String,
    /// Kind of the owner.
    pub kind: String,
    /// Name of the owner.
    pub name: String,
    /// uid of the owner: an object of the same name made later is not the owner.
    pub uid: String,
    /// Whether this owner's controller manages the object; at most one owner does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controller: Option<bool>,
    /// Whether a foreground deletion of the owner waits for this object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_owner_deletion: Option<bool>,
}

/// The fields that one manager applied.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ManagedFields {
    /// Name of the manager.
    pub manager: String,
    /// `Apply`, or `Update` for every other write.
    pub operation: String,
    /// The version whose field names are used.
    pub api_version: String,
    /// When it last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// Always `FieldsV1`.
    pub fields_type: String,
    /// The set of fields, as a tree of `f:`, `k:` and `v:` keys.
    #[serde(rename = "fieldsV1")]
    pub fields: Value,
    /// `status` when the fields were set there.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subresource: String,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum ConditionStatus {
    True,
    False,
    #[default]
    Unknown,
}

/// One thing that holds of an object or not, and why (`metav1.Condition`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What the condition is about, as `Ready`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// The generation of the spec that was looked at.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub observed_generation: i64,
    /// When `status` last changed.
    pub last_transition_time: Timestamp,
    /// One word for a program.
    #[serde(default)]
    pub reason: String,
    /// A sentence for a person.
    #[serde(default)]
    pub message: String,
}

impl Condition {
    /// A condition whose status changed at `since`, without a generation.
    pub fn new(
        type_: &str,
        status: ConditionStatus,
        reason: &str,
        message: impl Into<String>,
        since: Timestamp,
    ) -> Self {
        Self {
            type_: type_.into(),
            status,
            observed_generation: 0,
            last_transition_time: since,
            reason: reason.into(),
            message: message.into(),
        }
    }

    /// The same, of this generation of the spec.
    pub fn of_generation(self, generation: i64) -> Self {
        Self { observed_generation: generation, ..self }
    }

    /// The condition of type `type_` among `conditions`.
    pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
        conditions.iter().find(|condition| condition.type_ == type_)
    }

    /// Whether the condition of type `type_` holds.
    pub fn holds(conditions: &[Condition], type_: &str) -> bool {
        Self::find(conditions, type_).is_some_and(|condition| condition.status == ConditionStatus::True)
    }

    /// Sets `self` among `conditions`, keeping the time of the last transition while its status stays.
    pub fn set(mut self, conditions: &mut Vec<Condition>) {
        match conditions.iter_mut().find(|condition| condition.type_ == self.type_) {
            Some(old) => {
                if old.status == self.status {
                    self.last_transition_time = old.last_transition_time;
                }
                *old = self;
            }
            None => conditions.push(self),
        }
    }
}
