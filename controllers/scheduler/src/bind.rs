//! Sends decisions: placements by Bind, many in one call; reasons by patches of the Tasks' status.

use std::sync::Arc;

use async_trait::async_trait;
use berth_client::{BindItem, Write};
use berth_runtime::{Deed, Execute, Note, Outcome, Weight, Writer};
use berth_types::availability::SCHEDULED;
use berth_types::parcel;
use berth_types::task::Task;
use berth_types::{Clock, Condition, ConditionStatus, SteadyClock};
use serde_json::json;

use crate::place::{Explanation, Placement};
use crate::{Event, Shell};

/// The reason of a Task that fits on no node.
const UNSCHEDULABLE: &str = "Unschedulable";

/// What is to be sent.
#[derive(Debug)]
pub enum Action {
    /// Placements, in one call.
    Bind(Vec<Placement>),
    /// Why Tasks have no node.
    Explain(Vec<Explanation>),
}

/// Sends decisions.
pub struct Hands;

#[async_trait]
impl Execute<Shell> for Hands {
    async fn execute(&self, action: Action, writer: &Writer) -> Vec<Event> {
        match action {
            Action::Bind(placements) => vec![bind(placements, writer).await],
            Action::Explain(explanations) => explain(explanations, writer).await,
        }
    }
}

/// Binds, and says which placements came to nothing. When the whole call failed that is all of them: should the server
/// have carried it out after all, the watch shows the Tasks bound, and a second Bind of them is refused.
async fn bind(placements: Vec<Placement>, writer: &Writer) -> Event {
    let items: Vec<BindItem> = placements.iter().map(item).collect();
    let refused = match writer.bind(&items).await {
        Ok(outcomes) => {
            let pairs = placements.iter().zip(outcomes);
            let refused = pairs.filter_map(|(placement, outcome)| {
                let why = outcome.err()?;
                let (object, node) = (format!("{}/{}", placement.namespace, placement.task), &placement.node);
                tracing::debug!(object, %node, %why, "placement refused");
                Some(placement.uid.clone())
            });
            refused.collect::<Vec<_>>()
        }
        Err(why) => {
            tracing::warn!(tasks = placements.len(), %why, "could not bind");
            placements.iter().map(|placement| placement.uid.clone()).collect()
        }
    };
    tracing::info!(tasks = placements.len() - refused.len(), refused = refused.len(), "bound");
    Event::Answered { refused }
}

fn item(placement: &Placement) -> BindItem {
    BindItem {
        namespace: placement.namespace.clone(),
        task: placement.task.clone(),
        task_uid: placement.uid.to_string(),
        node: placement.node.to_string(),
        node_uid: placement.node_uid.to_string(),
        node_version: placement.node_version.to_string(),
        ports: placement.ports.clone(),
    }
}

async fn explain(explanations: Vec<Explanation>, writer: &Writer) -> Vec<Event> {
    let wave = explanations.iter().map(deed).collect();
    let outcomes = writer.send(wave).await;
    let pairs = explanations.iter().zip(outcomes);
    let unsaid = pairs.filter(|(_, outcome)| *outcome != Outcome::Done);
    unsaid.map(|(explanation, _)| Event::Unsaid(uid(&explanation.task))).collect()
}

fn uid(task: &Task) -> Arc<str> {
    task.metadata.uid.as_str().into()
}

fn deed(explanation: &Explanation) -> Deed {
    let task = &*explanation.task;
    let mut conditions = task.status.conditions.clone();
    let message = parcel::text(&explanation.message);
    Condition::new(SCHEDULED, ConditionStatus::False, UNSCHEDULABLE, message, SteadyClock.now())
        .of_generation(task.metadata.generation)
        .set(&mut conditions);
    let meta = &task.metadata;
    let patch = json!({ "status": { "conditions": conditions } });
    let write = Write::patch_status::<Task>(&meta.namespace, &meta.name, patch).unchanged(task);
    let object = format!("{}/{}", meta.namespace, meta.name);
    let note = Note::new(task, Weight::Warning, "FailedScheduling", counts(&explanation.message));
    Deed::one("explain", object, explanation.message.to_string(), write).noting([note])
}

/// The reasons with their counts, without what the nearest node lacks: that changes with every other Task, and the
/// same reasons again are the same news.
fn counts(message: &str) -> String {
    let mut parts = message.split(" (");
    let first = parts.next().unwrap_or_default();
    let rest = parts.filter_map(|part| part.split_once(')').map(|(_, after)| after));
    std::iter::once(first).chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_news_is_the_counts_and_not_the_nearest_node() {
        let said = "0 of 3 nodes fit: 2 not enough memory (nearest n1 is short of 64Mi), 1 cordoned";
        assert_eq!(counts(said), "0 of 3 nodes fit: 2 not enough memory, 1 cordoned");
        assert_eq!(counts("0 of 0 nodes fit"), "0 of 0 nodes fit");
    }
}
