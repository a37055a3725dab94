//! The fence of a committer. That a key must be absent holds again once the key was removed: a sending that was passed
//! on and not answered, in the buffer of a member of etcd that hangs, may be carried out at any later time. So every
//! group with such a condition also names the committer's fence key as unchanged, and the key is written once after an
//! unknown outcome: no earlier sending can be carried out from then on.
//!
//! A fence key is never removed, for then its absence would hold again too. Committers share the few fence keys that
//! there are. Where two have the same one, each only makes the other send some groups again.

use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;

use crate::value::{Header, WriteId};
use crate::{Condition, Group, Kv, Must, Outcome, Rev, Store, StoreError, Urgency, Write};

/// The folder of the fence keys.
pub const FENCES: &str = "/berth/-/fence/";

/// How many fence keys there are.
const KEYS: u64 = 64;

/// No fence key was written yet.
const ABSENT: Rev = 0;

/// A committer's fence key, as far as the committer knows it.
pub(super) struct Fence {
    key: Bytes,
    rev: AtomicI64,
}

impl Fence {
    pub(super) fn of(origin: u64) -> Self {
        Self { key: key(origin), rev: AtomicI64::new(ABSENT) }
    }

    /// The key's last known revision.
    pub(super) fn now(&self) -> Rev {
        self.rev.load(Ordering::SeqCst)
    }

    pub(super) fn key(&self) -> &Bytes {
        &self.key
    }

    /// The store told the key's present state; it was taken to be of revision `was`.
    pub(super) fn learn(&self, was: Rev, now: Option<&Kv>) {
        match now {
            Some(kv) => drop(self.rev.fetch_max(kv.mod_rev, Ordering::SeqCst)),
            // Somebody removed it: it is made anew.
            None => drop(self.rev.compare_exchange(was, ABSENT, Ordering::SeqCst, Ordering::SeqCst)),
        }
    }

    /// Makes sure that nothing that was sent with revision `was` is carried out any more. The revision from which on
    /// that is so, which is one of the key.
    pub(super) async fn raise(&self, store: &dyn Store, was: Rev) -> Result<Rev, StoreError> {
        let now = self.now();
        if now > was {
            return Ok(now);
        }
        let header = Header { position: 0, write_id: WriteId(0), epoch: 0, writer: "committer".into() };
        let group = Group {
            conditions: vec![condition(self.key.clone(), was)],
            writes: vec![Write::put(self.key.clone(), header.before(b"{}").freeze())],
        };
        let mut committed = super::settle::commit(store, vec![group], Urgency::Upkeep).await?;
        match committed.outcomes.pop() {
            Some(Outcome::Applied) => {
                self.rev.fetch_max(committed.rev, Ordering::SeqCst);
                Ok(committed.rev)
            }
            Some(Outcome::Conflict { mut current }) => {
                let found = current.pop().flatten();
                self.learn(was, found.as_ref());
                let removed = || StoreError::Unknown("the committer's fence key was removed".into());
                found.map(|kv| kv.mod_rev).ok_or_else(removed)
            }
            None => Err(StoreError::Damaged("a call of one group has no outcome".into())),
        }
    }
}

fn key(origin: u64) -> Bytes {
    format!("{FENCES}{}", origin % KEYS).into()
}

/// That the fence key is as it was in `rev`.
fn condition(key: Bytes, rev: Rev) -> Condition {
    let must = if rev == ABSENT { Must::BeAbsent } else { Must::BeUnchangedSince(rev) };
    Condition { key, must }
}

/// Whether the group could be carried out after it was refused, or once more after it was carried out.
pub(super) fn is_needed(group: &Group) -> bool {
    let asks_absence = || group.conditions.iter().any(|condition| condition.must == Must::BeAbsent);
    !group.writes.is_empty() && asks_absence()
}

/// Adds the fence to a group that needs it, as its last condition.
pub(super) fn put_up(group: &mut Group, origin: u64) {
    group.conditions.push(condition(key(origin), ABSENT));
}

/// The group as it is sent: with the fence, which is its last condition, in revision `rev`.
pub(super) fn at(mut group: Group, rev: Rev) -> Group {
    if let Some(last) = group.conditions.pop() {
        group.conditions.push(condition(last.key, rev));
    }
    group
}
