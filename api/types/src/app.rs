//! App: N replicas kept running.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::BERTH_V1;
use crate::meta::{Condition, ObjectMeta};
use crate::resource::resource;
use crate::task::{IntOrString, TaskSpec};

/// The largest number of a Revision, and of restarts asked for: the largest that every reader of JSON keeps exactly.
pub const MOST_GENERATION: i64 = 1 << 53;

/// N replicas of a Task kept running.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct App {
    /// `berth.dev/v1`.
    pub api_version: String,
    /// `App`.
    pub kind: String,
    /// Name and labels.
    pub metadata: ObjectMeta,
    /// What is asked for.
    pub spec: AppSpec,
    /// What is there.
    pub status: AppStatus,
}
resource!(App, BERTH_V1, "apps", namespaced: true);

/// What an App asks for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AppSpec {
    /// How many Tasks, 0 to 1000; 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// How a new template replaces the old one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Seconds that a Task must be Ready before it counts as available; when absent 0 with a readinessProbe, 10 without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ready_seconds: Option<u32>,
    /// Seconds without progress before the rollout is said to be stuck; 600 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_deadline_seconds: Option<u32>,
    /// How many old Revisions are kept for undo; 10 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision_history_limit: Option<u32>,
    /// Raised to restart every Task by a rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_generation: Option<i64>,
    /// What each Task is made from.
    pub template: TaskTemplate,
}

/// What each Task is made from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TaskTemplate {
    /// Labels and annotations of the Tasks.
    pub metadata: TemplateMeta,
    /// What runs.
    pub spec: TaskSpec,
}

/// Metadata that a template gives its Tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TemplateMeta {
    /// Labels of the Tasks.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the Tasks.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// How a new template replaces the old one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Strategy {
    /// `RollingUpdate` (when empty) or `Recreate`.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub type_: String,
    /// Bounds of a rolling update.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolling_update: Option<RollingUpdate>,
}

/// Bounds of a rolling update; numbers, or percentages of `replicas`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RollingUpdate {
    /// Tasks beyond `replicas`, a percentage rounded up; 25% when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_surge: Option<IntOrString>,
    /// Tasks of `replicas` that may be missing, a percentage rounded down; 25% when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,
}

/// What an App has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AppStatus {
    /// The generation that this status speaks of.
    #[serde(skip_serializing_if = "is_zero")]
    pub observed_generation: i64,
    /// Numbers of Tasks given out so far: the next Task is `<app>-<tasksCreated>`. Only grows.
    #[serde(skip_serializing_if = "is_zero")]
    pub tasks_created: i64,
    /// Tasks that are not at their end.
    pub replicas: u32,
    /// Of these, on the current Revision.
    pub updated_replicas: u32,
    /// Of these, Ready and not stopping.
    pub ready_replicas: u32,
    /// Of these, Ready for `minReadySeconds`.
    pub available_replicas: u32,
    /// Name of the Revision that is asked for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub current_revision: String,
    /// Name of the Revision whose Tasks took down the agents of several nodes; no more Tasks are created from it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub halted_revision: String,
    /// The last Revision whose replicas were all available; Tasks lost during a rollout are replaced from it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stable_revision: String,
    /// `Available`, `Progressing`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}
