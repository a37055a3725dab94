//! `ctl scale`: changes how many Tasks an App has.

use berth_client::Write;
use serde_json::json;

use super::rollout;
use crate::api::Api;
use crate::failure::Failure;
use crate::output::print;
use crate::request::Scale;
use crate::waiting;

/// Who scales.
const MANAGER: &str = "ctl-scale";

/// Scales every App of the selection.
pub async fn run(api: &Api, task: &Scale) -> Result<(), Failure> {
    let keys = rollout::keys(api, &task.selection).await?;
    for key in &keys {
        let before = rollout::get(api, key).await?["spec"]["replicas"].as_u64().unwrap_or(1);
        let patch = json!({"spec": {"replicas": task.replicas}});
        let written = api.client.write(&Write::patch_json(key, &patch).by(MANAGER)).await;
        written.map_err(|error| api.failed(&format!("could not scale app/{}", key.name), &error))?;
        print::line(&if before == u64::from(task.replicas) {
            format!("app/{} unchanged, it asks for {before} already", key.name)
        } else {
            format!("app/{} scaled from {before} to {}", key.name, task.replicas)
        });
    }
    let Some(patience) = task.wait else { return Ok(()) };
    let meanwhile = "it goes on; `ctl rollout status` watches it again";
    waiting::all(api, keys.iter().map(rollout::awaited).collect(), patience, "the new replicas", meanwhile)
        .await
}
