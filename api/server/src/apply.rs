//! Server-side apply: each manager sends the fields it has an opinion on, and the object keeps who owns which.
//! Pure functions over trees, driven by the list types of the kind's shape; the algorithm is Kubernetes'
//! structured-merge-diff. Where it differs, on purpose:
//! - items of a keyed list that are in the applied order already are not moved, so managers that share a list do not
//!   reorder it by turns;
//! - the key fields of an item stay as long as anybody owns something in it;
//! - an empty list is owned like an empty map;
//! - from managers named in `take_from` a manager takes back, without conflict, what it applies, and under every field
//!   of the spec that it applies also what it does not mention: so a later apply ends what an undo brought back, and
//!   leaves a scale alone when the manifest names no replicas.

mod entries;
mod fields;
mod merge;
mod parts;
mod patch;
mod refusal;
mod track;
mod tree;

use berth_types::Timestamp;
use berth_types::fault::{Fault, Faults, Rule};
use berth_types::shape::Shape;
use berth_types::walk::{Extent, walk};
use serde_json::{Map, Value};

use entries::{Entry, Operation};
use merge::Merge;

pub use parts::Part;
pub use patch::merge_patch;
pub use refusal::{Conflict, Refusal, brief};
pub use track::track_update;

/// Who applies, to which part, and whose fields it may take.
#[derive(Debug, Clone, Copy)]
pub struct Applier<'a> {
    /// The manager's name.
    pub manager: &'a str,
    /// The part of the object that it writes.
    pub part: Part,
    /// What happens to conflicts.
    pub conflicts: Conflicts,
    /// Managers whose fields are its own under another name.
    pub take_from: &'a [String],
}

/// What happens when an apply changes a field that another manager owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflicts {
    /// The apply is refused.
    Refused,
    /// The field changes hands.
    Forced,
}

/// An applied object.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The object, `managedFields` included; the very tree that was there if nothing changed.
    pub object: Value,
    /// What was taken from managers of `take_from`, or by force.
    pub taken: Vec<Conflict>,
    /// What the manager applied before, does not apply any more, and nobody else owns.
    pub removed: Vec<Removed>,
}

/// A field that an apply removed because its manager does not apply it any more.
#[derive(Debug, Clone, PartialEq)]
pub struct Removed {
    /// The highest field that is gone, as `spec.replicas`.
    pub field: String,
    /// Its value.
    pub before: Option<Value>,
}

/// `live` with `config` applied; without `live` the new object. Names come from `live` or `config`; uid, versions and
/// times of the object are the caller's, and so is validating the result.
pub fn apply(
    live: Option<&Value>,
    config: &Value,
    shape: &Shape,
    applier: &Applier,
    now: Timestamp,
) -> Result<Applied, Refusal> {
    let wanted = tree::without_nulls(&applier.part.of(config));
    check(config, &wanted, shape)?;
    let said = config["apiVersion"].as_str().or_else(|| live?["apiVersion"].as_str());
    let version = said.unwrap_or_default();
    let own = Entry {
        fields: tree::fields_of(shape, &wanted),
        ..Entry::new(applier.manager, Operation::Apply, applier.part, version)
    };
    match live {
        Some(live) => Merge { live, shape, applier, wanted, own }.run(now),
        None => {
            let mut object = applier.part.replaced(&identity(config), wanted);
            entries::write(&mut object, vec![Entry { time: entries::stamp(now), ..own }]);
            Ok(Applied { object, taken: Vec::new(), removed: Vec::new() })
        }
    }
}

/// Refuses what cannot be applied whatever is there already.
fn check(config: &Value, wanted: &Value, shape: &Shape) -> Result<(), Refusal> {
    let mut faults = Faults::default();
    walk(shape, wanted, Extent::Part, &mut faults);
    let mut faults = faults.into_vec();
    if config["metadata"]["managedFields"].as_array().is_some_and(|entries| !entries.is_empty()) {
        let message = "is kept by the server and must not be applied: take it out";
        faults.push(Fault::new("metadata.managedFields", Rule::Forbidden, message));
    }
    if faults.is_empty() { Ok(()) } else { Err(Refusal::Invalid(faults)) }
}

/// The names of the object that `config` makes.
fn identity(config: &Value) -> Value {
    let named = |from: &Value, names: [&str; 2]| -> Map<String, Value> {
        names.iter().filter_map(|name| Some(((*name).to_string(), from.get(name)?.clone()))).collect()
    };
    let mut object = named(config, ["apiVersion", "kind"]);
    object.insert("metadata".into(), Value::Object(named(&config["metadata"], ["name", "namespace"])));
    Value::Object(object)
}

#[cfg(test)]
mod tests;
