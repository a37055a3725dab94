//! One apply to an object that exists.

use berth_types::Timestamp;
use berth_types::shape::Shape;
use serde_json::Value;

use super::entries::{self, BEFORE_FIRST_APPLY, Entry, Operation};
use super::fields::{FieldSet, Place, Step};
use super::parts::Part;
use super::refusal::{Conflict, Refusal};
use super::tree;
use super::{Applied, Applier, Conflicts, Removed};

/// One apply to an object that exists.
pub(super) struct Merge<'a> {
    pub live: &'a Value,
    pub shape: &'a Shape,
    pub applier: &'a Applier<'a>,
    /// What is applied.
    pub wanted: Value,
    /// The entry that the applier gets, its time not yet set.
    pub own: Entry,
}

/// What an apply makes of the part that it writes.
struct Difference {
    before: Value,
    after: Value,
    /// Fields that are new or have another value.
    changed: FieldSet,
    /// Fields that are gone.
    removed: FieldSet,
}

impl Merge<'_> {
    pub(super) fn run(self, now: Timestamp) -> Result<Applied, Refusal> {
        let old = entries::read(self.live);
        let mut rivals = if old.is_empty() { self.before_first_apply(now) } else { old.clone() };
        let last = entries::take(&mut rivals, &self.own);
        let (time, last) = last.map_or_else(Default::default, |last| (last.time, last.fields));

        let mut others = rivals.clone();
        let absorbed = self.absorb(&mut others);
        let difference = self.difference(&others, last.clone().union(absorbed));
        let taken = self.judge(&rivals, &difference)?;
        let removed = self.removed(&last, &difference);

        entries::disown(&mut others, &difference.changed.union(difference.removed));
        let own = Entry { time, ..self.own };
        let settled: Vec<Entry> = others.iter().cloned().chain([own.clone()]).collect();
        if difference.before == difference.after && entries::same(&settled, &old) {
            return Ok(Applied { object: self.live.clone(), taken, removed });
        }
        let mut object = self.applier.part.replaced(self.live, difference.after);
        others.push(Entry { time: entries::stamp(now), ..own });
        entries::write(&mut object, others);
        Ok(Applied { object, taken, removed })
    }

    /// Who owns what was there when nobody was tracked yet.
    fn before_first_apply(&self, now: Timestamp) -> Vec<Entry> {
        let version = self.live["apiVersion"].as_str().unwrap_or_default();
        let fields = tree::fields_of(self.shape, &Part::Main.of(self.live));
        if fields.is_empty() {
            return Vec::new();
        }
        let entry = Entry::new(BEFORE_FIRST_APPLY, Operation::Update, Part::Main, version);
        vec![Entry { fields, time: entries::stamp(now), ..entry }]
    }

    /// Takes from the managers whose fields are the applier's own whatever they have under a field of the spec that is
    /// applied.
    fn absorb(&self, others: &mut [Entry]) -> FieldSet {
        let spec = Step::field("spec");
        let mut absorbed = FieldSet::default();
        let Some(applied) = self.own.fields.at(&spec) else { return absorbed };
        for entry in others.iter_mut().filter(|entry| self.takes_from(&entry.manager)) {
            let mut under_spec = FieldSet::default();
            for (step, fields) in entry.fields.at(&spec).into_iter().flat_map(FieldSet::below) {
                if applied.at(step).is_some() {
                    under_spec.put(step.clone(), fields.clone());
                }
            }
            let mut fields = FieldSet::default();
            fields.put(spec.clone(), under_spec);
            entry.fields = entry.fields.minus(&fields);
            absorbed = absorbed.union(fields);
        }
        absorbed
    }

    fn takes_from(&self, manager: &str) -> bool {
        manager == self.applier.manager || self.applier.take_from.iter().any(|name| name == manager)
    }

    /// Merges what is applied, and takes out what was the applier's, is not applied any more, and nobody else owns.
    fn difference(&self, others: &[Entry], last: FieldSet) -> Difference {
        let before = self.applier.part.of(self.live);
        let owned = |set: FieldSet, entry: &Entry| set.union(entry.fields.clone());
        let kept = others.iter().fold(self.own.fields.clone(), owned).closed();
        let merged = tree::merged(self.shape, &before, &self.wanted);
        let after = tree::without(self.shape, &merged, &last.minus(&kept), &kept);
        let changed = tree::changed(self.shape, &before, &after);
        let removed = tree::removed(self.shape, &before, &after);
        Difference { before, after, changed, removed }
    }

    /// What is gone of the fields of the applier's `last` apply.
    fn removed(&self, last: &FieldSet, difference: &Difference) -> Vec<Removed> {
        let places = difference.removed.highest_with(last);
        let removed = |place: &Place| Removed {
            field: place.to_string(),
            before: tree::value_at(self.shape, &difference.before, place).cloned(),
        };
        places.iter().map(removed).collect()
    }

    /// What the apply takes from others; the refusal if it may not.
    fn judge(&self, rivals: &[Entry], difference: &Difference) -> Result<Vec<Conflict>, Refusal> {
        let mut refused = Vec::new();
        let mut taken = Vec::new();
        for rival in rivals {
            let own_name = self.takes_from(&rival.manager);
            let mut clash = rival.fields.intersection(&difference.changed);
            if own_name {
                clash = clash.union(rival.fields.intersection(&difference.removed));
            }
            let side = match self.applier.conflicts {
                Conflicts::Forced => &mut taken,
                Conflicts::Refused if own_name => &mut taken,
                Conflicts::Refused => &mut refused,
            };
            side.extend(clash.places().into_iter().map(|place| {
                let value = |tree| tree::value_at(self.shape, tree, &place).cloned();
                Conflict {
                    manager: rival.manager.clone(),
                    field: place.to_string(),
                    present: value(&difference.before),
                    wanted: value(&difference.after),
                }
            }));
        }
        if refused.is_empty() { Ok(taken) } else { Err(Refusal::Conflicts(refused)) }
    }
}
