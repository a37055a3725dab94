//! Node: its ledger comes to be and goes with it, so that a Bind that did not see the one loses to the other.

use berth_store::{Condition, Write};
use serde_json::Value;

use super::{Act, Beside, Change, Hooks, World};
use crate::keys;
use crate::refuse::Answer;

/// What a Node needs.
pub struct NodeHooks;

impl Hooks for NodeHooks {
    fn admit(&self, change: Change<'_>, _world: &World<'_>) -> Answer<Beside> {
        match change.act {
            Act::Create => {
                let put = Write::put(keys::ledger(change.name), "{}");
                Ok(Beside { writes: vec![put], ..Beside::default() })
            }
            Act::Update | Act::UpdateStatus | Act::MarkDeleted => Ok(Beside::default()),
        }
    }

    fn removed(&self, _namespace: &str, name: &str, _old: &Value, world: &World<'_>) -> Answer<Beside> {
        let key = keys::ledger(name);
        let Some(ledger) = world.state.system(&key) else { return Ok(Beside::default()) };
        let conditions = vec![Condition::unchanged(key.clone(), ledger.mod_rev)];
        Ok(Beside { conditions, writes: vec![Write::delete(key)], ..Beside::default() })
    }
}
