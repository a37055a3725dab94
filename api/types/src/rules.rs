//! The rules that a kind's objects keep beyond the shape of their fields.

mod app;
mod borrowed;
mod container;
mod meta;
mod node;
mod probe;
mod resources;
mod task;

use serde_json::Value;

use crate::fault::{Faults, Rule};
use crate::path::At;
use crate::resource::Resource;
use crate::shape::Shape;
use crate::walk::fitting;

/// The rules of one kind.
pub(crate) trait Rules {
    /// What the name of an object must look like.
    fn name(name: &str) -> Result<(), String>;

    /// Adds what is wrong with the object beside its metadata.
    fn check(&self, faults: &mut Faults);

    /// What an object means without its field at a path, if a default replaces it.
    fn stand_in(_object: &Value, _path: &str) -> Option<Value> {
        None
    }
}

/// Adds what the rules of `K` say of `tree`, of which `faults` holds already what its shape says.
pub(crate) fn keep_rules<K: Resource + Rules>(shape: &Shape, tree: &Value, faults: &mut Faults) {
    let read = if faults.is_empty() { K::deserialize(tree) } else { K::deserialize(&fitting(shape, tree)) };
    let mut found = Faults::default();
    match read {
        Ok(object) => {
            meta::kind_words::<K>(tree, &mut found);
            meta::check::<K>(object.meta(), &mut found);
            object.check(&mut found);
        }
        Err(why) => found.add(&At::ROOT, Rule::Type, format!("does not read as {}: {why}", K::KIND)),
    }
    faults.add_fresh(found);
}

/// The most seconds of any duration in a manifest: a year.
const SECONDS: i64 = 365 * 24 * 3600;

/// A number that must be between both, both included; absent is fine.
fn bounded(faults: &mut Faults, at: &At, number: Option<impl Into<i64>>, least: i64, most: i64) {
    let Some(number) = number.map(Into::into) else { return };
    if (least..=most).contains(&number) {
        return;
    }
    let rule = match number < least {
        true if least == 0 => "must not be negative".into(),
        true => format!("must be at least {least}"),
        false => format!("must be at most {most}"),
    };
    faults.add(at, Rule::Invalid, format!("{rule}, got {number}"));
}

/// A list or map of at most `most`.
fn at_most(faults: &mut Faults, at: &At, count: usize, most: usize) {
    if count > most {
        faults.add(at, Rule::Invalid, format!("must be at most {most}, got {count}"));
    }
}

#[cfg(test)]
mod tests;
