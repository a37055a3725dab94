//! `ctl scale`: changes how many Tasks an App has.

use berth_client::{Effect, ObjectKey, Write};
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
    print::line(&format!("app/{} {}", key.name, outcome(written.effect, before, u64::from(replicas))));
    answer::report(&format!("app/{}", key.name), &written);
    Ok(())
}

/// What the write did. `before` was read earlier, and others may have written since.
fn outcome(effect: Effect, before: u64, replicas: u64) -> String {
    match effect {
        Effect::Unchanged => format!("unchanged, it asks for {replicas} already"),
        Effect::Created | Effect::Configured | Effect::Deleted | Effect::Unknown if before == replicas => {
            format!("scaled to {replicas}")
        }
        Effect::Created | Effect::Configured | Effect::Deleted | Effect::Unknown => {
            format!("scaled from {before} to {replicas}")
        }
    }
}

async fn wait(api: &Api, scaled: &[ObjectKey], wait: Option<Patience>) -> Result<(), Failure> {
    let Some(patience) = wait else { return Ok(()) };
    let meanwhile = rollout::meanwhile(api, scaled);
    waiting::all(api, scaled.iter().map(rollout::awaited).collect(), patience, "the new replicas", &meanwhile)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_the_write_decides_whether_something_changed() {
        for (effect, before, expected) in [
            (Effect::Configured, 2, "scaled from 2 to 5"),
            (Effect::Unchanged, 5, "unchanged, it asks for 5 already"),
            // Others wrote in between.
            (Effect::Configured, 5, "scaled to 5"),
            (Effect::Unchanged, 2, "unchanged, it asks for 5 already"),
            (Effect::Unknown, 2, "scaled from 2 to 5"),
            (Effect::Unknown, 5, "scaled to 5"),
        ] {
            assert_eq!(outcome(effect, before, 5), expected);
        }
    }
}
