//! `ctl describe`: the story of an object: what is asked for, what is there, why it differs, what happened last.

mod app;
mod node;
mod task;

use berth_client::Query;
use berth_types::core::{Event, Namespace};
use berth_types::{Clock, ObjectMeta, Resource, SystemClock, Timestamp};
use serde_json::Value;

use super::contents::left_in;
use super::get::fetch;
use crate::api::Api;
use crate::failure::{Exit, Failure};
use crate::manifest::visible;
use crate::output::age::age;
use crate::output::columns;
use crate::output::print;
use crate::output::table::Table;
use crate::output::yaml::yaml;
use crate::request::Selection;

/// Events shown; the last ones tell the most.
const EVENTS: usize = 10;

/// A text that grows by lines `Name:   value`.
#[derive(Debug, Default)]
pub struct Story {
    text: String,
}

impl Story {
    /// A line with a name; none without a value.
    pub fn fact(&mut self, name: &str, value: impl AsRef<str>) {
        let value = visible(value.as_ref());
        if !value.is_empty() {
            self.text.push_str(&format!("{:<14}{value}\n", format!("{name}:")));
        }
    }

    /// A line further in.
    pub fn line(&mut self, text: impl AsRef<str>) {
        self.text.push_str(&format!("  {}\n", visible(text.as_ref())));
    }

    /// A heading.
    pub fn part(&mut self, name: &str) {
        self.text.push_str(&format!("{name}:\n"));
    }

    /// A table further in.
    pub fn table(&mut self, heads: &[&str], rows: &[Vec<String>]) {
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|cell| visible(cell)).collect()).collect();
        let mut table = Table::new(heads.iter().map(|head| (*head).to_owned()).collect());
        table.fit(&rows);
        self.line(table.head());
        rows.iter().for_each(|row| self.line(table.line(row)));
    }
}

/// Tells about every object of the selection.
pub async fn run(api: &Api, selection: &Selection) -> Result<(), Failure> {
    let mut told = 0;
    for target in &selection.targets {
        for object in fetch(api, selection, target).await? {
            if told > 0 {
                print::line("");
            }
            print::raw(story(api, target.kind.kind, &object).await?.text.as_bytes());
            print::settled().await;
            told += 1;
        }
    }
    if told == 0 {
        print::note("nothing found");
    }
    Ok(())
}

async fn story(api: &Api, kind: &str, object: &Value) -> Result<Story, Failure> {
    let now = SystemClock.now();
    let mut story = Story::default();
    let metadata: ObjectMeta = serde_json::from_value(object["metadata"].clone()).unwrap_or_default();
    head(&mut story, kind, &metadata, now);
    match kind {
        "App" => app::describe(api, &mut story, &read(object)?, now).await?,
        "Task" => task::describe(&mut story, &read(object)?, now),
        "Node" => node::describe(api, &mut story, &read(object)?, now).await?,
        "Event" => event(&mut story, &read(object)?, now),
        _ => rest(&mut story, object),
    }
    if kind == Namespace::KIND && metadata.deletion_timestamp.is_some() {
        contents(api, &mut story, &metadata.name).await?;
    }
    conditions(&mut story, object, now);
    events(api, &mut story, &metadata, now).await?;
    Ok(story)
}

fn read<K: Resource>(object: &Value) -> Result<K, Failure> {
    serde_json::from_value(object.clone())
        .map_err(|error| Failure::new(Exit::Failed, format!("could not read a {}: {error}", K::KIND)))
}

