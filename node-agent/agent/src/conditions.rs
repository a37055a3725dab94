//! Conditions that the agent writes on its own Node; `Ready` is the node controller's.

use std::time::Duration;

use berth_client::{Client, Error, Write};
use berth_types::node::Node;
use berth_types::{Condition, ConditionStatus};
use serde_json::json;

use crate::journal::Identity;

/// After a write that failed, before the next try.
const PAUSE: Duration = Duration::from_millis(300);

/// Sets `condition` on the Node, if that does not say it yet; whether the Node has it now, or is gone. Absent means no.
/// After a failure it returns only once another try makes sense.
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

/// Whether `condition` adds nothing to what is said: the status alone counts, unless it is one that people look into.
fn is_said(conditions: &[Condition], condition: &Condition) -> bool {
    let said = Condition::find(conditions, &condition.type_);
    match condition.status {
        ConditionStatus::False => said.is_none_or(|said| said.status == ConditionStatus::False),
        ConditionStatus::True | ConditionStatus::Unknown => {
            said.is_some_and(|said| said.status == condition.status && said.message == condition.message)
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
    if is_said(&seen.status.conditions, &condition) {
        return Ok(());
    }
    let mut conditions = seen.status.conditions.clone();
    condition.set(&mut conditions);
    let patch = json!({ "status": { "conditions": conditions } });
    // Unchanged but for this: the other conditions go along as they were seen.
    let write = Write::patch_status::<Node>("", &node.name, patch).unchanged(&seen);
    client.write(&write.expecting_uid(&node.uid)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_types::Timestamp;

    #[test]
    fn a_condition_is_written_when_its_status_changes_and_while_it_holds_when_its_message_does() {
        use ConditionStatus::{False, True};
        let condition = |(status, message): (ConditionStatus, &str)| {
            Condition::new("AgentRestarting", status, "", message, Timestamp::from_millis(0))
        };
        for (said, new, expected) in [
            (None, (False, ""), true),
            (None, (True, "3 times"), false),
            (Some((False, "")), (True, "3 times"), false),
            (Some((True, "3 times")), (True, "3 times"), true),
            (Some((True, "3 times")), (True, "4 times"), false),
            (Some((True, "3 times")), (False, ""), false),
            (Some((False, "10Mi in use")), (False, "20Mi in use"), true),
        ] {
            let conditions: Vec<_> = said.map(condition).into_iter().collect();
            assert_eq!(is_said(&conditions, &condition(new)), expected, "{said:?} then {new:?}");
        }
    }
}
