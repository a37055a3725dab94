//! What an App and its Revisions keep.

use serde_json::Value;

use crate::app::{App, AppSpec, MOST_GENERATION, RollingUpdate, Strategy, TaskTemplate};
use crate::defaults::Update;
use crate::fault::{Faults, Rule};
use crate::name;
use crate::parcel::CALL_BYTES;
use crate::path::At;
use crate::portion::Round;
use crate::revision::Revision;
use crate::scalar::one_of;
use crate::stand_in;
use crate::task::{IntOrString, TaskSpec};

use super::{Rules, SECONDS, bounded, meta, task};

/// The longest name of an App: with `-` and the ten digits of a Revision it is still a DNS label.
const NAME: usize = name::LABEL_LENGTH - 11;
/// The most Tasks of one App.
const REPLICAS: i64 = 1000;
/// The most old Revisions of one App.
const REVISIONS: i64 = 100;
/// The most bytes of an App as JSON together with those of its template: an App is written whole beside the first Task
/// of its template, in one call of the store. The rest is left to the status and to the Task's metadata.
const WITH_A_TASK: usize = CALL_BYTES - 150_000;
/// The label by which an App's Tasks are found.
const APP_LABEL: &str = "berth.dev/app";

impl Rules for App {
    fn name(name: &str) -> Result<(), String> {
        if name.len() > NAME {
            let why = "because its Tasks are called `<app>-<number>`";
            return Err(format!("must be at most {NAME} characters, {why}, got {}", name.len()));
        }
        name::dns_label(name)
    }

    fn stand_in(object: &Value, path: &str) -> Option<Value> {
        stand_in::of_app(object, path)
    }

    fn check(&self, faults: &mut Faults) {
        let (spec, at) = (&self.spec, At::ROOT.field("spec"));
        bounded(faults, &at.field("replicas"), spec.replicas, 0, REPLICAS);
        bounded(faults, &at.field("minReadySeconds"), spec.min_ready_seconds, 0, SECONDS);
        bounded(faults, &at.field("progressDeadlineSeconds"), spec.progress_deadline_seconds, 1, SECONDS);
        bounded(faults, &at.field("revisionHistoryLimit"), spec.revision_history_limit, 0, REVISIONS);
        bounded(faults, &at.field("restartGeneration"), spec.restart_generation, 0, MOST_GENERATION);
        check_deadline(spec, &at, faults);
        if let Some(strategy) = &spec.strategy {
            check_strategy(strategy, &at.field("strategy"), faults);
        }
        check_template(&spec.template, &at.field("template"), faults);
        check_size(self, &at.field("template"), faults);
        match spec.template.metadata.labels.get(APP_LABEL) {
            Some(app) if *app != self.metadata.name => {
                let (template, message) = (
                    at.field("template"),
                    format!("is set by Berth to the App's name: take it out, got `{app}`"),
                );
                let metadata = template.field("metadata");
                faults.add(&metadata.field("labels").entry(APP_LABEL), Rule::Forbidden, message);
            }
            Some(_) | None => {}
        }
    }
}

impl Rules for Revision {
    fn name(name: &str) -> Result<(), String> {
        name::dns_label(name)
    }

    fn check(&self, faults: &mut Faults) {
        let at = At::ROOT.field("spec");
        bounded(faults, &at.field("number"), Some(self.spec.number), 1, MOST_GENERATION);
        bounded(
            faults,
            &at.field("restartGeneration"),
            Some(self.spec.restart_generation),
            0,
            MOST_GENERATION,
        );
        check_template(&self.spec.template, &at.field("template"), faults);
    }
}

/// A larger template could never become a Task.
fn check_size(app: &App, at: &At, faults: &mut Faults) {
    let (whole, template) = (bytes(app), bytes(&app.spec.template));
    if whole + template <= WITH_A_TASK {
        return;
    }
    let most = WITH_A_TASK.saturating_sub(whole - template) / 2;
    let message = format!(
        "must be at most {most} bytes as JSON beside the rest of this App, got {template}: an App is stored together \
         with its first Task; put large values into the image or into a file of the node, or take several Apps"
    );
    faults.add(at, Rule::Invalid, message);
}

