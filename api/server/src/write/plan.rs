//! What one write does to an object as it is: conditions and writes of the store, decided without touching it.

use std::sync::Arc;

use berth_failpoint::seeded_bug;
use berth_store::{Condition, Urgency, Write};
use berth_types::{Reason, Timestamp};
use bytes::Bytes;
use serde_json::Value;

use super::draft::{self, Draft};
use super::request::{MOST_BYTES, MOST_STORED_BYTES, Request, Verb};
use super::told::{Effect, Told};
use super::{asks, orphans};
use crate::apply::Part;
use crate::cache::Entry;
use crate::hooks::World;
use crate::refuse::{Answer, about, not_found};
use crate::table::Row;
use crate::tree;

/// The most bytes that a write may add to an object where the store is full.
const URGENT_GROWTH: usize = 4 << 10;

/// What one write does.
#[derive(Debug)]
pub struct Plan {
    /// What must hold.
    pub asks: Vec<Ask>,
    /// What is written; the object itself first.
    pub writes: Vec<Write>,
    /// The object afterwards.
    pub after: After,
    /// What the write does to the object.
    pub effect: Effect,
    /// What the answer says beside the object.
    pub told: Told,
    /// Bytes that watchers are told of it.
    pub weight: usize,
    /// What it may use of a store that is full.
    pub urgency: Urgency,
}

/// A condition, and for whose sake.
#[derive(Debug, Clone)]
pub struct Ask {
    /// What must hold.
    pub condition: Condition,
    /// Who asks.
    pub by: By,
}

/// For whose sake a condition is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The decision was made on this state of the object itself.
    Own,
    /// The caller leads.
    Fence,
    /// The caller's precondition of that number fixes a version or an absence.
    Precondition(usize),
    /// The decision was made on this state of another object.
    Sight,
}

/// The object after a write.
#[derive(Debug)]
pub enum After {
    /// It is this JSON, without a version.
    Stored(Bytes),
    /// It is as it was.
    Unchanged(Arc<Entry>),
    /// It is gone; this was its last state.
    Gone(Arc<Entry>),
}

/// Everything that a write is decided on.
pub struct Sight<'a> {
    /// The cache.
    pub world: World<'a>,
    /// The object as it is.
    pub current: Option<Arc<Entry>>,
    /// The present time.
    pub now: Timestamp,
}

impl Sight<'_> {
    /// The row of the request's kind.
    pub(super) fn row(&self, request: &Request) -> &Row {
        self.world.table.row(request.kind)
    }
}

/// Decides what `request` does to what is seen.
pub fn plan(request: &Request, seen: &Sight<'_>) -> Answer<Plan> {
    let row = seen.row(request);
    let mut asks = asks::outside(request, seen)?;
    asks.push(asks::own(request, seen)?);
    let old = seen.current.as_ref().map(|entry| without_version(entry));
    let mut draft = draft::draft(request, old.as_ref(), seen)?;
    let urgency = urgency(request, seen, old.as_ref(), &draft);
    let (own_write, after) = outcome(request, seen, old.as_ref(), &mut draft)?;
    // What happens beside a change does not happen without one.
    let mut writes: Vec<Write> = match own_write {
        Some(own_write) => std::iter::once(own_write).chain(draft.beside.writes).collect(),
        None => Vec::new(),
    };
    let mut conditions = draft.beside.conditions;
    if let (Verb::Delete, true, Some(owner)) = (request.verb, request.deletes.orphan, &seen.current) {
        let released = orphans::release(row, owner, put_bytes(&writes), &seen.world)?;
        conditions.extend(released.conditions);
        writes.extend(released.writes);
    }
    asks.extend(conditions.into_iter().map(|condition| Ask { condition, by: By::Sight }));
    let effect = match (&after, old) {
        (After::Stored(_), None) => Effect::Created,
        (After::Stored(_), Some(_)) => Effect::Configured,
        (After::Unchanged(_), _) => Effect::Unchanged,
        (After::Gone(_), _) => Effect::Deleted,
    };
    let weight = weight(seen.current.as_deref(), &writes);
    Ok(Plan { asks, writes, after, effect, told: draft.told, weight, urgency })
}

