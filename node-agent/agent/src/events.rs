//! Events for people, about what an agent does that nobody asked it to.

use berth_client::{Client, Write};
use berth_types::core::{Event, EventSource, ObjectReference};
use berth_types::task::Task;
use berth_types::{Clock, ObjectMeta, Resource, SystemClock, Timestamp};

/// Says that a Task which the store does not know will be stopped.
pub async fn unknown_task(client: &Client, task: &Task, node: &str, at: Timestamp) {
    let meta = &task.metadata;
    let now = SystemClock.now();
    let event = Event {
        metadata: ObjectMeta::named(&meta.namespace, &format!("{}.{:x}", meta.name, now.millis())),
        involved_object: ObjectReference {
            api_version: Task::API_VERSION.into(),
            kind: Task::KIND.into(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
        },
        reason: "UnknownTask".into(),
        message: format!("runs on {node} and is unknown to the store; it is stopped at {at}"),
        type_: "Warning".into(),
        count: 1,
        first_timestamp: Some(now),
        last_timestamp: Some(now),
        source: EventSource { component: "node-agent".into(), host: node.into() },
        ..Event::default()
    };
    if let Err(error) = client.write(&Write::create(&event)).await {
        tracing::warn!(task = meta.name, error = %error, "an event was not written");
    }
}
