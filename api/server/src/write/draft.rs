//! The object as a write wants it: made, changed or on its way out, admitted by its kind.

use berth_failpoint::seeded_bug;
use berth_types::kinds::Managers;
use berth_types::{Fault, Reason, Timestamp};
use serde_json::Value;

use super::plan::Sight;
use super::request::{Applies, Request, Verb};
use super::told::Told;
use super::warnings;
use crate::apply::{Applied, Applier, Conflicts, Part, apply, merge_patch, track_update};
use crate::hooks::{Act, Beside, Change};
use crate::refuse::{Answer, about, forbidden_field, invalid, not_found};
use crate::table::Row;
use crate::tree;

/// The object as it is to be (none: it goes), and what happens with it.
pub struct Draft {
    /// The object without a version.
    pub tree: Option<Value>,
    /// What happens with it.
    pub beside: Beside,
    /// What the answer says beside the object.
    pub told: Told,
}

/// What becomes of the object by what is asked.
pub fn draft(request: &Request, old: Option<&Value>, seen: &Sight<'_>) -> Answer<Draft> {
    let mut draft = wanted(request, old, seen)?;
    // The last finalizer of a dying object holds it; without one it goes.
    draft.tree = draft.tree.filter(|tree| !tree::is_deleting(tree) || tree::has_finalizers(tree));
    draft.told.warnings.extend(warnings::dying(request, old, draft.tree.as_ref()));
    if let Some(tree) = &draft.tree {
        draft.told.missing = warnings::missing_owners(request, old, tree, seen);
    }
    Ok(draft)
}

fn wanted(request: &Request, old: Option<&Value>, seen: &Sight<'_>) -> Answer<Draft> {
    let row = seen.row(request);
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
        (Verb::Apply(Part::Main), None) if !request.means_one_that_exists() => {
            let applied = applied(row, request, None, Part::Main, seen.now)?;
            create(row, request, applied.object, seen)
        }
        (Verb::Apply(_) | Verb::Replace(_) | Verb::Patch(_) | Verb::Delete, None) => Err(missing()),
        (Verb::Replace(part), Some(old)) => change(row, request, old, request.body.clone(), part, seen),
        (Verb::Patch(part), Some(old)) => {
            let tree = merge_patch(old.clone(), &request.body);
            change(row, request, old, tree, part, seen)
        }
        (Verb::Apply(part), Some(old)) => {
            let Applied { object, taken, removed } = applied(row, request, Some(old), part, seen.now)?;
            let mut draft = change(row, request, old, object, part, seen)?;
            // Where no owner of a field is kept, nothing is taken from anybody.
            if row.kind.traits.managers == Managers::Tracked {
                draft.told.list(row, &taken, &removed, draft.tree.as_ref().unwrap_or(old));
            }
            Ok(draft)
        }
        (Verb::Delete, Some(old)) => delete(row, request, old, seen),
    }
}

fn refuse_faults(row: &Row, request: &Request, faults: &[Fault]) -> Answer<()> {
    if faults.is_empty() { Ok(()) } else { Err(invalid(row.name(), &request.name, faults)) }
}