/// What is put, and what is told of the object as it was: to whoever sees it go, or leave a selection.
fn weight(current: Option<&Entry>, writes: &[Write]) -> usize {
    let before = if writes.is_empty() { 0 } else { current.map_or(0, |entry| entry.served.json().len()) };
    before + put_bytes(writes)
}

fn put_bytes(writes: &[Write]) -> usize {
    let put = |write: &Write| match write {
        Write::Put { value, .. } => value.len(),
        Write::Delete { .. } => 0,
    };
    writes.iter().map(put).sum()
}

/// Writes that bring the end of an object nearer are carried out also where the store is full: they make room. They and
/// renewals of Leases may add little to the object.
fn urgency(request: &Request, seen: &Sight<'_>, old: Option<&Value>, draft: &Draft) -> Urgency {
    let finalizers = |tree: &Value| tree::texts(tree, "metadata.finalizers").count();
    let had = old.map_or(0, finalizers);
    let lets_go = draft.tree.as_ref().is_none_or(|tree| finalizers(tree) < had);
    let adds_little = || {
        let before = seen.current.as_ref().map_or(0, |entry| entry.served.json().len());
        draft.tree.as_ref().is_none_or(|tree| tree.to_string().len() <= before + URGENT_GROWTH)
    };
    match draft.beside.urgency {
        _ if request.verb == Verb::Delete || lets_go && adds_little() => Urgency::Removal,
        Urgency::Upkeep if !adds_little() => Urgency::Ordinary,
        of_the_kind => of_the_kind,
    }
}

/// The write of the object itself, if it changes, and the object then.
fn outcome(
    request: &Request,
    seen: &Sight<'_>,
    old: Option<&Value>,
    draft: &mut Draft,
) -> Answer<(Option<Write>, After)> {
    let row = seen.row(request);
    let key = row.key(&request.path);
    match (draft.tree.take(), &seen.current, old) {
        (Some(tree), Some(entry), Some(old)) if tree == *old && !seeded_bug("no-op-is-written") => {
            Ok((None, After::Unchanged(entry.clone())))
        }
        (Some(tree), _, _) => {
            let json = encode(row, request, old, &tree)?;
            Ok((Some(Write::put(key, json.clone())), After::Stored(json)))
        }
        (None, Some(entry), Some(last)) => {
            let removed = row.hooks.removed(&request.namespace, &request.name, last, &seen.world)?;
            draft.beside.conditions.extend(removed.conditions);
            draft.beside.writes.extend(removed.writes);
            Ok((Some(Write::delete(key)), After::Gone(entry.clone())))
        }
        (None, _, _) => Err(not_found(row.name(), &request.name)),
    }
}

/// The object as JSON. One that is too large is refused, unless it shrinks: it may be older than the bounds.
fn encode(row: &Row, request: &Request, old: Option<&Value>, tree: &Value) -> Answer<Bytes> {
    let json = bytes(tree);
    let most = most_bytes(request.verb, tree);
    if json.len() <= most || old.is_some_and(|old| json.len() <= bytes(old).len()) {
        return Ok(json.into());
    }
    let message =
        format!("{} `{}` would be {} bytes, at most {most} are stored", row.name(), request.name, json.len());
    Err(about(Reason::RequestEntityTooLarge, row.name(), &request.name, message))
}

/// The most bytes of an object after a write. Users leave room for what is written later: an object that is accepted can
/// report its status and go. The marks of a deletion are short, each comes once, and they always fit.
fn most_bytes(verb: Verb, tree: &Value) -> usize {
    match verb {
        Verb::Create | Verb::Replace(Part::Main) | Verb::Patch(Part::Main) | Verb::Apply(Part::Main) => {
            if tree::is_deleting(tree) {
                MOST_STORED_BYTES
            } else {
                MOST_BYTES
            }
        }
        Verb::Replace(Part::Status) | Verb::Patch(Part::Status) | Verb::Apply(Part::Status) => {
            MOST_STORED_BYTES
        }
        Verb::Delete => usize::MAX,
    }
}

fn bytes(tree: &Value) -> Vec<u8> {
    serde_json::to_vec(tree).expect("a tree is always JSON")
}

/// The object as it is stored: its version is not part of it.
pub(super) fn without_version(entry: &Entry) -> Value {
    let mut tree = entry.tree();
    tree::metadata(&mut tree).remove("resourceVersion");
    tree
}
