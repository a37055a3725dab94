//! The columns of each kind's table: what a person looks at first, and with `-o wide` the rest.

mod task;

use berth_types::app::App;
use berth_types::availability::DISK_PRESSURE;
use berth_types::core::{Event, Namespace};
use berth_types::lease::Lease;
use berth_types::node::Node;
use berth_types::quantity::ResourceList;
use berth_types::revision::Revision;
use berth_types::task::{Container, Task};
use berth_types::{Condition, ConditionStatus, Resource, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::age::age;
use crate::request::Columns;

pub use task::{cause, end, state};

/// A column: its head, and whether only `-o wide` shows it.
type Column = (&'static str, Columns);

const USUAL: Columns = Columns::Usual;
const WIDE: Columns = Columns::Wide;

const APP: &[Column] = &[
    ("READY", USUAL),
    ("UPDATED", USUAL),
    ("AVAILABLE", USUAL),
    ("STATUS", USUAL),
    ("AGE", USUAL),
    ("REVISION", WIDE),
    ("RUNS", WIDE),
];
const TASK: &[Column] = &[
    ("READY", USUAL),
    ("STATUS", USUAL),
    ("RESTARTS", USUAL),
    ("NODE", USUAL),
    ("PORTS", USUAL),
    ("AGE", USUAL),
    ("ADDRESS", WIDE),
    ("REVISION", WIDE),
    ("RUNS", WIDE),
];
const NODE: &[Column] = &[
    ("STATUS", USUAL),
    ("CPU", USUAL),
    ("MEMORY", USUAL),
    ("DISK", USUAL),
    ("AGE", USUAL),
    ("ADDRESS", WIDE),
    ("PORTS", WIDE),
    ("OS", WIDE),
    ("KERNEL", WIDE),
    ("VERSION", WIDE),
];
const REVISION: &[Column] = &[("APP", USUAL), ("NUMBER", USUAL), ("RUNS", USUAL), ("AGE", USUAL)];
const NAMESPACE: &[Column] = &[("STATUS", USUAL), ("AGE", USUAL)];
const EVENT: &[Column] = &[
    ("LAST SEEN", USUAL),
    ("TYPE", USUAL),
    ("REASON", USUAL),
    ("OBJECT", USUAL),
    ("MESSAGE", USUAL),
    ("COUNT", WIDE),
    ("SOURCE", WIDE),
];
const LEASE: &[Column] = &[("HOLDER", USUAL), ("RENEWED", USUAL), ("AGE", USUAL)];

/// The heads of a kind's columns after NAME.
pub fn heads(kind: &str, columns: Columns) -> Vec<String> {
    shown(kind, columns).map(|n| layout(kind)[n].0.to_owned()).collect()
}

/// Whether objects of this kind are known by their name: that of an Event is for machines.
pub fn shows_name(kind: &str, columns: Columns) -> bool {
    kind != Event::KIND || columns == WIDE
}

/// The cells of an object after its name.
pub fn cells(kind: &str, object: &Value, columns: Columns, now: Timestamp) -> Vec<String> {
    let all = all_cells(kind, object, now);
    shown(kind, columns).map(|n| all.get(n).cloned().unwrap_or_default()).collect()
}

fn layout(kind: &str) -> &'static [Column] {
    match kind {
        App::KIND => APP,
        Task::KIND => TASK,
        Node::KIND => NODE,
        Revision::KIND => REVISION,
        Namespace::KIND => NAMESPACE,
        Event::KIND => EVENT,
        Lease::KIND => LEASE,
        _ => &[("AGE", USUAL)],
    }
}

fn shown(kind: &str, columns: Columns) -> impl Iterator<Item = usize> {
    let layout = layout(kind).iter().enumerate();
    layout.filter(move |(_, (_, when))| columns == WIDE || *when == USUAL).map(|(n, _)| n)
}

fn all_cells(kind: &str, object: &Value, now: Timestamp) -> Vec<String> {
    match kind {
        App::KIND => app(&read(object), now),
        Task::KIND => task::cells(&read(object), now),
        Node::KIND => node(&read(object), now),
        Revision::KIND => revision(&read(object), now),
        Namespace::KIND => namespace(&read(object), now),
        Event::KIND => event(&read(object), now),
        Lease::KIND => lease(&read(object), now),
        _ => {
            let made =
                object["metadata"]["creationTimestamp"].as_str().and_then(|text| Timestamp::parse(text).ok());
            vec![age(made, now)]
        }
    }
}

/// An object as its type; empty where a newer server's object does not fit, for a table shows what it can.
fn read<K: DeserializeOwned + Default>(object: &Value) -> K {
    serde_json::from_value(object.clone()).unwrap_or_default()
}

fn app(app: &App, now: Timestamp) -> Vec<String> {
    let status = &app.status;
    vec![
        format!("{}/{}", status.ready_replicas, app.spec.replicas.unwrap_or(1)),
        status.updated_replicas.to_string(),
        status.available_replicas.to_string(),
        app_state(app),
        age(app.metadata.creation_timestamp, now),
        status.current_revision.clone(),
        runs(&app.spec.template.spec.containers),
    ]
}

/// How an App stands, in a word.
pub fn app_state(app: &App) -> String {
    let conditions = &app.status.conditions;
    let reason = Condition::find(conditions, "Progressing").map_or("", |progress| progress.reason.as_str());
    if app.metadata.deleting() {
        "Deleting".into()
    } else if app.status.observed_generation < app.metadata.generation {
        "Pending".into()
    } else if reason == "Complete" {
        "Available".into()
    } else if reason == "ProgressDeadlineExceeded" {
        "Stuck".into()
    } else {
        "RollingOut".into()
    }
}

fn node(node: &Node, now: Timestamp) -> Vec<String> {
    let status = &node.status;
    let amount = |name: &str| left_of(&status.allocatable, &status.capacity, name);
    let info = &status.node_info;
    vec![
        node_state(node),
        amount("cpu"),
        amount("memory"),
        amount("disk"),
        age(node.metadata.creation_timestamp, now),
        status.address.clone(),
        status
            .port_range
            .as_ref()
            .map_or_else(String::new, |range| format!("{}-{}", range.first, range.last)),
        format!("{}/{}", info.operating_system, info.architecture),
        info.kernel_version.clone(),
        info.agent_version.clone(),
    ]
}

/// How a Node stands, in a word or two.
pub fn node_state(node: &Node) -> String {
    let ready = match Condition::find(&node.status.conditions, "Ready").map(|ready| ready.status) {
        Some(ConditionStatus::True) => "Ready",
        Some(ConditionStatus::False) => "NotReady",
        Some(ConditionStatus::Unknown) | None => "Unknown",
    };
    let cordoned = if node.spec.unschedulable { ",Cordoned" } else { "" };
    let full = if Condition::holds(&node.status.conditions, DISK_PRESSURE) { ",DiskPressure" } else { "" };
    let deleting = if node.metadata.deleting() { ",Deleting" } else { "" };
    format!("{ready}{cordoned}{full}{deleting}")
}

fn left_of(allocatable: &ResourceList, capacity: &ResourceList, name: &str) -> String {
    let amount = allocatable.get(name).or_else(|| capacity.get(name));
    amount.map_or_else(|| "-".into(), |amount| readable(name, amount))
}

/// An amount as a person reads it: bytes in the largest unit that keeps three digits.
fn readable(name: &str, amount: &berth_types::Quantity) -> String {
    let Ok(bytes) = amount.bytes() else { return amount.to_string() };
    if name == "cpu" {
        return amount.to_string();
    }
    let (mut size, mut unit) = (bytes.0 as f64, "");
    for larger in ["Ki", "Mi", "Gi", "Ti"] {
        if size < 1024.0 {
            break;
        }
        (size, unit) = (size / 1024.0, larger);
    }
    if size < 10.0 && !unit.is_empty() { format!("{size:.1}{unit}") } else { format!("{size:.0}{unit}") }
}

fn revision(revision: &Revision, now: Timestamp) -> Vec<String> {
    vec![
        revision.metadata.controller().map_or_else(|| "-".into(), |app| app.name.clone()),
        revision.spec.number.to_string(),
        runs(&revision.spec.template.spec.containers),
        age(revision.metadata.creation_timestamp, now),
    ]
}

fn namespace(namespace: &Namespace, now: Timestamp) -> Vec<String> {
    let phase = if namespace.metadata.deleting() { "Terminating" } else { "Active" };
    vec![phase.into(), age(namespace.metadata.creation_timestamp, now)]
}

fn event(event: &Event, now: Timestamp) -> Vec<String> {
    let about = &event.involved_object;
    vec![
        age(event.last_timestamp.or(event.metadata.creation_timestamp), now),
        event.type_.clone(),
        event.reason.clone(),
        format!("{}/{}", about.kind.to_lowercase(), about.name),
        message(event),
        event.count.max(1).to_string(),
        event.source.component.clone(),
    ]
}

/// What an Event says, and how often it was so.
pub fn message(event: &Event) -> String {
    let count = if event.count > 1 { format!(" (x{})", event.count) } else { String::new() };
    format!("{}{count}", event.message)
}

fn lease(lease: &Lease, now: Timestamp) -> Vec<String> {
    let holder = &lease.spec.holder_identity;
    vec![
        if holder.is_empty() { "-".into() } else { holder.clone() },
        age(lease.spec.renew_time, now),
        age(lease.metadata.creation_timestamp, now),
    ]
}

/// What containers run: the image, or the command without one.
pub fn runs(containers: &[Container]) -> String {
    let one = |container: &Container| {
        if !container.image.is_empty() {
            return container.image.clone();
        }
        let words: Vec<String> = container.command.iter().chain(&container.args).cloned().collect();
        let line = words.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
        if line.chars().count() <= 40 { line } else { line.chars().take(37).chain("...".chars()).collect() }
    };
    containers.iter().map(one).collect::<Vec<_>>().join(", ")
}
