//! An object under many hands, for tables: who applied or wrote what, in order, and what came of it.

use berth_types::Timestamp;
use berth_types::kinds::Kind;
use expect_test::Expect;
use serde_json::{Value, json};

use crate::apply::entries::{self, Entry};
use crate::apply::{Applier, Conflict, Conflicts, Part, Refusal, apply, merge_patch, track_update};

/// An App under many hands: who applied or wrote what, in order, and what came of it.
pub struct World {
    pub object: Option<Value>,
    pub kind: &'static Kind,
    pub second: i64,
    pub conflicts: Conflicts,
    take_from: Vec<String>,
}

impl World {
    pub fn new(kind: &str) -> Self {
        let kind = Kind::named(kind).expect("a built-in kind");
        World { object: None, kind, second: 0, take_from: Vec::new(), conflicts: Conflicts::Refused }
    }

    /// The world in which `ctl apply` works: it takes back what `ctl scale` and `ctl rollout` wrote.
    pub fn of_ctl() -> Self {
        World { take_from: vec!["ctl-scale".into(), "ctl-rollout".into()], ..World::new("app") }
    }

    pub fn forced(mut self) -> Self {
        self.conflicts = Conflicts::Forced;
        self
    }

    /// An object made by a call that is no apply.
    pub fn created(mut self, fields: Value) -> Self {
        self.object = Some(self.manifest(fields));
        self
    }

    pub fn manifest(&self, fields: Value) -> Value {
        let named =
            json!({"apiVersion": self.kind.api_version, "kind": self.kind.kind, "metadata": {"name": "web"}});
        merge_patch(named, &fields)
    }

    pub fn now(&mut self) -> Timestamp {
        self.second += 1;
        Timestamp::from_millis(self.second * 1000)
    }

    pub fn try_apply(&mut self, manager: &str, part: Part, fields: Value) -> Result<Vec<Conflict>, Refusal> {
        let (config, now) = (self.manifest(fields), self.now());
        let applier = Applier { manager, part, conflicts: self.conflicts, take_from: &self.take_from };
        let applied = apply(self.object.as_ref(), &config, self.kind.shape(), &applier, now)?;
        self.object = Some(applied.object);
        Ok(applied.taken)
    }

    pub fn applies(mut self, manager: &str, fields: Value) -> Self {
        let applied = self.try_apply(manager, Part::Main, fields);
        applied.unwrap_or_else(|refusal| panic!("{manager} is refused: {}", said(&refusal)));
        self
    }

    pub fn reports(mut self, manager: &str, status: Value) -> Self {
        self.try_apply(manager, Part::Status, json!({"status": status})).expect("no conflict");
        self
    }

    /// A merge patch by a manager that does not apply.
    pub fn patches(mut self, manager: &str, part: Part, patch: Value) -> Self {
        let now = self.now();
        let before = self.object.clone().expect("an object to patch");
        let after = merge_patch(before.clone(), &patch);
        self.object = Some(track_update(&before, after, self.kind.shape(), manager, part, now));
        self
    }

    pub fn refuses(mut self, manager: &str, fields: Value, expected: Expect) -> Self {
        let refusal = self.try_apply(manager, Part::Main, fields).expect_err("a refusal");
        expected.assert_eq(&said(&refusal));
        self
    }

    pub fn shows(self, expected: Expect) -> Self {
        expected.assert_eq(&shown(self.object.as_ref().expect("an object")));
        self
    }
}

pub fn said(refusal: &Refusal) -> String {
    let causes = refusal.status("App", "web").details.causes;
    causes.iter().map(|cause| format!("{}: {}\n", cause.field, cause.message)).collect()
}

/// The object without its names, then each entry with its time and fields.
pub fn shown(object: &Value) -> String {
    let mut lines = Vec::new();
    for part in [Part::Main, Part::Status] {
        let fields = part.of(object);
        lines.extend(
            fields.as_object().into_iter().flatten().map(|(name, value)| format!("{name} {value}\n")),
        );
    }
    for entry in entries::read(object) {
        let places: Vec<String> = entry.fields.places().iter().map(ToString::to_string).collect();
        let part = if entry.subresource.is_empty() { "" } else { " of the status" };
        let Entry { manager, operation, time, .. } = &entry;
        let second = time.trim_start_matches("1970-01-01T00:00:").trim_end_matches('Z');
        lines.push(format!("{manager} {operation:?}{part} at {second}: {}\n", places.join(" ")));
    }
    lines.concat()
}
