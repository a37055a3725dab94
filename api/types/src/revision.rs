//! Revision: one generation of an App's template, for history and undo.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::BERTH_V1;
use crate::app::TaskTemplate;
use crate::meta::ObjectMeta;
use crate::resource::resource;

/// One generation of an App's template; its name is computed from the template.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Revision {
    /// `berth.dev/v1`.
    pub api_version: String,
    /// `Revision`.
    pub kind: String,
    /// Name and owner.
    pub metadata: ObjectMeta,
    /// The template, and its place in the history.
    pub spec: RevisionSpec,
}
resource!(Revision, BERTH_V1, "revisions", namespaced: true);

/// The template, and its place in the history.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RevisionSpec {
    /// Counts from 1; raised again when an undo makes an old template the current one.
    pub number: i64,
    /// The App's `restartGeneration` then.
    pub restart_generation: i64,
    /// What Tasks are made from.
    pub template: TaskTemplate,
}
