//! Conditions that the agent writes on its own Node; `Ready` is the node controller's.

use std::time::Duration;

use berth_client::{Client, Error, Write};
use berth_types::node::Node;
use berth_types::{Condition, ConditionStatus};
use serde_json::json;

use crate::journal::Identity;

/// After a write that failed, before the next try.
const PAUSE: Duration = Duration::from_millis(300);

/// Sets `condition` on the Node, if that does not have its status; whether the Node has it now, or is gone. Absent means
/// no. After a failure it returns only once another try makes sense.
pub async fn set(client: &Client, node: &Identity, condition: Condition) -> bool {
    match try_to_set(client, node, condition).await {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(error = %error, "a condition of this Node is not written yet");
            tokio::time::sleep(PAUSE).await;
            false
        }
    }
}

async fn try_to_set(client: &Client, node: &Identity, condition: Condition) -> Result<(), Error> {
    let seen = match client.get_as::<Node>("", &node.name).await {
        Ok(seen) if seen.metadata.uid == node.uid => seen,
        // It is gone: there is nothing to say of it.
        Ok(_) | Err(Error::NotFound(_)) => return Ok(()),
        Err(error) => return Err(error),
    };
    let status = Condition::find(&seen.status.conditions, &condition.type_).map(|said| said.status);
    if status.unwrap_or(ConditionStatus::False) == condition.status {
        return Ok(());
    }
    let mut conditions = seen.status.conditions.clone();
    condition.set(&mut conditions);
    let patch = json!({ "status": { "conditions": conditions } });
    // Unchanged but for this: the other conditions go along as they were seen.
    let write = Write::patch_status::<Node>("", &node.name, patch).unchanged(&seen);
    client.write(&write.expecting_uid(&node.uid)).await.map(drop)
}
