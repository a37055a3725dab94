//! What the caller of a write is told: the object as it is now, and what the write did.

use berth_failpoint::seeded_bug;
use berth_store::{Rev, StoreError, Write, WriteId};
use bytes::Bytes;

use super::plan::{After, Plan};
use super::told::Written;
use super::{Joint, Request, Writer};
use crate::cache::Entry;
use crate::encoded::Served;
use crate::refuse::{self, Answer};
use crate::version::Version;

impl Writer {
    /// The answers after the group happened in `rev`; `positions` are those of its puts.
    pub(super) fn answers(
        &self,
        requests: &[Request],
        joint: Joint,
        rev: Rev,
        positions: &[u16],
    ) -> Vec<Written> {
        let mut puts = positions.iter();
        let each = requests.iter().zip(joint.plans);
        each.map(|(request, plan)| {
            let position = position_of_own(&plan, &mut puts);
            let (effect, told) = (plan.effect, plan.told.clone());
            Written { json: answer(request, plan, rev, position), effect, told }
        })
        .collect()
    }

    /// After an outcome that no key shows any more: whether the history tells that the group happened. Where nobody
    /// can tell, that is the answer.
    pub(super) async fn happened(
        &self,
        requests: &[Request],
        joint: &Joint,
        rev: Rev,
        write_id: WriteId,
    ) -> Answer<Option<Vec<Written>>> {
        self.cache.await_rev(rev).await?;
        let found = requests.iter().zip(&joint.plans).map(|(request, plan)| {
            let json = match &plan.after {
                After::Stored(_) => self
                    .cache
                    .written_by(request.kind, &request.path, write_id, joint.seen)
                    .map_err(|error| refuse::store(&error))?,
                After::Gone(entry) => self.found_gone(request, entry, rev)?,
                After::Unchanged(entry) => Some(entry.served.json().clone()),
            };
            Ok(json.map(|json| Written { json, effect: plan.effect, told: plan.told.clone() }))
        });
        found.collect()
    }

    /// A removal leaves no mark of who made it. That nothing is there is what was asked; where another object of the
    /// name is, the one that was meant may have been gone before anybody asked.
    fn found_gone(&self, request: &Request, entry: &Entry, rev: Rev) -> Answer<Option<Bytes>> {
        match self.cache.get(request.kind, &request.path) {
            None => Ok(Some(self.removed(request, entry, rev))),
            Some(here) if here.uid == entry.uid => Ok(None),
            Some(_) => {
                let name = &request.name;
                let why = format!("cannot tell whether this call or an earlier one deleted `{name}`");
                Err(refuse::store(&StoreError::Unknown(why)))
            }
        }
    }
}

impl Writer {
    /// An object that is gone, in the version of its removal: at the latest that of `rev`, where it was found gone.
    fn removed(&self, request: &Request, entry: &Entry, rev: Rev) -> Bytes {
        let removed_in = self.cache.removed_in(request.kind, entry);
        entry.served.at(Version::all_of(removed_in.unwrap_or(rev)))
    }
}

/// The position of the object's own put, the first of its plan; takes all puts of the plan off `puts`.
fn position_of_own<'p>(plan: &Plan, puts: &mut impl Iterator<Item = &'p u16>) -> u16 {
    let mut own = None;
    for write in &plan.writes {
        match write {
            Write::Put { .. } => {
                let position = puts.next().copied();
                own = own.or(position);
            }
            Write::Delete { .. } => {}
        }
    }
    own.unwrap_or(0)
}

fn answer(request: &Request, plan: Plan, rev: Rev, position: u16) -> Bytes {
    let rev = if seeded_bug("answer-names-another-revision") { rev - 1 } else { rev };
    let version = if request.dry_run { Version::default() } else { Version::of_write(rev, position) };
    match plan.after {
        After::Stored(json) => {
            let served = Served::new(&json, version).expect("an encoded object has metadata");
            served.json().clone()
        }
        After::Unchanged(entry) => entry.served.json().clone(),
        After::Gone(entry) if request.dry_run => entry.served.json().clone(),
        After::Gone(entry) => entry.served.at(Version::all_of(rev)),
    }
}
