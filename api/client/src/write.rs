//! One write: what is done to which object, under which conditions, in whose name.

use berth_proto::v1;
use berth_proto::v1::write::Verb;
use berth_types::Resource;
use bytes::Bytes;
use prost::Message;
use serde_json::Value;

use crate::failover::Resend;
use crate::object::{KindName, ObjectKey};

/// A condition on another object that must hold in the same revision as the write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Precondition(v1::Precondition);

impl Precondition {
    /// There is no such object.
    pub fn absent(key: &ObjectKey) -> Self {
        Self(v1::Precondition { key: Some(key.wire()), absent: true, ..Default::default() })
    }

    /// The object with this uid is there.
    pub fn exists(key: &ObjectKey, uid: &str) -> Self {
        Self(v1::Precondition { key: Some(key.wire()), uid: uid.into(), ..Default::default() })
    }

    /// The object is as it was at this resourceVersion.
    pub fn at_version(key: &ObjectKey, uid: &str, version: &str) -> Self {
        Self(v1::Precondition {
            key: Some(key.wire()),
            uid: uid.into(),
            resource_version: version.into(),
            absent: false,
        })
    }

    /// The object is as it was when it was read.
    pub fn unchanged<K: Resource>(object: &K) -> Self {
        Self::at_version(&ObjectKey::to(object), &object.meta().uid, &object.meta().resource_version)
    }
}

/// The epoch of a leader: once a newer one took its Lease over, its writes are refused with `Conflict`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub lease: String,
    /// Store revision of the write that took the Lease.
    pub epoch: i64,
}

impl Fence {
    pub(crate) fn wire(&self) -> v1::Fence {
        v1::Fence { namespace: self.namespace.clone(), lease: self.lease.clone(), epoch: self.epoch }
    }
}

/// Whether the writes of a batch stand and fall together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Atomicity {
    /// All or nothing, in one revision.
    All,
    /// Each on its own.
    Each,
}

/// One write, built up and sent by [`crate::Client::write`] or in a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Write(v1::Write);

impl Write {
    /// Creates an object; refused when the name is taken.
    pub fn create<K: Resource>(object: &K) -> Self {
        Self::new(Verb::Create, &ObjectKey::to(object)).carrying(typed(object))
    }

    /// Creates an object given as JSON.
    pub fn create_json(object: &Value) -> Self {
        Self::new(Verb::Create, &ObjectKey::in_json(object)).carrying(json(object))
    }

    /// Replaces an object as it was read: a uid and resourceVersion in it are preconditions.
    pub fn update<K: Resource>(object: &K) -> Self {
        Self::new(Verb::Update, &ObjectKey::to(object)).carrying(typed(object)).unchanged(object)
    }

    /// Replaces an object given as JSON; a uid and resourceVersion in it are preconditions.
    pub fn update_json(object: &Value) -> Self {
        Self::new(Verb::Update, &ObjectKey::in_json(object)).carrying(json(object)).at_version_of(object)
    }

    /// Replaces the status of an object as it was read: a uid and resourceVersion in it are preconditions.
    pub fn update_status<K: Resource>(object: &K) -> Self {
        Self::new(Verb::UpdateStatus, &ObjectKey::to(object)).carrying(typed(object)).unchanged(object)
    }

    /// Merges a patch (RFC 7386: null removes) into an object.
    pub fn patch<K: Resource>(namespace: &str, name: &str, patch: Value) -> Self {
        Self::patch_json(&ObjectKey::of::<K>(namespace, name), &patch)
    }

    /// Merges a patch into an object of a kind known by name alone.
    pub fn patch_json(key: &ObjectKey, patch: &Value) -> Self {
        Self::new(Verb::Patch, key).carrying(json(patch))
    }

    /// Merges a patch (`{"status": {...}}`) into the status of an object.
    pub fn patch_status<K: Resource>(namespace: &str, name: &str, patch: Value) -> Self {
        Self::patch_status_json(&ObjectKey::of::<K>(namespace, name), &patch)
    }

