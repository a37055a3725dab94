//! The story of an App.

use berth_client::Query;
use berth_types::Timestamp;
use berth_types::app::{App, RollingUpdate};
use berth_types::task::{Container, IntOrString, Task};

use super::Story;
use crate::api::Api;
use crate::failure::Failure;
use crate::output::age::age;
use crate::output::columns::{app_state, cause, runs, state};

/// Tells what an App asks for, what it has, and what each of its Tasks lacks.
pub async fn describe(api: &Api, story: &mut Story, app: &App, now: Timestamp) -> Result<(), Failure> {
    let status = &app.status;
    let asked = app.spec.replicas.unwrap_or(1);
    story.fact("Status", app_state(app));
    story.fact(
        "Replicas",
        format!(
            "{asked} asked for; {} there, {} updated, {} ready, {} available",
            status.replicas, status.updated_replicas, status.ready_replicas, status.available_replicas
        ),
    );
    story.fact("Strategy", strategy(app));
    story.fact("Revision", &status.current_revision);
    story.part("Containers");
    app.spec.template.spec.containers.iter().for_each(|container| containers(story, container));
    tasks(api, story, app, now).await
}

fn strategy(app: &App) -> String {
    let strategy = app.spec.strategy.clone().unwrap_or_default();
    if strategy.type_ == "Recreate" {
        return strategy.type_;
    }
    let RollingUpdate { max_surge, max_unavailable } = strategy.rolling_update.unwrap_or_default();
    let bound = |bound: Option<IntOrString>| match bound {
        None => "25%".to_owned(),
        Some(IntOrString::Int(number)) => number.to_string(),
        Some(IntOrString::String(text)) => text,
    };
    format!("RollingUpdate, {} more and {} missing at most", bound(max_surge), bound(max_unavailable))
}

/// What a container is, in a few lines.
pub fn containers(story: &mut Story, container: &Container) {
    story.line(format!("{}: {}", container.name, runs(std::slice::from_ref(container))));
    let list = |resources: &berth_types::quantity::ResourceList| {
        resources.iter().map(|(name, amount)| format!("{name} {amount}")).collect::<Vec<_>>().join(", ")
    };
    for (what, resources) in
        [("requests", &container.resources.requests), ("limits", &container.resources.limits)]
    {
        if !resources.is_empty() {
            story.line(format!("  {what}: {}", list(resources)));
        }
    }
    let ports: Vec<String> = container
        .ports
        .iter()
        .map(|port| {
            port.host_port.map_or_else(|| port.name.clone(), |number| format!("{}={number}", port.name))
        })
        .collect();
    if !ports.is_empty() {
        story.line(format!("  ports: {}", ports.join(", ")));
    }
}

async fn tasks(api: &Api, story: &mut Story, app: &App, now: Timestamp) -> Result<(), Failure> {
    let query = Query::of::<Task>().in_namespace(app.metadata.namespace.clone());
    let listed = api.client.list_as::<Task>(&query).await;
    let mut tasks = listed.map_err(|error| api.failed("could not list tasks", &error))?.items;
    tasks.retain(|task| task.metadata.owner_references.iter().any(|owner| owner.uid == app.metadata.uid));
    tasks.sort_by_key(|task| task.metadata.creation_timestamp);
    let row = |task: &Task| {
        let node = if task.spec.node_name.is_empty() { "-" } else { &task.spec.node_name };
        let why = cause(task).unwrap_or_default();
        vec![
            task.metadata.name.clone(),
            state(task),
            node.into(),
            age(task.metadata.creation_timestamp, now),
            why,
        ]
    };
    let rows: Vec<Vec<String>> = tasks.iter().map(row).collect();
    if !rows.is_empty() {
        story.part("Tasks");
        story.table(&["NAME", "STATUS", "NODE", "AGE", "WHY"], &rows);
    }
    Ok(())
}