fn bytes(part: &impl serde::Serialize) -> usize {
    serde_json::to_vec(part).map_or(0, |json| json.len())
}

/// A rollout cannot be stuck before its first Task could have become available.
fn check_deadline(spec: &AppSpec, at: &At, faults: &mut Faults) {
    let (deadline, ready) = (spec.progress_deadline().as_secs(), spec.min_ready().as_secs());
    if deadline > ready || deadline == 0 {
        return;
    }
    if spec.progress_deadline_seconds.is_some() {
        let absent = if spec.min_ready_seconds.is_none() { " without a readinessProbe" } else { "" };
        let message = format!("must be more than minReadySeconds, which is {ready}{absent}, got {deadline}");
        faults.add(&at.field("progressDeadlineSeconds"), Rule::Invalid, message);
    } else {
        let message = format!("must be less than progressDeadlineSeconds, which is {deadline}, got {ready}");
        faults.add(&at.field("minReadySeconds"), Rule::Invalid, message);
    }
}

fn check_template(template: &TaskTemplate, at: &At, faults: &mut Faults) {
    let metadata = at.field("metadata");
    meta::labels(&template.metadata.labels, &metadata.field("labels"), faults);
    meta::annotations(&template.metadata.annotations, &metadata.field("annotations"), faults);
    let spec = at.field("spec");
    task::check_spec(&template.spec, &spec, faults);
    let TaskSpec { node_name, node_uid, assigned_ports, ordinal, revision, .. } = &template.spec;
    let given = [
        ("nodeName", !node_name.is_empty(), "to keep Tasks on certain nodes, use nodeSelector"),
        ("nodeUid", !node_uid.is_empty(), "take it out"),
        ("assignedPorts", !assigned_ports.is_empty(), "to ask for a certain port, give it a hostPort"),
        ("ordinal", ordinal.is_some(), "take it out"),
        ("revision", !revision.is_empty(), "take it out"),
    ];
    for (field, _, remedy) in given.iter().filter(|(_, given, _)| *given) {
        let message = format!("must not stand in a template, Berth gives it to each Task; {remedy}");
        faults.add(&spec.field(field), Rule::Forbidden, message);
    }
}

fn check_strategy(strategy: &Strategy, at: &At, faults: &mut Faults) {
    let words = Update::ALL.map(Update::as_str);
    if !strategy.type_.is_empty() && !words.contains(&strategy.type_.as_str()) {
        faults.add(&at.field("type"), Rule::NotSupported, one_of(words.into_iter(), &strategy.type_));
    }
    let Some(update) = &strategy.rolling_update else { return };
    let here = at.field("rollingUpdate");
    if strategy.type_ == Update::Recreate.as_str() {
        let message = "must not stand beside type `Recreate`: take one of both out";
        faults.add(&here, Rule::Forbidden, message);
    }
    check_bounds(update, &here, faults);
}

fn check_bounds(update: &RollingUpdate, at: &At, faults: &mut Faults) {
    // Of 100 a percentage is its own number, so both forms have one bound.
    let mut zeros = 0;
    for (field, given, most) in
        [("maxSurge", &update.max_surge, 1000), ("maxUnavailable", &update.max_unavailable, 100)]
    {
        let Some(given) = given else { continue };
        let here = at.field(field);
        match given.of(100, Round::Down) {
            Err(fault) => faults.add(&here, Rule::Invalid, fault.to_string()),
            Ok(0) => zeros += 1,
            Ok(share) => {
                let (most, unit) = match given {
                    IntOrString::Int(_) => (1000, ""),
                    IntOrString::String(_) => (most, "%"),
                };
                if share > most {
                    faults.add(
                        &here,
                        Rule::Invalid,
                        format!("must be at most {most}{unit}, got {share}{unit}"),
                    );
                }
            }
        }
    }
    if zeros == 2 {
        let message = "must not be 0 when maxSurge is 0: the rollout could never move";
        faults.add(&at.field("maxUnavailable"), Rule::Invalid, message);
    }
}