fn head(story: &mut Story, kind: &str, metadata: &ObjectMeta, now: Timestamp) {
    story.fact("Name", &metadata.name);
    story.fact("Kind", kind);
    story.fact("Namespace", &metadata.namespace);
    if let Some(owner) = metadata.controller() {
        story.fact("Belongs to", format!("{}/{}", owner.kind.to_lowercase(), owner.name));
    }
    let pairs = |map: &std::collections::BTreeMap<String, String>| {
        map.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
    };
    story.fact("Labels", pairs(&metadata.labels));
    story.fact("Annotations", pairs(&metadata.annotations));
    if let Some(made) = metadata.creation_timestamp {
        story.fact("Created", format!("{made} ({} ago)", age(Some(made), now)));
    }
    if let Some(since) = metadata.deletion_timestamp {
        let held = metadata.finalizers.join(", ");
        let held = if held.is_empty() { String::new() } else { format!(", waits for {held}") };
        story.fact("Deleting", format!("since {} ago{held}", age(Some(since), now)));
    }
}

fn event(story: &mut Story, event: &Event, now: Timestamp) {
    let object = &event.involved_object;
    story.fact("Object", format!("{}/{}", object.kind.to_lowercase(), object.name));
    story.fact("Type", &event.type_);
    story.fact("Reason", &event.reason);
    story.fact("Message", &event.message);
    let seen = |time: Option<Timestamp>| {
        time.map_or_else(String::new, |time| format!("{time} ({} ago)", age(Some(time), now)))
    };
    story.fact("First seen", seen(event.first_timestamp));
    story.fact("Last seen", seen(event.last_timestamp));
    story.fact("Count", event.count.to_string());
    story.fact("Source", &event.source.component);
}

/// What a kind without a story of its own says, as YAML.
fn rest(story: &mut Story, object: &Value) {
    for part in ["spec", "status"] {
        if object[part].as_object().is_some_and(|part| !part.is_empty()) {
            story.part(if part == "spec" { "Spec" } else { "Status" });
            yaml(&object[part]).lines().for_each(|line| story.line(line));
        }
    }
}

/// What a Namespace that is being deleted waits for.
async fn contents(api: &Api, story: &mut Story, namespace: &str) -> Result<(), Failure> {
    let left = left_in(api, namespace).await;
    let left = left.map_err(|error| api.failed(&format!("could not list what is in {namespace}"), &error))?;
    if !left.is_empty() {
        story.part("Still in it");
        left.iter().for_each(|line| story.line(line));
    }
    Ok(())
}

fn conditions(story: &mut Story, object: &Value, now: Timestamp) {
    let text = |condition: &Value, field: &str| condition[field].as_str().unwrap_or_default().to_owned();
    let row = |condition: &Value| {
        let since = Timestamp::parse(&text(condition, "lastTransitionTime")).ok();
        let cells = ["type", "status", "reason"].map(|field| text(condition, field));
        let [name, status, reason] = cells;
        vec![name, status, age(since, now), reason, text(condition, "message")]
    };
    let rows: Vec<Vec<String>> =
        object["status"]["conditions"].as_array().into_iter().flatten().map(row).collect();
    if !rows.is_empty() {
        story.part("Conditions");
        story.table(&["TYPE", "STATUS", "SINCE", "REASON", "MESSAGE"], &rows);
    }
}

async fn events(api: &Api, story: &mut Story, metadata: &ObjectMeta, now: Timestamp) -> Result<(), Failure> {
    let query = Query::of::<Event>().in_namespace(metadata.namespace.clone());
    let listed = api.client.list_as::<Event>(&query).await;
    let listed = listed.map_err(|error| api.failed("could not list events", &error))?;
    let mut events: Vec<Event> = listed.items;
    events.retain(|event| event.involved_object.uid == metadata.uid);
    let time = |event: &Event| event.last_timestamp.or(event.metadata.creation_timestamp);
    events.sort_by_key(time);
    let row = |event: &Event| {
        vec![age(time(event), now), event.type_.clone(), event.reason.clone(), columns::message(event)]
    };
    let rows: Vec<Vec<String>> = events[events.len().saturating_sub(EVENTS)..].iter().map(row).collect();
    if rows.is_empty() {
        return Ok(());
    }
    story.part(if events.len() > EVENTS { "Last events" } else { "Events" });
    story.table(&["AGE", "TYPE", "REASON", "MESSAGE"], &rows);
    Ok(())
}
