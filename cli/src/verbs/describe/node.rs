//! The story of a Node.

use std::collections::BTreeMap;

use berth_client::Query;
use berth_types::availability::DISK_PRESSURE;
use berth_types::node::Node;
use berth_types::task::Task;
use berth_types::{Condition, ConditionStatus, Timestamp};

use super::Story;
use crate::api::Api;
use crate::failure::Failure;
use crate::output::age::age;
use crate::output::columns::{node_state, state};

/// Tells what a machine is, what it has, and what runs there.
pub async fn describe(api: &Api, story: &mut Story, node: &Node, now: Timestamp) -> Result<(), Failure> {
    let info = &node.status.node_info;
    story.fact("Status", node_state(node));
    let pressure = Condition::find(&node.status.conditions, DISK_PRESSURE);
    if let Some(pressure) = pressure.filter(|condition| condition.status == ConditionStatus::True) {
        story.fact("Disk", &pressure.message);
    }
    story.fact("Address", &node.status.address);
    let system = [info.operating_system.as_str(), &info.architecture, &info.kernel_version];
    story.fact("System", system.join(" ").trim());
    story.fact("Boot", &info.boot_id);
    story.fact("Agent", &info.agent_version);
    let taints =
        node.spec.taints.iter().map(|taint| format!("{}={}:{}", taint.key, taint.value, taint.effect));
    story.fact("Taints", taints.collect::<Vec<_>>().join(", "));

    let query = Query::of::<Task>().fields(format!("spec.nodeName={}", node.metadata.name));
    let listed = api.client.list_as::<Task>(&query).await;
    let tasks = listed.map_err(|error| api.failed("could not list tasks", &error))?.items;
    resources(story, node, &tasks);
    let row = |task: &Task| {
        let metadata = &task.metadata;
        vec![
            metadata.namespace.clone(),
            metadata.name.clone(),
            state(task),
            age(metadata.creation_timestamp, now),
        ]
    };
    let rows: Vec<Vec<String>> = tasks.iter().map(row).collect();
    if !rows.is_empty() {
        story.part("Tasks");
        story.table(&["NAMESPACE", "NAME", "STATUS", "AGE"], &rows);
    }
    Ok(())
}

fn resources(story: &mut Story, node: &Node, tasks: &[Task]) {
    let mut requested: BTreeMap<&str, i64> = BTreeMap::new();
    for container in tasks.iter().flat_map(|task| &task.spec.containers) {
        for (name, amount) in &container.resources.requests {
            *requested.entry(name).or_default() += amount.millis().unwrap_or(0);
        }
    }
    let row = |(name, total): (&String, &berth_types::Quantity)| {
        let allocatable = node.status.allocatable.get(name).unwrap_or(total);
        let all = allocatable.millis().unwrap_or(0).max(1);
        let used = requested.get(name.as_str()).copied().unwrap_or(0);
        vec![
            name.clone(),
            total.to_string(),
            allocatable.to_string(),
            format!("{}%", i128::from(used) * 100 / i128::from(all)),
        ]
    };
    let rows: Vec<Vec<String>> = node.status.capacity.iter().map(row).collect();
    if !rows.is_empty() {
        story.part("Resources");
        story.table(&["NAME", "HAS", "FOR TASKS", "REQUESTED"], &rows);
    }
}
