//! `ctl rollout`: how an App comes to its template, and back.

use berth_client::{ObjectKey, Query, Write, merge_patch};
use berth_types::app::App;
use berth_types::revision::Revision;
use berth_types::{Clock, Condition, Resource, SystemClock, Timestamp};
use serde_json::{Value, json};

use super::answer;
use super::refusals::Refusals;
use crate::api::Api;
use crate::failure::{Exit, Failure};
use crate::output::age::age;
use crate::output::columns::runs;
use crate::output::print;
use crate::output::table::Table;
use crate::request::{RolloutStatus, Selection};
use crate::waiting::{self, Awaited, Verdict};

/// Who undoes and restarts.
const MANAGER: &str = "ctl-rollout";

/// Waits for the rollouts, or says how they stand.
pub async fn status(api: &Api, task: &RolloutStatus) -> Result<(), Failure> {
    let keys = keys(api, &task.selection).await?;
    let Some(patience) = task.wait else {
        for key in &keys {
            let app = get(api, key).await?;
            print::line(&format!("app/{}: {}", key.name, said(&verdict(Some(&app)))));
            print::settled().await;
        }
        return Ok(());
    };
    // One that is not there now is a mistyped name; only later it means that somebody deleted it.
    for key in &keys {
        get(api, key).await?;
    }
    let meanwhile = meanwhile(api, &keys);
    waiting::all(api, keys.iter().map(awaited).collect(), patience, "the rollout", &meanwhile).await?;
    keys.iter().for_each(|key| print::line(&format!("app/{} is rolled out", key.name)));
    Ok(())
}

/// The end of an App's rollout, as something to wait for.
pub fn awaited(key: &ObjectKey) -> Awaited<'static> {
    Awaited { name: format!("app/{}", key.name), key: key.clone(), judge: &verdict }
}

/// What is said when a wait for rollouts is interrupted.
pub fn meanwhile(api: &Api, keys: &[ObjectKey]) -> String {
    let apps = keys.iter().map(|key| (format!("app/{}", key.name), key));
    format!("it goes on; watch it by `{}`", api.command_about("rollout status", apps))
}

/// Goes back to an earlier template.
pub async fn undo(api: &Api, selection: &Selection, to: Option<i64>) -> Result<(), Failure> {
    let mut refusals = Refusals::default();
    for key in keys(api, selection).await? {
        let step = format!("could not undo app/{}", key.name);
        let outcome = decided(api, &key, &step, async |app| {
            let history = revisions(api, app).await?;
            let target = target(app, &history, to).ok_or_else(|| no_target(api, app, to))?;
            let number = target.spec.number;
            if target.spec.template.meaning() == app.spec.template.meaning() {
                return Ok((
                    None,
                    format!("app/{} unchanged, it has the template of revision {number}", key.name),
                ));
            }
            let json = |template| serde_json::to_value(template).expect("a template is JSON");
            let template = merge_patch(&json(&app.spec.template), &json(&target.spec.template));
            let patch = json!({"spec": {"template": template}});
            Ok((Some(patch), format!("app/{} goes back to revision {number}", key.name)))
        });
        refusals.note(outcome.await)?;
    }
    refusals.end(Ok(()))
}

/// Replaces every Task by the rules of a rolling update.
pub async fn restart(api: &Api, selection: &Selection) -> Result<(), Failure> {
    let mut refusals = Refusals::default();
    for key in keys(api, selection).await? {
        let step = format!("could not restart app/{}", key.name);
        let outcome = decided(api, &key, &step, async |app| {
            // The server refuses one that is too large.
            let next = app.spec.restart_generation.unwrap_or(0).saturating_add(1);
            let patch = json!({"spec": {"restartGeneration": next}});
            Ok((Some(patch), format!("app/{} restarts", key.name)))
        });
        refusals.note(outcome.await)?;
    }
    refusals.end(Ok(()))
}

