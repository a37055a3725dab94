//! A Task's row, and in a word how it goes.

use berth_types::task::{ContainerStatus, Task, Terminated};
use berth_types::{Condition, ConditionStatus, Timestamp};

use super::runs;
use crate::output::age::age;

/// The cells of a Task after its name.
pub fn cells(task: &Task, now: Timestamp) -> Vec<String> {
    let statuses = &task.status.container_statuses;
    let ready = statuses.iter().filter(|container| container.ready).count();
    let restarts: u32 = statuses.iter().map(|container| container.restart_count).sum();
    let node = &task.spec.node_name;
    vec![
        format!("{ready}/{}", task.spec.containers.len()),
        state(task),
        restarts.to_string(),
        if node.is_empty() { "-".into() } else { node.clone() },
        ports(task),
        age(task.metadata.creation_timestamp, now),
        task.status.host_ip.clone(),
        task.spec.revision.clone(),
        runs(&task.spec.containers),
    ]
}

/// How a Task goes, in a word: its phase, or the reason that says more.
pub fn state(task: &Task) -> String {
    let conditions = &task.status.conditions;
    let refused =
        |name: &str| Condition::find(conditions, name).filter(|found| found.status == ConditionStatus::False);
    let phase = match task.status.phase.as_str() {
        "" => "Pending",
        phase => phase,
    };
    if matches!(phase, "Succeeded" | "Failed") {
        let reason = &task.status.reason;
        return if reason.is_empty() { phase.into() } else { reason.clone() };
    }
    if let Some(away) = refused("Reachable") {
        return away.reason.clone();
    }
    if task.metadata.deleting() {
        return "Stopping".into();
    }
    if let Some(unplaced) = refused("Scheduled") {
        return unplaced.reason.clone();
    }
    let waiting =
        task.status.container_statuses.iter().find_map(|container| container.state.waiting.as_ref());
    match waiting {
        Some(waiting) if waiting.reason != "Creating" && !waiting.reason.is_empty() => waiting.reason.clone(),
        Some(_) | None => phase.into(),
    }
}

/// Why a Task is not as it should be; none while all is well.
pub fn cause(task: &Task) -> Option<String> {
    let conditions = &task.status.conditions;
    let refused =
        |name: &str| Condition::find(conditions, name).filter(|found| found.status == ConditionStatus::False);
    if !task.status.message.is_empty() {
        return Some(task.status.message.clone());
    }
    if let Some(condition) = refused("Reachable").or_else(|| refused("Scheduled")) {
        return Some(condition.message.clone()).filter(|message| !message.is_empty());
    }
    let stumbling = task.status.container_statuses.iter().find_map(stumble);
    stumbling
        .or_else(|| refused("Ready").map(|ready| ready.message.clone()).filter(|message| !message.is_empty()))
}

fn stumble(container: &ContainerStatus) -> Option<String> {
    let ended = container.state.terminated.as_ref().or(container.last_state.terminated.as_ref());
    let waiting = container.state.waiting.as_ref().filter(|waiting| waiting.reason != "Creating");
    let waits =
        waiting.map(|waiting| [waiting.reason.as_str(), &waiting.message].join(" ").trim().to_owned());
    match (waits, ended) {
        (Some(waits), Some(ended)) => Some(format!("{}: {}; {waits}", container.name, end(ended))),
        (Some(waits), None) => Some(format!("{}: {waits}", container.name)),
        (None, Some(ended)) if container.state.terminated.is_some() => {
            Some(format!("{}: {}", container.name, end(ended)))
        }
        (None, _) => None,
    }
}

/// How an attempt ended, as `OOMKilled, exit code 137`.
pub fn end(ended: &Terminated) -> String {
    let reason = if ended.reason.is_empty() { "ended" } else { &ended.reason };
    let message = if ended.message.is_empty() { String::new() } else { format!(" ({})", ended.message) };
    format!("{reason}, exit code {}{message}", ended.exit_code)
}

/// Ports as `http=31000`.
fn ports(task: &Task) -> String {
    let assigned = task.spec.assigned_ports.iter().map(|port| format!("{}={}", port.name, port.port));
    let fixed = task
        .spec
        .containers
        .iter()
        .flat_map(|container| &container.ports)
        .filter_map(|port| port.host_port.map(|number| format!("{}={number}", port.name)));
    let mut ports: Vec<String> = assigned.chain(fixed).collect();
    ports.sort();
    ports.dedup();
    if ports.is_empty() { "-".into() } else { ports.join(",") }
}
