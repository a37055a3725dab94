//! Sets of fields of an object, in the tree form that `managedFields` keeps (FieldsV1).

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

/// One step towards a field, in its FieldsV1 form: `f:name` into a field or entry, `k:{"name":"web"}` into the item of
/// a list with these keys, `v:"x"` to the item of a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step(String);

impl Step {
    /// Into the field or entry `name`.
    pub fn field(name: &str) -> Self {
        Self(format!("f:{name}"))
    }

    /// Into the item of a keyed list whose key fields are these.
    pub fn key(keys: Map<String, Value>) -> Self {
        Self(format!("k:{}", Value::Object(keys)))
    }

    /// To an item of a set.
    pub fn value(item: &Value) -> Self {
        Self(format!("v:{item}"))
    }

    /// The name, if it is a step into a field or entry.
    pub fn name(&self) -> Option<&str> {
        self.0.strip_prefix("f:")
    }

    /// The key fields, if it is a step into an item of a keyed list.
    fn keys(&self) -> Option<Map<String, Value>> {
        serde_json::from_str(self.0.strip_prefix("k:")?).ok()
    }
}

/// A set of fields: whether the place itself is in it, and which places below.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Whether this very place is in the set.
    pub member: bool,
    /// What is below, never an empty set.
    below: BTreeMap<Step, FieldSet>,
}

impl FieldSet {
    /// The set of one place.
    pub fn leaf() -> Self {
        Self { member: true, below: BTreeMap::new() }
    }

    /// The same as the set of a whole object, which is no field itself.
    pub fn of_object(self) -> Self {
        Self { member: false, ..self }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }

    /// Puts `inner` below `step`.
    pub fn put(&mut self, step: Step, inner: FieldSet) {
        if !inner.is_empty() {
            self.below.insert(step, inner);
        }
    }

    /// What is below `step`.
    pub fn at(&self, step: &Step) -> Option<&FieldSet> {
        self.below.get(step)
    }

    /// Each step down with what is below it.
    pub fn below(&self) -> impl Iterator<Item = (&Step, &FieldSet)> {
        self.below.iter()
    }

    /// What is in either.
    pub fn union(mut self, other: FieldSet) -> FieldSet {
        self.member |= other.member;
        for (step, theirs) in other.below {
            let ours = self.below.remove(&step).unwrap_or_default();
            self.below.insert(step, ours.union(theirs));
        }
        self
    }

    /// What is in this and not in `other`.
    pub fn minus(&self, other: &FieldSet) -> FieldSet {
        let mut rest = FieldSet { member: self.member && !other.member, below: BTreeMap::new() };
        for (step, ours) in &self.below {
            let left = other.at(step).map_or_else(|| ours.clone(), |theirs| ours.minus(theirs));
            rest.put(step.clone(), left);
        }
        rest
    }

    /// What is in both.
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        let mut both = FieldSet { member: self.member && other.member, below: BTreeMap::new() };
        for (step, ours) in &self.below {
            if let Some(theirs) = other.at(step) {
                both.put(step.clone(), ours.intersection(theirs));
            }
        }
        both
    }

    /// The set with every place on the way to one of its places, and the key fields of every item on the way:
    /// what must stay for the set to stay.
    pub fn closed(&self) -> FieldSet {
        let mut closed = FieldSet { member: self.member || !self.below.is_empty(), below: BTreeMap::new() };
        for (step, inner) in &self.below {
            let mut inner = inner.closed();
            for name in step.keys().unwrap_or_default().keys() {
                inner.below.entry(Step::field(name)).or_default().member = true;
            }
            closed.below.insert(step.clone(), inner);
        }
        closed
    }

    /// The places in it, in order.
    pub fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        self.collect(&mut Vec::new(), &mut places);
        places
    }

    /// The highest places in it at or below which `other` has a place, in order. `metadata` and `spec` themselves are
    /// never one: their fields are.
    pub fn highest_with(&self, other: &FieldSet) -> Vec<Place> {
        let mut places = Vec::new();
        self.descend(other, &mut Vec::new(), &mut places);
        places
    }

    fn descend(&self, other: &FieldSet, way: &mut Vec<Step>, places: &mut Vec<Place>) {
        if self.member && way.len() > 1 {
            places.push(Place(way.clone()));
            return;
        }
        for (step, inner) in &self.below {
            if let Some(theirs) = other.at(step) {
                way.push(step.clone());
                inner.descend(theirs, way, places);
                way.pop();
            }
        }
    }

    fn collect(&self, way: &mut Vec<Step>, places: &mut Vec<Place>) {
        if self.member {
            places.push(Place(way.clone()));
        }
        for (step, inner) in &self.below {
            way.push(step.clone());
            inner.collect(way, places);
            way.pop();
        }
    }

    /// As FieldsV1.
    pub fn to_fields_v1(&self) -> Value {
        let mut tree = Map::new();
        if self.member && !self.below.is_empty() {
            tree.insert(".".into(), Value::Object(Map::new()));
        }
        for (step, inner) in &self.below {
            tree.insert(step.0.clone(), inner.to_fields_v1());
        }
        Value::Object(tree)
    }

    /// Reads the FieldsV1 of a whole object; what is no step is left out.
    pub fn of_fields_v1(tree: &Value) -> FieldSet {
        Self::of_place(tree).of_object()
    }

    fn of_place(tree: &Value) -> FieldSet {
        let Some(entries) = tree.as_object() else { return FieldSet::default() };
        let mut set = FieldSet { member: entries.is_empty() || entries.contains_key("."), ..Self::default() };
        for (key, inner) in entries.iter().filter(|(key, _)| key.as_bytes().get(1) == Some(&b':')) {
            set.put(Step(key.clone()), Self::of_place(inner));
        }
        set
    }
}

/// The way to a field; shown as `spec.containers[name="web"].image`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub Vec<Step>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match (step.name(), step.keys()) {
                (Some(name), _) if name.contains(['.', '/', '[']) => write!(f, "[{name}]")?,
                (Some(name), _) if index == 0 => f.write_str(name)?,
                (Some(name), _) => write!(f, ".{name}")?,
                (None, Some(keys)) => {
                    let pairs: Vec<String> =
                        keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
                    write!(f, "[{}]", pairs.join(","))?;
                }
                (None, None) => write!(f, "[{}]", step.0.get(2..).unwrap_or_default())?,
            }
        }
        Ok(())
    }
}