/// Carries out what `decide` makes of an App (a patch, if there is something to do, and what to say), on the spec that it
/// saw: a status that is written meanwhile does not stand against it, another spec does. Reports it and what the server
/// warns of.
async fn decided(
    api: &Api,
    key: &ObjectKey,
    step: &str,
    decide: impl AsyncFn(&App) -> Result<(Option<Value>, String), Failure>,
) -> Result<(), Failure> {
    let seen: App = typed(&get(api, key).await?, key)?;
    let (patch, said) = decide(&seen).await?;
    let Some(patch) = patch else {
        print::line(&said);
        return Ok(());
    };
    let write = Write::patch_json(key, &patch).of_the_spec(&seen).by(MANAGER);
    let written = api.client.send_and_hear(&write).await;
    let (_, written) = written.map_err(|error| api.failed(step, &error))?;
    print::line(&said);
    answer::report(&format!("app/{}", key.name), &written);
    Ok(())
}

/// Lists the templates that can be gone back to.
pub async fn history(api: &Api, selection: &Selection) -> Result<(), Failure> {
    for key in keys(api, selection).await? {
        let app: App = typed(&get(api, &key).await?, &key)?;
        let rows: Vec<Vec<String>> = revisions(api, &app)
            .await?
            .iter()
            .map(|revision| row(&app, revision, SystemClock.now()))
            .collect();
        let mut table = Table::new(["REVISION", "NAME", "CURRENT", "RUNS", "AGE"].map(String::from).to_vec());
        table.fit(&rows);
        print::line(&table.head());
        rows.iter().for_each(|row| print::line(&table.line(row)));
        print::settled().await;
    }
    Ok(())
}

fn row(app: &App, revision: &Revision, now: Timestamp) -> Vec<String> {
    let current = revision.metadata.name == app.status.current_revision;
    vec![
        revision.spec.number.to_string(),
        revision.metadata.name.clone(),
        if current { "*".into() } else { String::new() },
        runs(&revision.spec.template.spec.containers),
        age(revision.metadata.creation_timestamp, now),
    ]
}

/// How the rollout of an App stands.
pub fn verdict(object: Option<&Value>) -> Verdict {
    let Some(object) = object else { return Verdict::Never("it does not exist".into()) };
    let Ok(app) = serde_json::from_value::<App>(object.clone()) else {
        return Verdict::Never("it cannot be read".into());
    };
    if app.metadata.deleting() {
        return Verdict::Never("it is being deleted".into());
    }
    if app.status.observed_generation < app.metadata.generation {
        return Verdict::Waits("the controller has not seen the latest change yet".into());
    }
    let Some(progress) = Condition::find(&app.status.conditions, "Progressing") else {
        return Verdict::Waits("the controller has not begun".into());
    };
    match progress.reason.as_str() {
        "Complete" => Verdict::Done,
        "ProgressDeadlineExceeded" => {
            let deadline = app.spec.progress_deadline_seconds.unwrap_or(600);
            Verdict::Never(format!("no progress for {deadline} s; {}", progress.message))
        }
        _ => Verdict::Waits(progress.message.clone()),
    }
}

fn said(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Done => "rolled out",
        Verdict::Waits(why) | Verdict::Never(why) => why,
    }
}

/// The Apps of a selection.
pub async fn keys(api: &Api, selection: &Selection) -> Result<Vec<ObjectKey>, Failure> {
    Ok(super::wait::keys(api, selection).await?.into_iter().map(|(_, key)| key).collect())
}

/// An App that must exist.
pub async fn get(api: &Api, key: &ObjectKey) -> Result<Value, Failure> {
    let found = api
        .find(key)
        .await
        .map_err(|error| api.failed(&format!("could not get app/{}", key.name), &error))?;
    found.ok_or_else(|| Failure::new(Exit::Failed, format!("app/{} not found", key.name)))
}

fn typed(object: &Value, key: &ObjectKey) -> Result<App, Failure> {
    serde_json::from_value(object.clone())
        .map_err(|error| Failure::new(Exit::Failed, format!("could not read app/{}: {error}", key.name)))
}

/// The Revisions of an App, the oldest first.
async fn revisions(api: &Api, app: &App) -> Result<Vec<Revision>, Failure> {
    let query = Query::of::<Revision>().in_namespace(app.metadata.namespace.clone());
    let listed = api.client.list_as::<Revision>(&query).await;
    let listed = listed.map_err(|error| api.failed("could not list revisions", &error))?;
    let owned = |revision: &Revision| {
        revision.meta().owner_references.iter().any(|owner| owner.uid == app.metadata.uid)
    };
    let mut revisions: Vec<Revision> = listed.items.into_iter().filter(owned).collect();
    revisions.sort_by_key(|revision| revision.spec.number);
    Ok(revisions)
}

