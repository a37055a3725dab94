//! Lease: whatever changes its holder writes its epoch in the same revision. The epoch is that revision; whoever led
//! before is refused from there on. Leaders stay in their place while the store is full.

use berth_failpoint::seeded_bug;
use berth_store::{Urgency, Write};
use serde_json::{Value, json};

use super::{Beside, Change, Hooks, World};
use crate::keys;
use crate::refuse::Answer;
use crate::tree;

/// What a Lease needs.
pub struct LeaseHooks;

const HOLDER: &str = "spec.holderIdentity";

impl Hooks for LeaseHooks {
    fn admit(&self, change: Change<'_>, _world: &World<'_>) -> Answer<Beside> {
        let holder = tree::text(change.new, HOLDER);
        if seeded_bug("holder-without-epoch") && change.old.is_some() {
            return Ok(Beside { urgency: Urgency::Upkeep, ..Beside::default() });
        }
        if change.old.is_some_and(|old| tree::text(old, HOLDER) == holder) {
            return Ok(Beside { urgency: Urgency::Upkeep, ..Beside::default() });
        }
        Ok(new_epoch(change.namespace, change.name, holder))
    }

    fn removed(&self, namespace: &str, name: &str, _old: &Value, _world: &World<'_>) -> Answer<Beside> {
        Ok(new_epoch(namespace, name, ""))
    }
}

fn new_epoch(namespace: &str, name: &str, holder: &str) -> Beside {
    let value = json!({"holder": holder}).to_string();
    let put = Write::put(keys::epoch(namespace, name), value);
    Beside { writes: vec![put], urgency: Urgency::Upkeep, ..Beside::default() }
}
