//! What of an App's doings is told to people.

use berth_runtime::{Note, Weight, reference};
use berth_types::Condition;
use berth_types::app::{App, AppStatus};

use super::observed::Wanted;
use super::plan::{NewTask, StopReason, TaskRef};
use super::status::{COMPLETE, EXCEEDED};

/// What is worth telling when the status becomes `after`: a rollout that begins, ends, or does not get on.
pub fn of_status(app: &Wanted, after: &AppStatus) -> Vec<Note> {
    let before = &app.status;
    let mut notes = Vec::new();
    if after.current_revision != before.current_revision {
        let text = format!("{} replicas to revision {}", app.replicas, after.current_revision);
        notes.push(note(app, Weight::Normal, "RolloutStarted", text));
    }
    if after.halted_revision != before.halted_revision {
        let text = format!("revision {} took down the agents of several nodes", after.halted_revision);
        notes.push(note(app, Weight::Warning, "RevisionHalted", text));
    }
    let progress = |status: &AppStatus| Condition::find(&status.conditions, "Progressing").cloned();
    let reason = |condition: &Option<Condition>| condition.as_ref().map(|it| it.reason.clone());
    let (was, is) = (progress(before), progress(after));
    if reason(&was) == reason(&is) {
        return notes;
    }
    match is {
        Some(done) if done.reason == COMPLETE => {
            let text = format!(
                "{0} of {0} replicas are available on revision {1}",
                app.replicas, after.current_revision
            );
            notes.push(note(app, Weight::Normal, "Available", text));
        }
        Some(stuck) if stuck.reason == EXCEEDED => {
            notes.push(note(app, Weight::Warning, EXCEEDED, stuck.message));
        }
        Some(_) | None => {}
    }
    notes
}

/// What is worth telling when a Task is told to stop: that it was lost.
pub fn of_stop(app: &Wanted, task: &TaskRef, why: StopReason) -> Option<Note> {
    match why {
        StopReason::GivenUp => {
            let text = format!("{} is lost with its node, and replaced", task.name);
            Some(note(app, Weight::Warning, "TaskReplaced", text))
        }
        StopReason::Surplus
        | StopReason::Outdated
        | StopReason::Doubled
        | StopReason::Halted
        | StopReason::AppDeleted => None,
    }
}

/// What is worth telling when Tasks are made: that they take the place of failed ones.
pub fn of_births(app: &Wanted, tasks: &[NewTask]) -> Vec<Note> {
    let failed = tasks.iter().filter(|task| task.failed_before > 0);
    let told = failed.map(|task| {
        let text = format!("the Task of ordinal {} failed and is made again", task.ordinal);
        note(app, Weight::Warning, "TaskReplaced", text)
    });
    told.collect()
}

fn note(app: &Wanted, weight: Weight, reason: &str, text: String) -> Note {
    Note::on(reference::<App>(&app.namespace, &app.name, &app.uid), weight, reason, text)
}
