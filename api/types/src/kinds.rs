//! The table of built-in kinds: how each is called, its schema, and which rules its objects keep.

use std::sync::LazyLock;

use schemars::JsonSchema;
use serde_json::Value;

use crate::app::App;
use crate::core::{Event, Namespace};
use crate::fault::{Fault, Faults, Rule};
use crate::lease::Lease;
use crate::node::Node;
use crate::resource::Resource;
use crate::revision::Revision;
use crate::rules::{Rules, keep_rules};
use crate::scalar::shown;
use crate::shape::{Shape, schema_of};
use crate::spelling;
use crate::task::Task;
use crate::walk::{AsTyped, Extent, walk, walk_typed, with_amounts_as_typed};

/// A built-in kind.
pub struct Kind {
    /// `group/version`, or `v1` for the core group.
    pub api_version: &'static str,
    /// As in a manifest: `App`.
    pub kind: &'static str,
    /// As in store keys and URLs: `apps`.
    pub plural: &'static str,
    /// Whether its objects live in a Namespace.
    pub namespaced: bool,
    /// What else it is called, and who writes it.
    pub traits: Traits,
    schema: LazyLock<Value>,
    shape: LazyLock<Shape>,
    rules: fn(&Shape, &Value, &mut Faults),
    stand_in: fn(&Value, &str) -> Option<Value>,
}

/// What a kind is called beside its names in the API, and who writes it.
#[derive(Debug, Clone, Copy)]
pub struct Traits {
    /// As in messages and `get` output: `app`.
    pub singular: &'static str,
    /// What fingers type.
    pub short_names: &'static [&'static str],
    /// Whether it is kept who wrote which field.
    pub managers: Managers,
}

/// Whether an object carries `managedFields`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Managers {
    /// From its first Apply on.
    Tracked,
    /// Never: only programs write the kind, and often.
    Untracked,
}

/// Every built-in kind.
pub static KINDS: [Kind; 7] = [
    kind::<App>(Traits { singular: "app", short_names: &[], managers: Managers::Tracked }),
    kind::<Revision>(Traits { singular: "revision", short_names: &["rev"], managers: Managers::Tracked }),
    kind::<Task>(Traits { singular: "task", short_names: &[], managers: Managers::Untracked }),
    kind::<Node>(Traits { singular: "node", short_names: &["no"], managers: Managers::Tracked }),
    kind::<Namespace>(Traits { singular: "namespace", short_names: &["ns"], managers: Managers::Tracked }),
    kind::<Event>(Traits { singular: "event", short_names: &["ev"], managers: Managers::Untracked }),
    kind::<Lease>(Traits { singular: "lease", short_names: &[], managers: Managers::Untracked }),
];

const fn kind<K: Resource + JsonSchema + Rules>(traits: Traits) -> Kind {
    Kind {
        api_version: K::API_VERSION,
        kind: K::KIND,
        plural: K::PLURAL,
        namespaced: K::NAMESPACED,
        traits,
        schema: LazyLock::new(schema_of::<K>),
        shape: LazyLock::new(|| Shape::of(&schema_of::<K>())),
        rules: keep_rules::<K>,
        stand_in: K::stand_in,
    }
}