    /// Merges a patch into the status of an object of a kind known by name alone.
    pub fn patch_status_json(key: &ObjectKey, patch: &Value) -> Self {
        Self::new(Verb::PatchStatus, key).carrying(json(patch))
    }

    /// Applies the fields that `manager` wants to have; creates the object when absent.
    pub fn apply(object: &Value, manager: &str) -> Self {
        Self::new(Verb::Apply, &ObjectKey::in_json(object)).carrying(json(object)).by(manager)
    }

    /// Applies the status fields that `manager` wants to have.
    pub fn apply_status(object: &Value, manager: &str) -> Self {
        Self::new(Verb::ApplyStatus, &ObjectKey::in_json(object)).carrying(json(object)).by(manager)
    }

    /// Deletes an object; it goes once its finalizers are gone.
    pub fn delete(key: &ObjectKey) -> Self {
        Self::new(Verb::Delete, key)
    }

    /// Only if the object has this uid; an empty uid asks nothing.
    pub fn expecting_uid(mut self, uid: &str) -> Self {
        self.0.uid = uid.into();
        self
    }

    /// Only if the object is at this resourceVersion; an empty one asks nothing.
    pub fn expecting_version(mut self, version: &str) -> Self {
        self.0.resource_version = version.into();
        self
    }

    /// Only if the object is as it was when it was read.
    pub fn unchanged<K: Resource>(self, object: &K) -> Self {
        self.expecting_uid(&object.meta().uid).expecting_version(&object.meta().resource_version)
    }

    /// Only if the spec is as it was when the object was read; its status may have changed. A kind without status counts
    /// no generations: there, only if nothing of the object has changed.
    pub fn of_the_spec<K: Resource>(mut self, object: &K) -> Self {
        if object.meta().generation == 0 {
            return self.unchanged(object);
        }
        self.0.generation = object.meta().generation;
        self.expecting_uid(&object.meta().uid)
    }

    /// Only if this holds of another object in the same revision.
    pub fn requiring(mut self, precondition: Precondition) -> Self {
        self.0.preconditions.push(precondition.0);
        self
    }

    /// Only while this leader leads.
    pub fn fenced(mut self, fence: &Fence) -> Self {
        self.0.fence = Some(fence.wire());
        self
    }

    /// In the name of this manager.
    pub fn by(mut self, manager: &str) -> Self {
        self.0.field_manager = manager.into();
        self
    }

    /// In the name of this manager, unless the write names one.
    pub fn by_default(self, manager: &str) -> Self {
        if self.0.field_manager.is_empty() { self.by(manager) } else { self }
    }

    /// An apply takes every conflicting field over.
    pub fn forced(mut self) -> Self {
        self.0.force = true;
        self
    }

    /// An apply takes conflicting fields over from these managers.
    pub fn taking_from(mut self, managers: &[&str]) -> Self {
        self.0.take_from = managers.iter().map(|manager| (*manager).to_owned()).collect();
        self
    }

    /// The server answers as if it did it, and stores nothing.
    pub fn dry_run(mut self) -> Self {
        self.0.dry_run = true;
        self
    }

    /// A delete leaves this many seconds to stop.
    pub fn with_grace_seconds(mut self, seconds: i64) -> Self {
        self.0.grace_period_seconds = Some(seconds);
        self
    }

    /// A delete lets dependents live.
    pub fn orphaning(mut self) -> Self {
        self.0.orphan = true;
        self
    }

    /// The object that is written.
    pub fn key(&self) -> ObjectKey {
        let key = self.0.key.clone().unwrap_or_default();
        let kind = key.kind.unwrap_or_default();
        ObjectKey {
            kind: KindName { api_version: kind.api_version, kind: kind.kind },
            namespace: key.namespace,
            name: key.name,
        }
    }

