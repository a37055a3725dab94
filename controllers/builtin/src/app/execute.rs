//! What a plan for an App means in writes.

use berth_client::{ObjectKey, Precondition, Write, merge_patch};
use berth_runtime::{Deed, Work};
use berth_types::app::{App, AppStatus};
use berth_types::revision::{Revision, RevisionSpec};
use berth_types::task::{RESTARTS_BEFORE, Task};
use berth_types::{BERTH_V1, ObjectMeta, OwnerReference, Resource};
use serde_json::{Value, json};

use super::notes;
use super::observed::{FAILED_BEFORE, Observed, Wanted};
use super::plan::{Action, NewTask, Plan, TaskRef};

/// Label of everything that belongs to an App: its name.
const APP_LABEL: &str = "berth.dev/app";

/// The most preconditions on other Tasks that fit one group of the store.
pub const MOST_COUNTED_ON: usize = 90;

/// The writes of a plan. A Create carries the status along, for both are about one version of the App.
pub fn work(seen: &Observed, plan: Plan) -> Work {
    let app = seen.app;
    let carried = plan.wave.iter().any(|action| matches!(action, Action::Create { .. }));
    let changed = plan.status != app.status;
    let status = (changed && !carried).then(|| write_status(app, &plan.status));
    let wave = plan.wave.iter().map(|action| deed(seen, action, &plan.status)).collect();
    Work::waves([wave]).status(status).noting(notes::of_status(app, &plan.status)).wake_at(plan.wake)
}

fn deed(seen: &Observed, action: &Action, status: &AppStatus) -> Deed {
    let app = seen.app;
    let object = |name: &str| format!("{}/{name}", app.namespace);
    match action {
        Action::SaveRevision { name, number } => {
            let why = format!("revision {number}");
            Deed::one("save revision", object(name), why, Write::create(&revision(app, name, *number)))
        }
        Action::RaiseRevision { name, number } => {
            let patch = json!({ "spec": { "number": number, "template": template_change(seen, name) } });
            let write = Write::patch::<Revision>(&app.namespace, name, patch);
            Deed::one("raise revision", object(name), format!("revision {number}"), write)
        }
        Action::DropRevision { name } => {
            let write = Write::delete(&ObjectKey::of::<Revision>(&app.namespace, name));
            Deed::one("drop revision", object(name), "beyond revisionHistoryLimit", write)
        }
        Action::Create { counter, tasks } => create(seen, *counter, tasks, status),
        Action::Stop { task: stopped, counting_on, why } => {
            Deed::one("stop", object(&stopped.name), format!("{why:?}"), stop(app, stopped, counting_on))
                .noting(notes::of_stop(app, stopped, *why))
        }
    }
}

/// The merge patch that makes the stored template of a Revision that of the App.
fn template_change(seen: &Observed, name: &str) -> Value {
    let tree = |template| serde_json::to_value(template).expect("a template is a tree with text keys");
    let stored = seen.revisions.iter().find(|revision| revision.metadata.name == name);
    stored.map_or(Value::Null, |revision| {
        merge_patch(&tree(&revision.spec.template), &tree(&seen.app.template))
    })
}

/// All in one revision: an old view of the App gives no name out twice.
fn create(seen: &Observed, counter: i64, tasks: &[NewTask], status: &AppStatus) -> Deed {
    let app = seen.app;
    let status = AppStatus { tasks_created: counter, ..status.clone() };
    let mut writes = vec![write_status(app, &status)];
    writes.extend(tasks.iter().map(|born| Write::create(&task(seen, born))));
    let names: Vec<&str> = tasks.iter().map(|born| born.name.as_str()).collect();
    let object = format!("{}/{}", app.namespace, app.name);
    Deed::together("create", object, names.join(" "), writes)
        .noting(notes::of_births(app, tasks))
        .noting(notes::of_status(app, &status))
}

fn write_status(app: &Wanted, status: &AppStatus) -> Write {
    Write::patch_status::<App>(&app.namespace, &app.name, json!({ "status": status }))
        .expecting_uid(&app.uid)
        .expecting_version(&app.resource_version)
}

/// The version is named too: a Task that became available meanwhile was not counted. Where there are too many others
/// to be named, the view was confirmed to be current instead.
fn stop(app: &Wanted, stopped: &TaskRef, counting_on: &[TaskRef]) -> Write {
    let key = |task: &TaskRef| ObjectKey::of::<Task>(&app.namespace, &task.name);
    let named = if counting_on.len() > MOST_COUNTED_ON { &[] } else { counting_on };
    named
        .iter()
        .map(|task| Precondition::at_version(&key(task), &task.uid, &task.resource_version))
        .fold(Write::delete(&key(stopped)), Write::requiring)
        .expecting_uid(&stopped.uid)
        .expecting_version(&stopped.resource_version)
}

pub(super) fn task(seen: &Observed, born: &NewTask) -> Task {
    let (app, template) = (seen.app, seen.template(&born.revision));
    let mut task = Task { spec: template.spec.clone(), ..Task::default() };
    task.metadata = owned(app, &born.name);
    task.metadata.labels.extend(template.metadata.labels.clone());
    task.metadata.labels.insert(APP_LABEL.into(), app.name.clone());
    task.metadata.annotations = template.metadata.annotations.clone();
    if born.failed_before > 0 {
        task.metadata.annotations.insert(FAILED_BEFORE.into(), born.failed_before.to_string());
    }
    if born.restarts_before > 0 {
        task.metadata.annotations.insert(RESTARTS_BEFORE.into(), born.restarts_before.to_string());
    }
    task.spec.ordinal = Some(born.ordinal);
    task.spec.revision = born.revision.clone();
    task
}

fn revision(app: &Wanted, name: &str, number: i64) -> Revision {
    let spec =
        RevisionSpec { number, restart_generation: app.restart_generation, template: app.template.clone() };
    Revision { metadata: owned(app, name), spec, ..Revision::default() }
}

fn owned(app: &Wanted, name: &str) -> ObjectMeta {
    let mut meta = ObjectMeta::named(&app.namespace, name);
    meta.labels.insert(APP_LABEL.into(), app.name.clone());
    meta.owner_references = vec![OwnerReference {
        api_version: BERTH_V1.into(),
        kind: App::KIND.into(),
        name: app.name.clone(),
        uid: app.uid.clone(),
        controller: Some(true),
        block_owner_deletion: None,
    }];
    meta
}
