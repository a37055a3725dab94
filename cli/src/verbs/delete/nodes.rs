//! Before a Node is deleted on which Tasks run: whoever deletes a Node states that nothing of it runs any more.

use berth_client::{ObjectKey, Query};
use berth_types::Resource;
use berth_types::node::Node;
use berth_types::task::Task;

use super::Doomed;
use crate::api::Api;
use crate::failure::Failure;
use crate::verbs::consent;

/// Asks for a yes if one of the objects is a Node on which Tasks run.
pub async fn agree(api: &Api, doomed: &[Doomed]) -> Result<(), Failure> {
    let mut busy = Vec::new();
    for node in doomed.iter().filter(|one| one.key.kind.kind == Node::KIND) {
        let tasks = tasks_on(api, &node.key).await?;
        if tasks > 0 {
            let tasks = if tasks == 1 { "1 task".to_owned() } else { format!("{tasks} tasks") };
            busy.push(format!("{} ({tasks})", node.name));
        }
    }
    if busy.is_empty() {
        return Ok(());
    }
    let busy = busy.join(", ");
    let question = format!(
        "Tasks run on {busy}. Deleting a node states that nothing of it runs: its tasks are replaced at once, even \
         where they still run."
    );
    consent::ask(&question, &format!("deleting a node on which tasks run, {busy},")).await
}

/// How many Tasks of a Node have not ended.
pub async fn tasks_on(api: &Api, node: &ObjectKey) -> Result<usize, Failure> {
    let query = Query::of::<Task>().fields(format!("spec.nodeName={}", node.name));
    let listed = api.client.list_as::<Task>(&query).await;
    let step = format!("could not list the tasks on node/{}", node.name);
    let tasks = listed.map_err(|error| api.failed(&step, &error))?.items;
    let ended = |task: &&Task| matches!(task.status.phase.as_str(), "Succeeded" | "Failed");
    Ok(tasks.iter().filter(|task| !ended(task)).count())
}
