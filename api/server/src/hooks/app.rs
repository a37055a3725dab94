//! App: the number of Tasks that it has created only grows, so that a stale view never gives out a name twice.

use berth_types::Fault;
use serde_json::Value;

use super::{Beside, Change, Hooks, World};
use crate::refuse::{Answer, forbidden_field};
use crate::tree;

/// What an App needs.
pub struct AppHooks;

const COUNTER: &str = "status.tasksCreated";

impl Hooks for AppHooks {
    fn admit(&self, change: Change<'_>, _world: &World<'_>) -> Answer<Beside> {
        let Some(old) = change.old else { return Ok(Beside::default()) };
        let count = |app: &Value| tree::at(app, COUNTER).and_then(Value::as_i64).unwrap_or(0);
        let (was, is) = (count(old), count(change.new));
        let lowered =
            (is < was).then(|| forbidden_field(COUNTER, format!("must not go below {was}, got {is}")));
        Ok(Beside::faults(lowered.into_iter().collect::<Vec<Fault>>()))
    }
}