impl Kind {
    /// The kind of the Rust type `K`.
    pub fn of<K: Resource>() -> &'static Kind {
        Kind::find(K::API_VERSION, K::KIND).expect("every Resource is in the table")
    }

    /// The kind `kind` of `api_version`, both spelt exactly.
    pub fn find(api_version: &str, kind: &str) -> Option<&'static Kind> {
        KINDS.iter().find(|known| known.api_version == api_version && known.kind == kind)
    }

    /// The kind that a person means by `typed`: `apps`, `app`, `App`, `app.berth.dev`, `berth.dev/v1/App`, `ns`.
    pub fn named(typed: &str) -> Result<&'static Kind, UnknownKind> {
        let lower = typed.to_lowercase();
        let found = KINDS.iter().find(|kind| kind.answers_to(&lower));
        found.ok_or_else(|| UnknownKind::new(typed))
    }

    /// The kind of a manifest; else what is wrong with its `apiVersion` and `kind`.
    pub fn of_manifest(tree: &Value) -> Result<&'static Kind, Vec<Fault>> {
        if !tree.is_object() {
            let message = format!("must be a map with apiVersion, kind and metadata, got {}", shown(tree));
            return Err(vec![Fault::new("", Rule::Type, message)]);
        }
        match (word(tree, "apiVersion"), word(tree, "kind")) {
            (Ok(api_version), Ok(kind)) => {
                Kind::find(api_version, kind).ok_or_else(|| strange(api_version, kind))
            }
            (Err(one), Err(other)) => Err(vec![one, other]),
            (Err(fault), Ok(_)) | (Ok(_), Err(fault)) => Err(vec![fault]),
        }
    }

    /// The API group; empty for the core group.
    pub fn group(&self) -> &'static str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// Whether `status` is written by calls of its own.
    pub fn has_status(&self) -> bool {
        self.shape.field("status").is_some()
    }

    /// The JSON schema (draft 7, without references) with Kubernetes' list types.
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// The same for walks.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Every fault of an object of this kind: what its schema and the kind's rules say.
    pub fn validate(&self, tree: &Value) -> Vec<Fault> {
        let mut faults = Faults::default();
        walk(&self.shape, tree, Extent::Whole, &mut faults);
        (self.rules)(&self.shape, tree, &mut faults);
        faults.into_vec()
    }

    /// The same of an object that a person typed: amounts are judged by their text, and messages quote scalars as typed.
    pub fn validate_typed(&self, tree: &Value, typed: AsTyped<'_>) -> Vec<Fault> {
        let tree = &with_amounts_as_typed(&self.shape, tree, typed);
        let mut faults = Faults::default();
        walk_typed(&self.shape, tree, Extent::Whole, typed, &mut faults);
        (self.rules)(&self.shape, tree, &mut faults);
        faults.into_vec()
    }

    /// What `object` means without its field at `path`, as `spec.replicas`; `None` if no default replaces the field.
    pub fn stand_in(&self, object: &Value, path: &str) -> Option<Value> {
        (self.stand_in)(object, path)
    }

    fn answers_to(&self, lower: &str) -> bool {
        let name = match lower.rsplit_once('/') {
            Some((api_version, name)) if api_version == self.api_version => name,
            Some(_) => return false,
            None => match lower.split_once('.') {
                Some((name, group)) if group == self.group() => name,
                Some(_) => return false,
                None => lower,
            },
        };
        name == self.plural || name == self.traits.singular || self.traits.short_names.contains(&name)
    }
}

/// A word that is no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind `{typed}`{hint}")]
pub struct UnknownKind {
    /// The word.
    pub typed: String,
    hint: String,
}

impl UnknownKind {
    fn new(typed: &str) -> Self {
        let known = KINDS.iter().flat_map(|kind| [kind.traits.singular, kind.plural]);
        let hint = match counterpart(typed) {
            Some(kind) => format!(", Berth's counterpart is `{}`", kind.to_lowercase()),
            None => spelling::hint(typed, known),
        };
        let hint = if hint.is_empty() {
            let known: Vec<&str> = KINDS.iter().map(|kind| kind.plural).collect();
            format!(", there are {}", known.join(", "))
        } else {
            hint
        };
        Self { typed: typed.into(), hint }
    }
}

/// The kind of Berth that does what a kind of Kubernetes does.
fn counterpart(foreign: &str) -> Option<&'static str> {
    match foreign.to_lowercase().trim_end_matches('s') {
        "deployment" | "deploy" | "statefulset" | "replicaset" | "daemonset" => Some("App"),
        "pod" | "po" => Some("Task"),
        _ => None,
    }
}

fn word<'a>(tree: &'a Value, field: &str) -> Result<&'a str, Fault> {
    match &tree[field] {
        Value::String(text) if !text.is_empty() => Ok(text),
        Value::Null | Value::String(_) => {
            let example = if field == "kind" { "App" } else { crate::BERTH_V1 };
            Err(Fault::new(field, Rule::Required, format!("is needed, as `{field}: {example}`")))
        }
        other => Err(Fault::new(field, Rule::Type, format!("must be text, got {}", shown(other)))),
    }
}

