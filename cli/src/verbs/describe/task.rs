//! The story of a Task.

use berth_types::Timestamp;
use berth_types::task::{ContainerStatus, Task};

use super::{Story, app};
use crate::output::age::age;
use crate::output::columns::{cause, end, state};

/// Tells where a Task is, how each container goes, and why it is not as it should be.
pub fn describe(story: &mut Story, task: &Task, now: Timestamp) {
    story.fact("Status", state(task));
    story.fact("Why", cause(task).unwrap_or_default());
    story.fact("Node", if task.spec.node_name.is_empty() { "none yet" } else { &task.spec.node_name });
    story.fact("Address", &task.status.host_ip);
    let ports = task.spec.assigned_ports.iter().map(|port| format!("{}={}", port.name, port.port));
    story.fact("Ports", ports.collect::<Vec<_>>().join(", "));
    story.fact("Revision", &task.spec.revision);
    story.part("Containers");
    for container in &task.spec.containers {
        app::containers(story, container);
        let status = task.status.container_statuses.iter().find(|status| status.name == container.name);
        if let Some(status) = status {
            describe_status(story, status, now);
        }
    }
}

fn describe_status(story: &mut Story, status: &ContainerStatus, now: Timestamp) {
    let ready = if status.ready { "ready" } else { "not ready" };
    if let Some(running) = &status.state.running {
        story.line(format!(
            "  running for {}, {ready}, restarted {} times",
            age(running.started_at, now),
            status.restart_count
        ));
    }
    if let Some(waiting) = &status.state.waiting {
        story.line(format!(
            "  waiting: {} {}, restarted {} times",
            waiting.reason, waiting.message, status.restart_count
        ));
    }
    if let Some(ended) = &status.state.terminated {
        story.line(format!("  ended {} ago: {}", age(ended.finished_at, now), end(ended)));
    }
    if let Some(before) = &status.last_state.terminated {
        story.line(format!(
            "  the attempt before ended {} ago: {}",
            age(before.finished_at, now),
            end(before)
        ));
    }
}
