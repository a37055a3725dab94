//! L1: an App has as many Tasks of its newest Revision as it asks for, each Ready and with a place of its own among the
//! replicas; but for those that say that they fit nowhere, which is looked at elsewhere.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Scene;
use crate::history::Object;
use crate::history::key::{Key, told};
use crate::history::spec::{AppSpec, Spec, TaskSpec};
use crate::history::task;
use crate::history::violation::Breach;

type Member<'a> = (&'a str, &'a Object, &'a TaskSpec);

pub fn look(scene: &Scene<'_>, broken: &mut Vec<Breach>) {
    for (key, app) in scene.of_kind("berth.dev/apps").filter(|(_, app)| !app.is_deleting()) {
        let Spec::App(spec) = &*app.spec else { continue };
        let owned = scene.owned.get(&*app.meta.uid).map(Vec::as_slice).unwrap_or_default();
        for what in wrong(key, app, *spec, owned) {
            let keys = owned.iter().map(|(key, _)| *key).chain([key]);
            broken.push(scene.breach(format!("{} {what}", told(key)), keys));
        }
    }
}

fn wrong(key: &str, app: &Object, spec: AppSpec, owned: &[(&str, &Object)]) -> Vec<String> {
    let told_of = observed(app);
    if told_of != app.meta.generation {
        return vec![format!("is in generation {}, and its status speaks of {told_of}", app.meta.generation)];
    }
    let living: Vec<Member<'_>> = owned.iter().filter_map(|(key, object)| living(key, object)).collect();
    let newest = owned.iter().find(|(key, object)| is_revision(key) && same_template(app, object));
    let Some((newest, _)) = newest else {
        let none_needed = spec.replicas == 0 && living.is_empty();
        return if none_needed { Vec::new() } else { vec!["has no Revision of its template".into()] };
    };
    let newest = newest.rsplit('/').next().unwrap_or(key);
    let (current, old): (Vec<Member<'_>>, Vec<_>) =
        living.into_iter().partition(|(_, _, task)| *task.revision == *newest);
    let waits = |member: &&Member<'_>| member.2.node_uid.is_empty() && member.1.status.unplaced;
    let waiting = current.iter().filter(waits).count();
    let mut wrong = shared(&current);
    if waiting == 0 {
        let of = |member: &Member<'_>| format!("has {} of Revision {}", told(member.0), member.2.revision);
        wrong.extend(old.iter().map(|member| format!("{}, and asks for {newest}", of(member))));
    }
    let there = i64::try_from(current.len()).unwrap_or(i64::MAX);
    if there > spec.replicas || (there < spec.replicas && waiting == 0) {
        wrong.push(format!("asks for {} Tasks, and has {there} of {newest}", spec.replicas));
    }
    let not_ready = current.iter().filter(|member| !waits(member) && !task::serves(member.1));
    wrong.extend(
        not_ready.map(|(key, task, _)| format!("has {} that is not Ready: {}", told(key), state(task))),
    );
    wrong
}

/// A Task that counts as one of its App's.
fn living<'a>(key: &'a str, object: &'a Object) -> Option<Member<'a>> {
    let counts = !task::is_over(object) && !task::is_given_up(object) && !object.is_deleting();
    task::spec(object).filter(|_| counts).map(|spec| (key, object, spec))
}

fn state(task: &Object) -> String {
    let phase = if task.status.phase.is_empty() { "Pending" } else { &*task.status.phase };
    let ready = task.status.ready;
    format!("{phase}, Ready {ready:?}")
}

/// Places among the replicas that two Tasks have.
fn shared(members: &[Member<'_>]) -> Vec<String> {
    let mut places: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for (key, _, task) in members {
        if let Some(ordinal) = task.ordinal {
            places.entry(ordinal).or_default().push(told(key));
        }
    }
    let more_than_one = places.into_iter().filter(|(_, tasks)| tasks.len() > 1);
    more_than_one
        .map(|(ordinal, tasks)| format!("has ordinal {ordinal} twice: {}", tasks.join(", ")))
        .collect()
}

fn is_revision(key: &str) -> bool {
    matches!(Key::read(key), Key::Object { kind: "berth.dev/revisions", .. })
}

/// The generation that the status itself speaks of.
fn observed(app: &Object) -> i64 {
    tree(app, "status")["observedGeneration"].as_i64().unwrap_or(0)
}

/// Whether a Revision is made of the App's template, and of the same restart.
fn same_template(app: &Object, revision: &Object) -> bool {
    let (app, revision) = (tree(app, "spec"), tree(revision, "spec"));
    let restart = |spec: &Value| spec["restartGeneration"].as_i64().unwrap_or(0);
    restart(&app) == restart(&revision) && full(&app["template"]) == full(&revision["template"])
}

fn tree(object: &Object, part: &str) -> Value {
    object.part(part).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// A tree without what says nothing, which one may leave out and the other may not; an amount may be written as a
/// number or as a text.
fn full(tree: &Value) -> Value {
    match tree {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), full(value)));
            fields.filter(|(_, value)| !is_empty(value)).collect()
        }
        Value::Array(items) => items.iter().map(full).collect(),
        Value::Number(number) => number.to_string().into(),
        Value::Null | Value::Bool(_) | Value::String(_) => tree.clone(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
