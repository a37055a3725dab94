//! What calls will make of the state, worked out before any of it is durable or seen.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::state::State;
use crate::{Change, Changes, Committed, Condition, Group, Kv, LeaseId, Outcome, Rev, StoreError, Write};

/// The state with calls that are not durable yet.
pub(super) struct Draft<'a> {
    state: &'a State,
    rev: Rev,
    written: HashMap<Bytes, Option<Kv>>,
    changes: Vec<Arc<Changes>>,
}

impl<'a> Draft<'a> {
    pub(super) fn on(state: &'a State) -> Self {
        Self { state, rev: state.rev(), written: HashMap::new(), changes: Vec::new() }
    }

    /// The revisions that were made.
    pub(super) fn into_changes(self) -> Vec<Arc<Changes>> {
        self.changes
    }

    /// Tries the groups of one call, each as the state was before the call.
    pub(super) fn commit(&mut self, groups: Vec<Group>) -> Result<Committed, StoreError> {
        let outcomes: Vec<Outcome> = groups.iter().map(|group| self.judge(group)).collect();
        let happening =
            groups.into_iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Outcome::Applied);
        let writes: Vec<Write> = happening.flat_map(|(group, _)| group.writes).collect();
        if let Some(lease) = writes.iter().filter_map(bound_to).find(|id| self.state.lease(*id).is_none()) {
            return Err(StoreError::NoLease(lease));
        }
        self.write(writes);
        Ok(Committed { rev: self.rev, outcomes })
    }

    /// Removes every key of a lease.
    pub(super) fn empty_lease(&mut self, id: LeaseId) -> Result<(), StoreError> {
        let lease = self.state.lease(id).ok_or(StoreError::NoLease(id))?;
        self.write(lease.keys.iter().map(|key| Write::Delete { key: key.clone() }).collect());
        Ok(())
    }

    fn judge(&self, group: &Group) -> Outcome {
        if group.conditions.iter().all(|condition| self.holds(condition)) {
            return Outcome::Applied;
        }
        let current = group.conditions.iter().map(|condition| self.newest(&condition.key).cloned()).collect();
        Outcome::Conflict { current }
    }

    fn holds(&self, condition: &Condition) -> bool {
        condition.must.holds(self.newest(&condition.key))
    }

    fn newest(&self, key: &Bytes) -> Option<&Kv> {
        match self.written.get(key) {
            Some(written) => written.as_ref(),
            None => self.state.newest(key),
        }
    }

    fn write(&mut self, writes: Vec<Write>) {
        let rev = self.rev + 1;
        let mut changes: Vec<Change> =
            writes.into_iter().filter_map(|write| change(self.newest(write.key()), write, rev)).collect();
        if changes.is_empty() {
            return;
        }
        changes.sort_by(|a, b| a.key.cmp(&b.key));
        self.written.extend(changes.iter().map(|change| (change.key.clone(), change.now.clone())));
        self.changes.push(Arc::new(Changes { rev, changes }));
        self.rev = rev;
    }
}

fn bound_to(write: &Write) -> Option<LeaseId> {
    match write {
        Write::Put { lease, .. } => Some(*lease).filter(|lease| *lease != 0),
        Write::Delete { .. } => None,
    }
}

/// What a write makes of its key; None for the delete of an absent one.
fn change(before: Option<&Kv>, write: Write, rev: Rev) -> Option<Change> {
    let before = before.cloned();
    match write {
        Write::Put { key, value, lease } => {
            let (create_rev, version) =
                before.as_ref().map_or((rev, 1), |kv| (kv.create_rev, kv.version + 1));
            let now = Kv { key: key.clone(), value, create_rev, mod_rev: rev, version, lease };
            Some(Change { now: Some(now), before, key })
        }
        Write::Delete { key } => before.map(|before| Change { now: None, before: Some(before), key }),
    }
}
