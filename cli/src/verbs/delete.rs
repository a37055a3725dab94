//! `ctl delete`: asks for the deletion of objects and waits until they are gone.

mod nodes;

pub use nodes::tasks_on;

use std::time::Instant;

use berth_client::{Error, ObjectKey, Query, Write};
use berth_types::Resource;
use berth_types::app::App;
use berth_types::kinds::Kind;
use berth_types::task::Task;
use serde_json::Value;

use super::contents;
use super::refusals::Refusals;
use super::wait::{keys, lingers};
use crate::api::Api;
use crate::args::Cascade;
use crate::failure::{Exit, Failure};
use crate::manifest::read;
use crate::output::print;
use crate::request::{Absent, BusyNodes, Delete, Patience, Scope};
use crate::waiting::{self, Awaited, Verdict};

/// Something to delete.
struct Doomed {
    name: String,
    key: ObjectKey,
    /// Only this one: an object of the same name made meanwhile is not meant.
    uid: Option<String>,
}

/// Deletes the objects.
pub async fn run(api: impl FnOnce() -> Result<Api, Failure>, task: &Delete) -> Result<(), Failure> {
    let from_files = from_manifests(task)?;
    let api = api()?;
    let mut doomed: Vec<Doomed> = keys(&api, &task.selection)
        .await?
        .into_iter()
        .map(|(name, key)| Doomed { name, key, uid: None })
        .chain(from_files)
        .collect();
    if task.busy_nodes == BusyNodes::Ask {
        nodes::agree(&api, &doomed).await?;
    }
    let mut refusals = Refusals::default();
    let mut asked = Vec::new();
    for mut one in doomed.drain(..) {
        if refusals.note(delete(&api, task, &mut one).await)? == Some(true) {
            asked.push(one);
        }
    }
    refusals.end(wait(&api, task, &asked).await)
}

/// What manifests name, in the reverse of the order in which they are applied.
fn from_manifests(task: &Delete) -> Result<Vec<Doomed>, Failure> {
    let mut reading = read(&task.inputs);
    if let Some(report) = reading.report("nothing was deleted") {
        print::message(&report);
        return Err(Failure::reported(Exit::Usage));
    }
    reading.documents.sort_by_key(|document| document.kind.kind == "Namespace");
    let key = |value: &Value, kind: &Kind| {
        let mut key = ObjectKey::in_json(value);
        if let (true, Scope::One(namespace)) =
            (kind.namespaced && key.namespace.is_empty(), &task.selection.scope)
        {
            key.namespace.clone_from(namespace);
        }
        key
    };
    let documents = reading.documents.iter();
    Ok(documents
        .map(|document| Doomed { name: document.name(), key: key(&document.value, document.kind), uid: None })
        .collect())
}

/// Asks for the deletion; false when there was nothing to delete, which is fine where it may be.
async fn delete(api: &Api, task: &Delete, one: &mut Doomed) -> Result<bool, Failure> {
    let mut write = Write::delete(&one.key);
    if task.cascade == Cascade::Orphan {
        write = write.orphaning();
    }
    if let Some(seconds) = task.grace {
        write = write.with_grace_seconds(seconds.into());
    }
    match api.client.write(&write).await {
        Ok(object) => {
            one.uid = object["metadata"]["uid"].as_str().map(str::to_owned);
            if task.wait.is_none() {
                print::line(&format!("{} is being deleted", one.name));
            }
            Ok(true)
        }
        Err(Error::NotFound(_)) if task.absent == Absent::Passes => Ok(false),
        Err(Error::NotFound(_)) => Err(Failure::new(Exit::Failed, format!("{} not found", one.name))),
        Err(error) => Err(api.failed(&format!("could not delete {}", one.name), &error)),
    }
}

/// Waits until the objects are gone, and with an App its Tasks: they run for a while after nobody asks for them.
async fn wait(api: &Api, task: &Delete, asked: &[Doomed]) -> Result<(), Failure> {
    let Some(patience) = task.wait else { return Ok(()) };
    let began = Instant::now();
    until_gone(api, asked, patience).await?;
    if task.cascade == Cascade::Background {
        let patience = patience.map(|patience| patience.saturating_sub(began.elapsed()));
        until_gone(api, &tasks_of(api, asked).await?, patience).await?;
    }
    asked.iter().for_each(|one| print::line(&format!("{} deleted", one.name)));
    Ok(())
}

async fn until_gone(api: &Api, doomed: &[Doomed], patience: Patience) -> Result<(), Failure> {
    let judges: Vec<_> = doomed.iter().map(|one| move |object: Option<&Value>| gone(one, object)).collect();
    let awaited = doomed.iter().zip(&judges);
    let awaited = awaited.map(|(one, judge)| Awaited { name: one.name.clone(), key: one.key.clone(), judge });
    let left = doomed.iter().map(|one| (one.name.clone(), &one.key));
    let meanwhile = format!("the deletion goes on; see what is left by `{}`", api.command_about("get", left));
    let done = waiting::all(api, awaited.collect(), patience, "the deletion", &meanwhile).await;
    contents::explained(api, doomed.iter().map(|one| &one.key), done).await
}

/// The Tasks that belonged to Apps that are gone.
async fn tasks_of(api: &Api, gone: &[Doomed]) -> Result<Vec<Doomed>, Failure> {
    let mut found = Vec::new();
    for app in gone.iter().filter(|one| one.key.kind.kind == App::KIND) {
        let query = Query::of::<Task>().in_namespace(app.key.namespace.clone());
        let listed = api.client.list_as::<Task>(&query).await;
        let tasks = listed
            .map_err(|error| api.failed(&format!("could not list tasks of {}", app.name), &error))?
            .items;
        let owned = |task: &&Task| {
            task.metadata.owner_references.iter().any(|owner| Some(&owner.uid) == app.uid.as_ref())
        };
        found.extend(tasks.iter().filter(owned).map(|task| Doomed {
            name: format!("task/{}", task.metadata.name),
            key: ObjectKey::to(task),
            uid: Some(task.metadata.uid.clone()),
        }));
    }
    Ok(found)
}

fn gone(one: &Doomed, object: Option<&Value>) -> Verdict {
    match object {
        None => Verdict::Done,
        Some(object) if one.uid.is_some() && object["metadata"]["uid"].as_str() != one.uid.as_deref() => {
            Verdict::Done
        }
        Some(object) => Verdict::Waits(lingers(object)),
    }
}
