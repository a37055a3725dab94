//! Task: its spec never changes but by Bind, its phase never goes back, and the finalizer that Bind puts on goes
//! only with its agent's acknowledgement (a final phase) or with its Node.

use berth_failpoint::seeded_bug;
use berth_store::{Condition, Urgency};
use berth_types::node::Node;
use berth_types::{Fault, NODE_FINALIZER, Phase};
use serde_json::{Value, json};

use super::{Act, Beside, Change, Hooks, World};
use crate::refuse::{Answer, forbidden_field};
use crate::room::{Amounts, Charge, is_final, requests};
use crate::tree;

/// Written by Bind alone.
const PLACEMENT: [&str; 3] = ["nodeName", "nodeUid", "assignedPorts"];

/// What a Task needs.
pub struct TaskHooks;

impl Hooks for TaskHooks {
    fn admit(&self, mut change: Change<'_>, world: &World<'_>) -> Answer<Beside> {
        Ok(match change.act {
            Act::Create => Beside::faults(create(&mut change)),
            Act::Update => update(&change, world),
            Act::UpdateStatus => {
                let faults = update_status(&mut change);
                Beside { urgency: urgency(&change), ..Beside::faults(faults) }
            }
            Act::MarkDeleted => {
                give_grace(change.new);
                Beside::default()
            }
        })
    }

    fn charge(&self, object: &Value) -> Option<Charge> {
        Charge::of_task(object)
    }
}

fn create(change: &mut Change<'_>) -> Vec<Fault> {
    let mut faults: Vec<Fault> = PLACEMENT
        .iter()
        .map(|field| format!("spec.{field}"))
        .filter(|path| tree::at(change.new, path).is_some())
        .map(|path| forbidden_field(&path, "is written by Bind alone: leave it out"))
        .collect();
    if tree::has_finalizer(change.new, NODE_FINALIZER) {
        faults.push(forbidden_field(
            "metadata.finalizers",
            format!("`{NODE_FINALIZER}` is put on by Bind alone: leave it out"),
        ));
    }
    tree::fields(change.new).insert("status".into(), json!({"phase": "Pending"}));
    faults
}

fn update(change: &Change<'_>, world: &World<'_>) -> Beside {
    let mut beside = Beside::default();
    let Some(old) = change.old else { return beside };
    if old.get("spec") != change.new.get("spec") {
        beside.faults.push(forbidden_field(
            "spec",
            "cannot be changed once a Task exists: delete the Task and create another",
        ));
    }
    let (had, has) =
        (tree::has_finalizer(old, NODE_FINALIZER), tree::has_finalizer(change.new, NODE_FINALIZER));
    match (had, has) {
        (false, true) => beside.faults.push(forbidden_field(
            "metadata.finalizers",
            format!("`{NODE_FINALIZER}` is put on by Bind alone"),
        )),
        (true, false) => release(old, world, &mut beside),
        (true, true) | (false, false) => {}
    }
    beside
}

/// The finalizer goes without the agent's word only when the node is gone for good: that uid never comes back.
fn release(old: &Value, world: &World<'_>, beside: &mut Beside) {
    if seeded_bug("finalizer-off-by-anybody") {
        return;
    }
    let node = tree::text(old, "spec.nodeName");
    let (key, entry) = world.object::<Node>(&format!("-/{node}"));
    match entry {
        None => beside.conditions.push(Condition::absent(key)),
        Some(entry) if *entry.uid != *tree::text(old, "spec.nodeUid") => {
            beside.conditions.push(Condition::unchanged(key, entry.rev));
        }
        Some(_) => beside.faults.push(forbidden_field(
            "metadata.finalizers",
            format!(
                "`{NODE_FINALIZER}` is taken off when the agent of node `{node}` reports the end, or when that Node \
                 is deleted: `ctl delete node {node}` says that nothing of it runs any more"
            ),
        )),
    }
}

fn update_status(change: &mut Change<'_>) -> Vec<Fault> {
    let Some(old) = change.old else { return Vec::new() };
    let mut faults = Vec::new();
    let (was, is) = (tree::text(old, "status.phase"), tree::text(change.new, "status.phase"));
    // What is no phase at all is a fault that validation tells.
    if let (Ok(was), Ok(is)) = (Phase::try_from(was), Phase::try_from(is))
        && !seeded_bug("phase-goes-back")
        && let Err(illegal) = was.step(is)
    {
        faults.push(forbidden_field("status.phase", illegal.to_string()));
    }
    let allocated = |task: &Value| Amounts::read(tree::at(task, "status.allocated"));
    let most = allocated(old).max(requests(old));
    if !allocated(change.new).fits_in(most) {
        faults.push(forbidden_field(
            "status.allocated",
            format!(
                "must not rise above what was allocated or is requested: {most}, got {}",
                allocated(change.new)
            ),
        ));
    }
    if is_final(is) && !tree::text(old, "spec.nodeUid").is_empty() {
        tree::remove_finalizer(change.new, NODE_FINALIZER);
    }
    faults
}

/// The end of a Task frees its node, also where the store is full.
fn urgency(change: &Change<'_>) -> Urgency {
    let is_over = |task: &Value| is_final(tree::text(task, "status.phase"));
    let ends = is_over(change.new) && !change.old.is_some_and(is_over);
    if ends { Urgency::Removal } else { Urgency::Ordinary }
}

/// The time that it is left to stop, unless the call said one: its own, or 30 s.
fn give_grace(task: &mut Value) {
    let own = tree::at(task, "spec.terminationGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(30);
    tree::metadata(task).entry("deletionGracePeriodSeconds").or_insert_with(|| own.into());
}
