//! A delete that lets what belonged to the object go on living: the owner is taken off each in the same revision, so
//! that nobody sees them without an owner while the owner is there, or with one that is gone.

use std::sync::Arc;

use berth_store::{Condition, Write};
use berth_types::Reason;
use berth_types::parcel::CALL_BYTES;
use serde_json::Value;

use super::plan::without_version;
use crate::cache::Entry;
use crate::hooks::{Beside, World};
use crate::refuse::{Answer, about};
use crate::table::Row;
use crate::tree;

/// The most objects that one revision lets go.
const MOST: usize = 100;
/// Their most bytes and the owner's: what a call of the store takes besides that many keys. The largest object fits.
const MOST_BYTES: usize = CALL_BYTES - 80_000;

/// Takes an owner off everything that belongs to it, in the revision that also puts `own_bytes` of the owner itself.
pub fn release(owner_row: &Row, owner: &Entry, own_bytes: usize, world: &World<'_>) -> Answer<Beside> {
    let dependents: Vec<(&Row, &Arc<Entry>)> = world
        .table
        .rows()
        .flat_map(|(id, row)| world.state.kind(id).range(None, None).map(move |entry| (row, entry)))
        .filter(|(_, entry)| entry.owners.contains(&owner.uid))
        .collect();
    let bytes = dependents.iter().map(|(_, entry)| entry.weight()).sum::<usize>();
    let most_bytes = MOST_BYTES.saturating_sub(own_bytes);
    if dependents.len() > MOST || bytes > most_bytes {
        let message = format!(
            "{} `{}` has {} dependents of {bytes} bytes, and at most {MOST} of {most_bytes} bytes are let go at once; \
             take the owner off some of them first",
            owner_row.name(),
            owner.name(),
            dependents.len()
        );
        return Err(about(Reason::RequestEntityTooLarge, owner_row.name(), owner.name(), message));
    }
    let mut beside = Beside::default();
    for (row, entry) in dependents {
        let key = row.key(&entry.path);
        beside.conditions.push(Condition::unchanged(key.clone(), entry.rev));
        beside.writes.push(Write::put(key, without_owner(entry, &owner.uid)));
    }
    Ok(beside)
}

fn without_owner(entry: &Entry, uid: &str) -> Vec<u8> {
    let mut tree = without_version(entry);
    let meta = tree::metadata(&mut tree);
    if let Some(owners) = meta.get_mut("ownerReferences").and_then(Value::as_array_mut) {
        owners.retain(|reference| reference["uid"] != *uid);
        if owners.is_empty() {
            meta.remove("ownerReferences");
        }
    }
    serde_json::to_vec(&tree).expect("a tree is always JSON")
}
