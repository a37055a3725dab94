//! What one write does to an object as it is: conditions and writes of the store, decided without touching it.

use std::sync::Arc;

use berth_store::{Condition, Write};
use berth_types::kinds::Managers;
use berth_types::{Fault, Reason, Timestamp};
use bytes::Bytes;
use serde_json::Value;

use super::request::{Applies, MOST_BYTES, Precondition, Request, Verb, Wanted};
use crate::apply::{Applier, Part, apply, merge_patch, track_update};
use crate::cache::Entry;
use crate::hooks::{Act, Beside, Change, World};
use crate::refuse::{Answer, about, conflict, forbidden_field, invalid, not_found};
use crate::table::Row;
use crate::tree;

/// What one write does.
#[derive(Debug)]
pub struct Plan {
    /// What must hold.
    pub asks: Vec<Ask>,
    /// What is written; the object itself first.
    pub writes: Vec<Write>,
    /// The object afterwards.
    pub after: After,
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

/// Decides what `request` does to what is seen.
pub fn plan(request: &Request, seen: &Sight<'_>) -> Answer<Plan> {
    let row = seen.world.table.row(request.kind);
    let key = row.key(&request.path);
    check_own(row, request, seen.current.as_deref())?;
    let mut asks = outside(request, seen)?;
    let own = match &seen.current {
        Some(entry) => Condition::unchanged(key.clone(), entry.rev),
        None => Condition::absent(key.clone()),
    };
    asks.push(Ask { condition: own, by: By::Own });
    let old = seen.current.as_ref().map(|entry| without_version(entry));
    let mut draft = draft(row, request, old.as_ref(), seen)?;
    if draft.tree.as_ref().is_some_and(|tree| tree::is_deleting(tree) && !tree::has_finalizers(tree)) {
        draft.tree = None;
    }
    let mut beside = draft.beside;
    let (own_write, after) = match (draft.tree, &seen.current) {
        (Some(tree), Some(entry)) if Some(&tree) == old.as_ref() => (None, After::Unchanged(entry.clone())),
        (Some(tree), _) => {
            let json = encode(row, request, &tree)?;
            (Some(Write::put(key, json.clone())), After::Stored(json))
        }
        (None, Some(entry)) => {
            let last = old.as_ref().expect("was read from the entry");
            join(&mut beside, row.hooks.removed(&request.namespace, &request.name, last, &seen.world)?);
            (Some(Write::delete(key)), After::Gone(entry.clone()))
        }
        (None, None) => return Err(not_found(row.name(), &request.name)),
    };
    if let After::Gone(entry) = &after
        && request.deletes.orphan
    {
        join(&mut beside, orphans(entry, &seen.world));
    }
    refuse_faults(row, request, &beside.faults)?;
    asks.extend(beside.conditions.into_iter().map(|condition| Ask { condition, by: By::Sight }));
    // What happens beside a change does not happen without one.
    let beside_writes = if own_write.is_some() { beside.writes } else { Vec::new() };
    Ok(Plan { asks, writes: own_write.into_iter().chain(beside_writes).collect(), after })
}

/// The object as it is to be (none: it goes), and what happens with it.
struct Draft {
    tree: Option<Value>,
    beside: Beside,
}

fn draft(row: &Row, request: &Request, old: Option<&Value>, seen: &Sight<'_>) -> Answer<Draft> {
    let missing = || not_found(row.name(), &request.name);
    match (request.verb, old) {
        (Verb::Create, Some(_)) => {
            let message = format!("{} `{}` already exists", row.name(), request.name);
            Err(about(Reason::AlreadyExists, row.name(), &request.name, message))
        }
        (Verb::Create, None) => {
            let mut tree = request.body.clone();
            tree::metadata(&mut tree).remove("managedFields");
            create(row, request, tree, seen)
        }
        (Verb::Apply(Part::Main), None) if request.uid.is_empty() && request.version.is_none() => {
            let tree = applied(row, request, None, Part::Main, seen.now)?;
            create(row, request, tree, seen)
        }
        (Verb::Apply(_) | Verb::Replace(_) | Verb::Patch(_) | Verb::Delete, None) => Err(missing()),
        (Verb::Replace(part), Some(old)) => change(row, request, old, request.body.clone(), part, seen),
        (Verb::Patch(part), Some(old)) => {
            let tree = merge_patch(old.clone(), &request.body);
            change(row, request, old, tree, part, seen)
        }
        (Verb::Apply(part), Some(old)) => {
            let tree = applied(row, request, Some(old), part, seen.now)?;
            change(row, request, old, tree, part, seen)
        }
        (Verb::Delete, Some(old)) => delete(row, request, old, seen),
    }
}

fn applied(row: &Row, request: &Request, old: Option<&Value>, part: Part, now: Timestamp) -> Answer<Value> {
    let Applies { conflicts, take_from } = &request.applies;
    let applier = Applier { manager: &request.author.name, part, conflicts: *conflicts, take_from };
    let applied = apply(old, &request.body, row.kind.shape(), &applier, now);
    applied
        .map(|applied| applied.object)
        .map_err(|refusal| Box::new(refusal.status(row.name(), &request.name)))
}

fn create(row: &Row, request: &Request, mut tree: Value, seen: &Sight<'_>) -> Answer<Draft> {
    name_it(row, request, &mut tree);
    let meta = tree::metadata(&mut tree);
    for field in ["resourceVersion", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        meta.remove(field);
    }
    meta.insert("uid".into(), uuid::Uuid::new_v4().simple().to_string().into());
    meta.insert("creationTimestamp".into(), seen.now.whole_seconds().to_string().into());
    if row.kind.has_status() {
        meta.insert("generation".into(), 1.into());
        tree::fields(&mut tree).remove("status");
    }
    admitted(row, request, None, tree, Act::Create, seen)
}

fn change(
    row: &Row,
    request: &Request,
    old: &Value,
    mut wanted: Value,
    part: Part,
    seen: &Sight<'_>,
) -> Answer<Draft> {
    let (tree, act) = match (part, row.kind.has_status()) {
        (Part::Status, false) => {
            let message = format!("a {} has no status", row.name());
            return Err(about(Reason::MethodNotAllowed, row.name(), &request.name, message));
        }
        (Part::Status, true) => {
            let mut tree = old.clone();
            let status = tree::fields(&mut wanted).remove("status");
            tree::set(tree::fields(&mut tree), "status", status);
            keep_owners(&mut tree, &wanted);
            (tree, Act::UpdateStatus)
        }
        (Part::Main, has_status) => {
            if has_status {
                tree::set(tree::fields(&mut wanted), "status", old.get("status").cloned());
            }
            keep_what_is_the_servers(&mut wanted, old);
            name_it(row, request, &mut wanted);
            if has_status && is_a_new_spec(old, &wanted) {
                let generation = tree::at(old, "metadata.generation").and_then(Value::as_i64).unwrap_or(0);
                tree::metadata(&mut wanted).insert("generation".into(), (generation + 1).into());
            }
            (wanted, Act::Update)
        }
    };
    admitted(row, request, Some(old), tree, act, seen)
}

/// Validates what is to be stored and lets the kind's hook have its say; all faults at once.
fn admitted(
    row: &Row,
    request: &Request,
    old: Option<&Value>,
    mut tree: Value,
    act: Act,
    seen: &Sight<'_>,
) -> Answer<Draft> {
    let mut faults = if act == Act::MarkDeleted { Vec::new() } else { row.kind.validate(&tree) };
    faults.extend(new_finalizers_of_the_dying(old, &tree));
    let change = Change {
        act,
        namespace: &request.namespace,
        name: &request.name,
        old,
        new: &mut tree,
        now: seen.now,
    };
    let mut beside = row.hooks.admit(change, &seen.world)?;
    faults.append(&mut beside.faults);
    refuse_faults(row, request, &faults)?;
    Ok(Draft { tree: Some(owned(row, request, old, tree, seen.now)), beside })
}

/// Records who owns which fields, where that is recorded; an apply has done so itself.
fn owned(row: &Row, request: &Request, old: Option<&Value>, mut tree: Value, now: Timestamp) -> Value {
    if row.kind.traits.managers == Managers::Untracked {
        tree::metadata(&mut tree).remove("managedFields");
        return tree;
    }
    match (request.verb, old) {
        (Verb::Replace(part) | Verb::Patch(part), Some(old)) => {
            track_update(old, tree, row.kind.shape(), &request.author.name, part, now)
        }
        (Verb::Create | Verb::Apply(_) | Verb::Delete | Verb::Replace(_) | Verb::Patch(_), _) => tree,
    }
}

fn keep_owners(tree: &mut Value, from: &Value) {
    let owners = tree::at(from, "metadata.managedFields").cloned();
    tree::set(tree::metadata(tree), "managedFields", owners);
}

fn delete(row: &Row, request: &Request, old: &Value, seen: &Sight<'_>) -> Answer<Draft> {
    if !tree::has_finalizers(old) {
        return Ok(Draft { tree: None, beside: Beside::default() });
    }
    let mut tree = old.clone();
    let meta = tree::metadata(&mut tree);
    let grace = request.deletes.grace_seconds.map(|seconds| seconds.max(0));
    let left = meta.get("deletionGracePeriodSeconds").and_then(Value::as_i64);
    if let Some(seconds) = grace.map(|seconds| left.map_or(seconds, |left| left.min(seconds))) {
        meta.insert("deletionGracePeriodSeconds".into(), seconds.into());
    }
    if !meta.contains_key("deletionTimestamp") {
        meta.insert("deletionTimestamp".into(), seen.now.whole_seconds().to_string().into());
    }
    admitted(row, request, Some(old), tree, Act::MarkDeleted, seen)
}

fn new_finalizers_of_the_dying(old: Option<&Value>, new: &Value) -> Option<Fault> {
    let old = old.filter(|old| tree::is_deleting(old))?;
    let fresh =
        tree::texts(new, "metadata.finalizers").find(|finalizer| !tree::has_finalizer(old, finalizer))?;
    Some(forbidden_field(
        "metadata.finalizers",
        format!("`{fresh}` comes too late: the object is being deleted"),
    ))
}

fn refuse_faults(row: &Row, request: &Request, faults: &[Fault]) -> Answer<()> {
    if faults.is_empty() { Ok(()) } else { Err(invalid(row.name(), &request.name, faults)) }
}

/// Fields of the metadata that no write but the server's own changes.
fn keep_what_is_the_servers(wanted: &mut Value, old: &Value) {
    let meta = tree::metadata(wanted);
    meta.remove("resourceVersion");
    for field in ["uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        tree::set(meta, field, old["metadata"].get(field).cloned());
    }
}

fn name_it(row: &Row, request: &Request, tree: &mut Value) {
    let fields = tree::fields(tree);
    fields.entry("apiVersion").or_insert_with(|| row.kind.api_version.into());
    fields.entry("kind").or_insert_with(|| row.kind.kind.into());
    let meta = tree::metadata(tree);
    meta.insert("name".into(), request.name.as_str().into());
    tree::set(meta, "namespace", row.kind.namespaced.then(|| request.namespace.as_str().into()));
}

fn is_a_new_spec(old: &Value, new: &Value) -> bool {
    let rest = |tree: &Value| {
        let fields = tree.as_object().into_iter().flatten();
        fields.filter(|(name, _)| !matches!(name.as_str(), "metadata" | "status")).count()
    };
    let (old_fields, new_fields) = (old.as_object(), new.as_object());
    rest(old) != rest(new)
        || new_fields.into_iter().flatten().any(|(name, value)| {
            !matches!(name.as_str(), "metadata" | "status")
                && old_fields.and_then(|old| old.get(name)) != Some(value)
        })
}

fn encode(row: &Row, request: &Request, tree: &Value) -> Answer<Bytes> {
    let json = serde_json::to_vec(tree).expect("a tree is always JSON");
    if json.len() <= MOST_BYTES {
        return Ok(json.into());
    }
    let message = format!(
        "{} `{}` would be {} bytes, at most {MOST_BYTES} are stored",
        row.name(),
        request.name,
        json.len()
    );
    Err(about(Reason::RequestEntityTooLarge, row.name(), &request.name, message))
}

/// The object as it is stored: its version is not part of it.
fn without_version(entry: &Entry) -> Value {
    let mut tree = entry.tree();
    tree::metadata(&mut tree).remove("resourceVersion");
    tree
}

fn check_own(row: &Row, request: &Request, current: Option<&Entry>) -> Answer<()> {
    let Some(entry) = current.filter(|_| request.verb != Verb::Create) else { return Ok(()) };
    if !request.uid.is_empty() && *entry.uid != *request.uid {
        let why = format!("is another object now: its uid is {}, not {}", entry.uid, request.uid);
        return Err(conflict(row.name(), &request.name, why));
    }
    if request.version.is_some_and(|version| version != entry.version) {
        return Err(conflict(row.name(), &request.name, "has been modified"));
    }
    Ok(())
}

/// Conditions on anything but the object itself.
fn outside(request: &Request, seen: &Sight<'_>) -> Answer<Vec<Ask>> {
    let mut asks = Vec::new();
    if let Some(fence) = &request.fence {
        asks.push(Ask { condition: Condition::unchanged(fence.key(), fence.epoch), by: By::Fence });
    }
    for (number, wanted) in request.preconditions.iter().enumerate() {
        asks.push(ask_other(number, wanted, seen)?);
    }
    let creates = request.verb == Verb::Create && seen.current.is_none();
    if creates && seen.world.table.row(request.kind).kind.namespaced {
        asks.push(ask_namespace(&request.namespace, seen)?);
    }
    Ok(asks)
}

fn ask_other(number: usize, wanted: &Precondition, seen: &Sight<'_>) -> Answer<Ask> {
    let row = seen.world.table.row(wanted.kind);
    let key = row.key(&wanted.path);
    let (uid, version) = match &wanted.wanted {
        Wanted::Absent => {
            return Ok(Ask { condition: Condition::absent(key), by: By::Precondition(number) });
        }
        Wanted::There { uid, version } => (uid, *version),
    };
    let entry = seen.world.state.kind(wanted.kind).get(&wanted.path);
    let Some(entry) = entry.filter(|entry| uid.is_empty() || *entry.uid == **uid) else {
        return Err(broken_precondition(row, wanted));
    };
    match version {
        Some(version) if version != entry.version => Err(broken_precondition(row, wanted)),
        Some(version) => {
            Ok(Ask { condition: Condition::unchanged(key, version.rev()), by: By::Precondition(number) })
        }
        None => Ok(Ask { condition: Condition::unchanged(key, entry.rev), by: By::Sight }),
    }
}

/// The refusal for a precondition that does not hold.
pub fn broken_precondition(row: &Row, wanted: &Precondition) -> Box<berth_types::Status> {
    let name = wanted.path.rsplit('/').next().unwrap_or_default();
    let why = match &wanted.wanted {
        Wanted::Absent => "is there, and the write needs it absent",
        Wanted::There { .. } => "is not what the write was decided on",
    };
    conflict(row.name(), name, why)
}

fn ask_namespace(namespace: &str, seen: &Sight<'_>) -> Answer<Ask> {
    let id = seen.world.table.namespaces();
    let row = seen.world.table.row(id);
    let path = row.path("", namespace);
    let Some(entry) = seen.world.state.kind(id).get(&path) else {
        let message = format!("Namespace `{namespace}` was not found; create it first");
        return Err(about(Reason::NotFound, row.name(), namespace, message));
    };
    if entry.fields.iter().any(|phase| &**phase == "Terminating") {
        let message = format!("Namespace `{namespace}` is being deleted and takes nothing new");
        return Err(about(Reason::Forbidden, row.name(), namespace, message));
    }
    Ok(Ask { condition: Condition::unchanged(row.key(&path), entry.rev), by: By::Sight })
}

/// Takes an owner that goes off everything that belongs to it, in the same revision.
fn orphans(owner: &Entry, world: &World<'_>) -> Beside {
    let mut beside = Beside::default();
    for (id, row) in world.table.rows() {
        let dependents =
            world.state.kind(id).range(None, None).filter(|entry| entry.owners.contains(&owner.uid));
        for entry in dependents {
            let mut tree = without_version(entry);
            let meta = tree::metadata(&mut tree);
            if let Some(owners) = meta.get_mut("ownerReferences").and_then(Value::as_array_mut) {
                owners.retain(|reference| reference["uid"] != *owner.uid);
                if owners.is_empty() {
                    meta.remove("ownerReferences");
                }
            }
            let json = serde_json::to_vec(&tree).expect("a tree is always JSON");
            beside.conditions.push(Condition::unchanged(row.key(&entry.path), entry.rev));
            beside.writes.push(Write::put(row.key(&entry.path), json));
        }
    }
    beside
}

fn join(beside: &mut Beside, mut more: Beside) {
    beside.faults.append(&mut more.faults);
    beside.conditions.append(&mut more.conditions);
    beside.writes.append(&mut more.writes);
}
