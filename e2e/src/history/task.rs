//! What a Task is, as its promises speak of it.

use super::object::{Object, Truth};
use super::spec::{Spec, TaskSpec};

/// Group and plural of Tasks in their keys.
pub const KIND: &str = "berth.dev/tasks";

/// Every phase in the order of a life; the last two are its end.
pub const PHASES: [&str; 6] = ["Pending", "Starting", "Running", "Stopping", "Succeeded", "Failed"];

/// The spec of a Task.
pub fn spec(object: &Object) -> Option<&TaskSpec> {
    match &*object.spec {
        Spec::Task(task) => Some(task),
        Spec::App(_) | Spec::Node(_) | Spec::Lease(_) | Spec::Other => None,
    }
}

/// Whether it is at its end.
pub fn is_over(object: &Object) -> bool {
    matches!(&*object.status.phase, "Succeeded" | "Failed")
}

/// Whether it is given up with its node: it holds its room, and is no surge.
pub fn is_given_up(object: &Object) -> bool {
    object.status.given_up
}

/// Whether it may get requests: it runs, is Ready, is not told to stop, and its node is heard.
pub fn serves(object: &Object) -> bool {
    let status = &object.status;
    &*status.phase == "Running"
        && status.ready == Truth::True
        && status.reachable != Truth::False
        && !object.is_deleting()
}