/// What is wrong with a pair that is no kind: its version when the kind exists, else its kind.
fn strange(api_version: &str, kind: &str) -> Vec<Fault> {
    if let Some(known) = KINDS.iter().find(|known| known.kind == kind) {
        let message = format!("must be `{}` for kind {kind}, got `{api_version}`", known.api_version);
        return vec![Fault::new("apiVersion", Rule::NotSupported, message)];
    }
    let hint = match counterpart(kind) {
        Some(ours) => {
            let version = KINDS.iter().find(|known| known.kind == ours).map_or("", |known| known.api_version);
            format!(", Berth's counterpart is `{ours}` of `{version}`")
        }
        None => spelling::hint(kind, KINDS.iter().map(|known| known.kind)),
    };
    vec![Fault::new("kind", Rule::NotSupported, format!("unknown kind `{kind}` of `{api_version}`{hint}"))]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kind_answers_to_every_name_that_fingers_type() {
        for (typed, kind) in [
            ("apps", "App"),
            ("app", "App"),
            ("App", "App"),
            ("app.berth.dev", "App"),
            ("apps.berth.dev", "App"),
            ("berth.dev/v1/App", "App"),
            ("rev", "Revision"),
            ("tasks", "Task"),
            ("no", "Node"),
            ("node", "Node"),
            ("ns", "Namespace"),
            ("v1/Namespace", "Namespace"),
            ("ev", "Event"),
            ("leases.coordination.k8s.io", "Lease"),
        ] {
            assert_eq!(Kind::named(typed).map(|found| found.kind), Ok(kind), "{typed}");
        }
    }

    #[test]
    fn an_unknown_kind_is_told_what_was_meant() {
        for (typed, says) in [
            ("aps", "unknown kind `aps`, did you mean `apps`?"),
            ("taks", "unknown kind `taks`, did you mean `task`?"),
            ("deployments", "unknown kind `deployments`, Berth's counterpart is `app`"),
            (
                "app.apps",
                "unknown kind `app.apps`, there are apps, revisions, tasks, nodes, namespaces, events, leases",
            ),
            (
                "zzz",
                "unknown kind `zzz`, there are apps, revisions, tasks, nodes, namespaces, events, leases",
            ),
        ] {
            assert_eq!(Kind::named(typed).map(|found| found.kind).unwrap_err().to_string(), says);
        }
    }

    #[test]
    fn a_manifest_of_no_kind_is_told_why() {
        let says = |tree: Value| {
            let faults = Kind::of_manifest(&tree).map(|found| found.kind).unwrap_err();
            faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("; ")
        };
        for (tree, expected) in [
            (json!([]), "must be a map with apiVersion, kind and metadata, got a list"),
            (
                json!({}),
                "apiVersion: is needed, as `apiVersion: berth.dev/v1`; kind: is needed, as `kind: App`",
            ),
            (
                json!({"apiVersion": "apps/v1", "kind": "App"}),
                "apiVersion: must be `berth.dev/v1` for kind App, got `apps/v1`",
            ),
            (
                json!({"apiVersion": "apps/v1", "kind": "Deployment"}),
                "kind: unknown kind `Deployment` of `apps/v1`, Berth's counterpart is `App` of `berth.dev/v1`",
            ),
            (
                json!({"apiVersion": "berth.dev/v1", "kind": "Ap"}),
                "kind: unknown kind `Ap` of `berth.dev/v1`, did you mean `App`?",
            ),
        ] {
            assert_eq!(says(tree), expected);
        }
    }

    #[test]
    fn every_kind_has_a_schema_without_references() {
        for kind in &KINDS {
            assert!(!kind.schema().to_string().contains("$ref"), "{}", kind.kind);
            assert!(kind.shape().field("metadata").is_some(), "{}", kind.kind);
        }
        let with_status: Vec<&str> =
            KINDS.iter().filter(|kind| kind.has_status()).map(|kind| kind.kind).collect();
        assert_eq!(with_status, ["App", "Task", "Node", "Namespace"]);
    }
}