/// The Revision of this number, or the newest that means something else than the spec: the controllers may not have seen
/// the spec yet, and then the newest is what ran before.
fn target<'a>(app: &App, history: &'a [Revision], to: Option<i64>) -> Option<&'a Revision> {
    match to {
        Some(number) => history.iter().find(|revision| revision.spec.number == number),
        None => {
            let present = app.spec.template.meaning();
            history.iter().rev().find(|revision| revision.spec.template.meaning() != present)
        }
    }
}

fn no_target(api: &Api, app: &App, to: Option<i64>) -> Failure {
    let name = &app.metadata.name;
    let message = match to {
        Some(number) => format!("app/{name} has no revision {number}"),
        None => format!("app/{name} has no earlier template to go back to"),
    };
    Failure::new(Exit::Failed, message).hint(format!(
        "`{}` lists them",
        api.command(&format!("rollout history app/{name}"), &app.metadata.namespace)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_undo_goes_to_the_template_before_the_one_in_the_spec() {
        let template = |text: &str, more: Value| {
            let container = json!({"name": "a", "command": [text], "resources": {"requests": more}});
            json!({"spec": {"containers": [container]}})
        };
        let one = || template("one", json!({"cpu": 1}));
        let (two, three) = (template("two", json!({})), template("three", json!({})));
        let revision = |number: i64, template: &Value| -> Revision {
            let name = format!("web-{number}");
            serde_json::from_value(
                json!({"metadata": {"name": name}, "spec": {"number": number, "template": template}}),
            )
            .unwrap()
        };
        let history = [revision(3, &one()), revision(4, &two), revision(5, &three)];
        let goes_to = |spec: Value, status: &str, to: Option<i64>| {
            let tree = json!({"metadata": {"name": "web"}, "spec": {"template": spec}, "status": {"currentRevision": status}});
            let app: App = serde_json::from_value(tree).unwrap();
            target(&app, &history, to).map(|found| found.spec.number)
        };
        // The controllers have seen the spec, or have not: a new one, or an old one that is asked for again.
        assert_eq!(goes_to(three.clone(), "web-5", None), Some(4));
        assert_eq!(goes_to(template("four", json!({})), "web-5", None), Some(5));
        assert_eq!(goes_to(one(), "web-5", None), Some(5));
        // The same in other words is the same.
        assert_eq!(goes_to(template("one", json!({"cpu": "1000m"})), "web-5", None), Some(5));
        let last = [revision(1, &two), revision(2, &one())];
        let app: App =
            serde_json::from_value(json!({"spec": {"template": template("one", json!({"cpu": "1.0"}))}}))
                .unwrap();
        assert_eq!(target(&app, &last, None).unwrap().spec.number, 1);
        assert!(target(&app, &last[1..], None).is_none());
        assert_eq!(goes_to(three.clone(), "web-5", Some(3)), Some(3));
        assert_eq!(goes_to(three.clone(), "web-5", Some(5)), Some(5));
        assert_eq!(goes_to(three, "web-5", Some(7)), None);
    }

    fn app(reason: &str, observed: i64) -> Value {
        let condition = json!({"type": "Progressing", "status": "False", "reason": reason, "message": "because",
            "lastTransitionTime": "2026-11-21T08:00:00Z"});
        json!({"metadata": {"generation": 2}, "status": {"observedGeneration": observed, "conditions": [condition]}})
    }

    #[test]
    fn a_rollout_that_cannot_end_is_left_at_once() {
        for (object, verdict) in [
            (None, Verdict::Never("it does not exist".into())),
            (
                Some(app("Complete", 1)),
                Verdict::Waits("the controller has not seen the latest change yet".into()),
            ),
            (Some(app("Complete", 2)), Verdict::Done),
            (Some(app("RollingOut", 2)), Verdict::Waits("because".into())),
            (
                Some(app("ProgressDeadlineExceeded", 2)),
                Verdict::Never("no progress for 600 s; because".into()),
            ),
        ] {
            assert_eq!(super::verdict(object.as_ref()), verdict);
        }
    }
}