    /// Whether it removes the object.
    pub fn is_delete(&self) -> bool {
        self.0.verb() == Verb::Delete
    }

    /// Bytes that it takes in a message, preconditions included.
    pub fn size(&self) -> usize {
        self.0.encoded_len()
    }

    /// Whether it may be sent again when its outcome is unknown.
    pub fn resend(&self) -> Resend {
        let guarded = !self.0.uid.is_empty() || !self.0.resource_version.is_empty();
        match self.0.verb() {
            Verb::Patch | Verb::PatchStatus | Verb::Apply | Verb::ApplyStatus => Resend::Safe,
            Verb::Update | Verb::UpdateStatus | Verb::Delete if guarded => Resend::Safe,
            Verb::Unspecified | Verb::Create | Verb::Update | Verb::UpdateStatus | Verb::Delete => {
                Resend::Unsafe
            }
        }
    }

    pub(crate) fn verb(&self) -> Verb {
        self.0.verb()
    }

    pub(crate) fn wire(&self) -> v1::Write {
        self.0.clone()
    }

    fn new(verb: Verb, key: &ObjectKey) -> Self {
        Self(v1::Write { verb: verb.into(), key: Some(key.wire()), ..Default::default() })
    }

    fn carrying(mut self, json: Bytes) -> Self {
        self.0.json = json;
        self
    }

    fn at_version_of(self, object: &Value) -> Self {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
        self.expecting_uid(text("/metadata/uid")).expecting_version(text("/metadata/resourceVersion"))
    }
}

/// The object as JSON, naming its kind even where the struct left that empty.
fn typed<K: Resource>(object: &K) -> Bytes {
    let mut tree = serde_json::to_value(object).expect("wire structs are always JSON");
    tree["apiVersion"] = K::API_VERSION.into();
    tree["kind"] = K::KIND.into();
    json(&tree)
}

fn json(value: &Value) -> Bytes {
    serde_json::to_vec(value).expect("a JSON value is always JSON").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_types::app::App;

    #[test]
    fn only_a_write_that_a_second_time_does_no_harm_is_resent() {
        let app = App { metadata: berth_types::ObjectMeta::named("shop", "web"), ..App::default() };
        let mut read = app.clone();
        read.metadata.resource_version = "7".into();
        let key = ObjectKey::to(&app);
        let patch = serde_json::json!({});
        for (write, expected) in [
            (Write::create(&app), Resend::Unsafe),
            (Write::update(&app), Resend::Unsafe),
            (Write::update(&read), Resend::Safe),
            (Write::patch_json(&key, &patch), Resend::Safe),
            (Write::delete(&key), Resend::Unsafe),
            (Write::delete(&key).expecting_uid("u1"), Resend::Safe),
        ] {
            assert_eq!(write.resend(), expected, "{write:?}");
        }
    }

    #[test]
    fn a_write_to_a_spec_that_was_seen_names_what_changes_with_the_spec() {
        for (generation, version) in [(0, "7"), (3, "")] {
            let mut app = App { metadata: berth_types::ObjectMeta::named("shop", "web"), ..App::default() };
            app.metadata.generation = generation;
            app.metadata.uid = "u1".into();
            app.metadata.resource_version = "7".into();
            let write = Write::delete(&ObjectKey::to(&app)).of_the_spec(&app);
            let sent = write.wire();
            assert_eq!((&*sent.uid, &*sent.resource_version, sent.generation), ("u1", version, generation));
        }
    }

    #[test]
    fn a_typed_write_always_names_its_kind() {
        let app = App { metadata: berth_types::ObjectMeta::named("shop", "web"), ..App::default() };
        let write = Write::create(&app);
        assert_eq!(write.key(), ObjectKey::of::<App>("shop", "web"));
        let sent: Value = serde_json::from_slice(&write.wire().json).unwrap();
        assert_eq!((sent["apiVersion"].as_str(), sent["kind"].as_str()), (Some("berth.dev/v1"), Some("App")));
    }
}
