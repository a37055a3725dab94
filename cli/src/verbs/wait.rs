//! `ctl wait`: until objects are as they should be.

use berth_client::ObjectKey;
use serde_json::Value;

use super::contents;
use super::get::fetch;
use crate::api::Api;
use crate::failure::Failure;
use crate::output::print;
use crate::request::{Goal, Selection, Wait};
use crate::waiting::{self, Awaited, Verdict};

/// Waits for every object of the selection.
pub async fn run(api: &Api, task: &Wait) -> Result<(), Failure> {
    let keys = keys(api, &task.selection).await?;
    let judge = |object: Option<&Value>| judge(&task.goal, object);
    let awaited =
        keys.iter().map(|(name, key)| Awaited { name: name.clone(), key: key.clone(), judge: &judge });
    let goal = match &task.goal {
        Goal::Condition(name, status) => format!("condition {name}={status}"),
        Goal::Gone => "deletion".into(),
        Goal::Field(path, value) => format!("{}={value}", path.replace('/', ".")),
    };
    let done = waiting::all(api, awaited.collect(), task.patience, &goal, "nothing was changed").await;
    match task.goal {
        Goal::Gone => contents::explained(api, keys.iter().map(|(_, key)| key), done).await?,
        Goal::Condition(..) | Goal::Field(..) => done?,
    }
    let met = if task.goal == Goal::Gone { "is gone".into() } else { format!("has {goal}") };
    keys.iter().for_each(|(name, _)| print::line(&format!("{name} {met}")));
    Ok(())
}

/// Names and keys of the objects of a selection; named ones need not exist yet.
pub async fn keys(api: &Api, selection: &Selection) -> Result<Vec<(String, ObjectKey)>, Failure> {
    let mut keys = Vec::new();
    for target in &selection.targets {
        let singular = target.kind.traits.singular;
        match &target.name {
            Some(name) => keys.push((format!("{singular}/{name}"), selection.key(target.kind, name))),
            None => {
                for object in fetch(api, selection, target).await? {
                    let key = ObjectKey::in_json(&object);
                    keys.push((format!("{singular}/{}", key.name), key));
                }
            }
        }
    }
    Ok(keys)
}

fn judge(goal: &Goal, object: Option<&Value>) -> Verdict {
    let Some(object) = object else {
        return if *goal == Goal::Gone { Verdict::Done } else { Verdict::Waits("it does not exist".into()) };
    };
    match goal {
        Goal::Gone => Verdict::Waits(lingers(object)),
        Goal::Condition(name, wanted) => condition(object, name, wanted),
        Goal::Field(path, wanted) => {
            let found = object.pointer(path);
            let text = found.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            match text {
                Some(text) if text == *wanted => Verdict::Done,
                Some(text) => Verdict::Waits(format!("it is `{text}`")),
                None => Verdict::Waits("there is no such field".into()),
            }
        }
    }
}

/// A condition of an older generation says nothing about what was asked for last.
fn condition(object: &Value, name: &str, wanted: &str) -> Verdict {
    let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let same =
        |condition: &&Value| condition["type"].as_str().is_some_and(|found| found.eq_ignore_ascii_case(name));
    let Some(found) = conditions.iter().find(same) else {
        let known: Vec<&str> = conditions.iter().filter_map(|condition| condition["type"].as_str()).collect();
        let others = if known.is_empty() { String::new() } else { format!(", but {}", known.join(", ")) };
        return Verdict::Waits(format!("it has no condition {name} yet{others}"));
    };
    let looked_at = found["observedGeneration"].as_i64();
    if looked_at.is_some_and(|seen| seen < object["metadata"]["generation"].as_i64().unwrap_or(0)) {
        return Verdict::Waits("the controller has not seen the latest change yet".into());
    }
    if found["status"].as_str().is_some_and(|status| status.eq_ignore_ascii_case(wanted)) {
        return Verdict::Done;
    }
    let message = found["message"].as_str().filter(|message| !message.is_empty());
    let why = message.or_else(|| found["reason"].as_str()).unwrap_or("no reason is given").to_owned();
    let stuck = conditions.iter().any(|other| other["reason"] == "ProgressDeadlineExceeded");
    if stuck { Verdict::Never(why) } else { Verdict::Waits(why) }
}

/// Why an object that is being deleted is still there.
pub fn lingers(object: &Value) -> String {
    let finalizers = object["metadata"]["finalizers"].as_array().into_iter().flatten();
    let finalizers: Vec<&str> = finalizers.filter_map(Value::as_str).collect();
    let phase = object["status"]["phase"].as_str().unwrap_or_default();
    if object["metadata"]["deletionTimestamp"].is_null() {
        return "its deletion was not asked for yet".into();
    }
    match finalizers.as_slice() {
        [berth_types::NODE_FINALIZER] if object["spec"]["nodeName"].is_string() => {
            let node = object["spec"]["nodeName"].as_str().unwrap_or_default();
            format!("node {node} is stopping it ({})", if phase.is_empty() { "Pending" } else { phase })
        }
        [berth_types::NAMESPACE_FINALIZER] => "what is in it is deleted first".into(),
        [] => "it is being removed".into(),
        held => format!("{} must agree first", held.join(", ")),
    }
}