fn applied(row: &Row, request: &Request, old: Option<&Value>, part: Part, now: Timestamp) -> Answer<Applied> {
    let Applies { conflicts, take_from } = &request.applies;
    // Where nobody is kept as the owner of a field, nobody can be in the way.
    let conflicts = match row.kind.traits.managers {
        Managers::Tracked => *conflicts,
        Managers::Untracked => Conflicts::Forced,
    };
    let applier = Applier { manager: &request.author.name, part, conflicts, take_from };
    let applied = apply(old, &request.body, row.kind.shape(), &applier, now);
    applied.map_err(|refusal| Box::new(refusal.status(row.name(), &request.name)))
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
    match part {
        Part::Status => {
            if !row.kind.has_status() {
                let message = format!("a {} has no status", row.name());
                return Err(about(Reason::MethodNotAllowed, row.name(), &request.name, message));
            }
            let mut tree = old.clone();
            tree::set(tree::fields(&mut tree), "status", tree::fields(&mut wanted).remove("status"));
            keep_owners(&mut tree, &wanted);
            if seeded_bug("generation-by-status") {
                raise_generation(old, &mut tree);
            }
            admitted(row, request, Some(old), tree, Act::UpdateStatus, seen)
        }
        Part::Main => {
            keep_what_is_the_servers(row, &mut wanted, old);
            name_it(row, request, &mut wanted);
            if is_a_new_spec(old, &wanted) {
                warnings::refuse_spec_of_the_dying(row, request, old, &wanted)?;
            }
            admitted(row, request, Some(old), wanted, Act::Update, seen)
        }
    }
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
    let is_dying = old.is_some_and(tree::is_deleting);
    let mut faults = faults_of(row, act, is_dying, &tree);
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
    let tree = owned(row, request, old, tree, seen.now);
    if act == Act::Update && matches!(request.verb, Verb::Replace(_) | Verb::Patch(_)) {
        // The entries of managers are new, and count in the size of the object. An apply made them before.
        refuse_faults(row, request, &faults_of(row, act, is_dying, &tree))?;
    }
    Ok(Draft { tree: Some(tree), beside, told: Told::default() })
}

/// What the object breaks. A part that the call does not write was stored under rules of its time; of what is dying, that
/// is all but the metadata.
fn faults_of(row: &Row, act: Act, is_dying: bool, tree: &Value) -> Vec<Fault> {
    let below = |part: &'static str| {
        move |fault: &Fault| {
            fault.path.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        }
    };
    let faults = || row.kind.validate(tree).into_iter();
    match act {
        Act::Update if is_dying => faults().filter(below("metadata")).collect(),
        Act::Create | Act::Update => faults().collect(),
        Act::UpdateStatus => faults().filter(below("status")).collect(),
        Act::MarkDeleted => Vec::new(),
    }
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
    if !tree::has_finalizers(old) || seeded_bug("deleted-in-one-step") {
        return Ok(Draft { tree: None, beside: Beside::default(), told: Told::default() });
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

/// The status, and fields of the metadata, that no write of the rest changes.
fn keep_what_is_the_servers(row: &Row, wanted: &mut Value, old: &Value) {
    const KEPT: [&str; 5] =
        ["uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"];
    let meta = tree::metadata(wanted);
    meta.remove("resourceVersion");
    for field in KEPT {
        tree::set(meta, field, old["metadata"].get(field).cloned());
    }
    if !row.kind.has_status() {
        return;
    }
    tree::set(tree::fields(wanted), "status", old.get("status").cloned());
    if is_a_new_spec(old, wanted) && !seeded_bug("generation-stays") {
        raise_generation(old, wanted);
    }
}

fn raise_generation(old: &Value, new: &mut Value) {
    let generation = tree::at(old, "metadata.generation").and_then(Value::as_i64).unwrap_or(0);
    tree::metadata(new).insert("generation".into(), (generation + 1).into());
}

fn name_it(row: &Row, request: &Request, tree: &mut Value) {
    let fields = tree::fields(tree);
    fields.entry("apiVersion").or_insert_with(|| row.kind.api_version.into());
    fields.entry("kind").or_insert_with(|| row.kind.kind.into());
    let meta = tree::metadata(tree);
    meta.insert("name".into(), request.name.as_str().into());
    tree::set(meta, "namespace", row.kind.namespaced.then(|| request.namespace.as_str().into()));
}

/// Whether anything but metadata and status differs.
fn is_a_new_spec(old: &Value, new: &Value) -> bool {
    let rest = |tree| {
        let fields: Option<&serde_json::Map<_, _>> = Value::as_object(tree);
        fields.into_iter().flatten().filter(|(name, _)| !matches!(name.as_str(), "metadata" | "status"))
    };
    !rest(old).eq(rest(new))
}
