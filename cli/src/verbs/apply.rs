//! `ctl apply`: server-side apply of every document, after all of them were found good.

use berth_client::{Effect, Error, ObjectKey, Write, Written};
use berth_types::Fault;
use berth_types::fault::Rule;
use berth_types::status::FIELD_MANAGER_CONFLICT;

use crate::api::Api;
use crate::args::DryRun;
use crate::failure::{Exit, Failure};
use crate::manifest::{Document, Reading, read, report};
use crate::output::print;
use crate::request::{Apply, Conflicts};
use crate::waiting;

use super::answer::{self, TAKE_FROM};
use super::rollout;

/// Who applies.
const MANAGER: &str = "ctl";
/// What only the server says of an object: an applied dump of it must not insist on it.
const GIVEN_BY_SERVER: [&str; 7] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
];

/// Applies the manifests.
pub async fn run(api: impl FnOnce() -> Result<Api, Failure>, task: &Apply) -> Result<(), Failure> {
    let mut reading = read(&task.inputs);
    place(&mut reading, task.namespace.as_deref());
    if let Some(report) = reading.report("nothing was applied") {
        print::message(&report);
        return Err(Failure::reported(Exit::Usage));
    }
    if reading.documents.is_empty() {
        print::note("there is no object in the manifests");
    }
    // What others live in comes first.
    reading.documents.sort_by_key(|document| document.kind.kind != "Namespace");
    if task.reach == DryRun::Client {
        for document in &reading.documents {
            print::line(&format!("{} is valid (dry run, the server was not asked)", document.name()));
        }
        return Ok(());
    }
    let api = api()?;
    apply_all(&api, task, &reading.documents).await?;
    let apps = reading.documents.iter().filter(|document| document.kind.kind == "App");
    match task.wait.filter(|_| task.reach == DryRun::None) {
        None => Ok(()),
        Some(patience) => {
            let apps: Vec<ObjectKey> = apps.map(|document| ObjectKey::in_json(&document.value)).collect();
            let awaited = apps.iter().map(rollout::awaited).collect();
            let meanwhile = rollout::meanwhile(&api, &apps);
            waiting::all(&api, awaited, patience, "the rollout", &meanwhile).await
        }
    }
}

/// Gives every object a Namespace that needs one, and takes away what only a server says.
fn place(reading: &mut Reading, namespace: Option<&str>) {
    let documents = std::mem::take(&mut reading.documents);
    for mut document in documents {
        if let Some(metadata) = document.value["metadata"].as_object_mut() {
            GIVEN_BY_SERVER.iter().for_each(|field| drop(metadata.remove(*field)));
            if document.kind.namespaced && !metadata.contains_key("namespace") {
                metadata.insert("namespace".into(), namespace.unwrap_or("default").into());
            }
        }
        if let Some(object) = document.value.as_object_mut() {
            object.remove("status");
        }
        let given = document.value["metadata"]["namespace"].as_str();
        match (given, namespace) {
            (Some(given), Some(asked)) if given != asked => {
                let message = format!("is `{given}`, but the command line says --namespace {asked}");
                reading.reject(vec![document.trouble(&Fault::new(
                    "metadata.namespace",
                    Rule::Invalid,
                    message,
                ))]);
            }
            _ => reading.documents.push(document),
        }
    }
}

async fn apply_all(api: &Api, task: &Apply, documents: &[Document]) -> Result<(), Failure> {
    let mut refused: Vec<Exit> = Vec::new();
    for document in documents {
        if let Err(exit) = apply_one(api, task, document).await? {
            refused.push(exit);
        }
    }
    let Some(exit) = refused.first() else { return Ok(()) };
    if documents.len() > 1 {
        let done = documents.len() - refused.len();
        let lost = refused.len();
        print::note(&format!("{lost} of {} objects were not applied; {done} were", documents.len()));
    }
    Err(Failure::reported(*exit))
}

/// Applies one document. A refusal is told here and does not keep the others from being applied.
async fn apply_one(api: &Api, task: &Apply, document: &Document) -> Result<Result<(), Exit>, Failure> {
    let step = format!("could not apply {}", document.name());
    let mut write = Write::apply(&document.value, MANAGER).taking_from(&TAKE_FROM);
    if task.conflicts == Conflicts::Force {
        write = write.forced();
    }
    if task.reach == DryRun::Server {
        write = write.dry_run();
    }
    match api.client.send_and_hear(&write).await {
        Ok((_, written)) => {
            report_done(task, document, &written);
            Ok(Ok(()))
        }
        Err(error) => refusal(api, &step, document, &error),
    }
}

fn report_done(task: &Apply, document: &Document, written: &Written) {
    let what = match written.effect {
        Effect::Created => "created",
        Effect::Configured => "configured",
        Effect::Unchanged => "unchanged",
        Effect::Deleted => "deleted",
        Effect::Unknown => "applied",
    };
    let only_asked = if task.reach == DryRun::Server { " (server dry run)" } else { "" };
    print::line(&format!("{} {what}{only_asked}", document.name()));
    answer::report(&document.name(), written);
}

fn refusal(api: &Api, step: &str, document: &Document, error: &Error) -> Result<Result<(), Exit>, Failure> {
    let failure = api.failed(step, error);
    if failure.exit == Exit::Unreachable {
        return Err(failure);
    }
    let status = error.status();
    let troubles: Vec<_> = status.details.causes.iter().map(|cause| document.refused(cause)).collect();
    if troubles.is_empty() {
        print::message(&failure.to_string());
    } else {
        print::message(&report(&troubles, 1, 1, &format!("{} was not applied", document.name())));
    }
    if status.has_cause(FIELD_MANAGER_CONFLICT) {
        print::note("hint: --force-conflicts takes these fields over from whoever set them");
    }
    Ok(Err(failure.exit))
}
