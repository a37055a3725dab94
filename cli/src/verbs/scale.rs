//! `ctl scale`: changes how many Tasks an App has.

use berth_client::{ObjectKey, Write};
use serde_json::json;

use super::refusals::Refusals;
use super::{answer, rollout};
use crate::api::Api;
use crate::failure::Failure;
use crate::output::print;
use crate::request::{Patience, Scale};
use crate::waiting;

/// Who scales.
const MANAGER: &str = "ctl-scale";

/// Scales every App of the selection.
pub async fn run(api: &Api, task: &Scale) -> Result<(), Failure> {
    let mut refusals = Refusals::default();
    let mut scaled = Vec::new();
    for key in rollout::keys(api, &task.selection).await? {
        if refusals.note(scale(api, &key, task.replicas).await)?.is_some() {
            scaled.push(key);
        }
    }
    refusals.end(wait(api, &scaled, task.wait).await)
}

async fn scale(api: &Api, key: &ObjectKey, replicas: u32) -> Result<(), Failure> {
    let before = rollout::get(api, key).await?["spec"]["replicas"].as_u64().unwrap_or(1);
    let patch = json!({"spec": {"replicas": replicas}});
    let written = api.client.send_and_hear(&Write::patch_json(key, &patch).by(MANAGER)).await;
    let (_, written) =
        written.map_err(|error| api.failed(&format!("could not scale app/{}", key.name), &error))?;
    print::line(&if before == u64::from(replicas) {
        format!("app/{} unchanged, it asks for {before} already", key.name)
    } else {
        format!("app/{} scaled from {before} to {replicas}", key.name)
    });
    answer::report(&format!("app/{}", key.name), &written);
    Ok(())
}

async fn wait(api: &Api, scaled: &[ObjectKey], wait: Option<Patience>) -> Result<(), Failure> {
    let Some(patience) = wait else { return Ok(()) };
    let meanwhile = rollout::meanwhile(api, scaled);
    waiting::all(api, scaled.iter().map(rollout::awaited).collect(), patience, "the new replicas", &meanwhile)
        .await
}
