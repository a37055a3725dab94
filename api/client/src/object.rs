//! What calls are about: kinds, keys, sets of objects, and objects as they came.

use berth_proto::v1;
use berth_types::Resource;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Error;

/// Which kind, as `berth.dev/v1 App`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KindName {
    /// `group/version`, or `v1`.
    pub api_version: String,
    /// Singular, as in a manifest.
    pub kind: String,
}

impl KindName {
    /// A kind by its names.
    pub fn new(api_version: &str, kind: &str) -> Self {
        Self { api_version: api_version.into(), kind: kind.into() }
    }

    /// The kind of a Rust type.
    pub fn of<K: Resource>() -> Self {
        Self::new(K::API_VERSION, K::KIND)
    }

    pub(crate) fn wire(&self) -> v1::Kind {
        v1::Kind { api_version: self.api_version.clone(), kind: self.kind.clone() }
    }
}

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: KindName,
    /// Its Namespace; empty for kinds without.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectKey {
    /// The key of an object of a kind known by name alone.
    pub fn new(kind: KindName, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object of type `K`.
    pub fn of<K: Resource>(namespace: &str, name: &str) -> Self {
        Self::new(KindName::of::<K>(), namespace, name)
    }

    /// The key of this object.
    pub fn to<K: Resource>(object: &K) -> Self {
        Self::of::<K>(&object.meta().namespace, &object.meta().name)
    }

    /// The key that an object as JSON names; absent fields are empty.
    pub fn in_json(object: &Value) -> Self {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let kind = KindName::new(text("/apiVersion"), text("/kind"));
        Self::new(kind, text("/metadata/namespace"), text("/metadata/name"))
    }

    pub(crate) fn wire(&self) -> v1::ObjectKey {
        v1::ObjectKey {
            kind: Some(self.kind.wire()),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

/// Which objects of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Their kind.
    pub kind: KindName,
    /// Their Namespace; empty for all.
    pub namespace: String,
    /// Their labels, in Kubernetes syntax; empty for any.
    pub labels: String,
    /// `metadata.name`, `metadata.namespace` and the indexed fields of the kind, as `spec.nodeName=n1`; empty for any.
    pub fields: String,
}

impl Query {
    /// All objects of a kind known by name alone.
    pub fn new(kind: KindName) -> Self {
        Self { kind, namespace: String::new(), labels: String::new(), fields: String::new() }
    }

    /// All objects of type `K`.
    pub fn of<K: Resource>() -> Self {
        Self::new(KindName::of::<K>())
    }

    /// Only those in this Namespace.
    pub fn in_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Only those with these labels.
    pub fn labels(mut self, selector: impl Into<String>) -> Self {
        self.labels = selector.into();
        self
    }

    /// Only those with these fields.
    pub fn fields(mut self, selector: impl Into<String>) -> Self {
        self.fields = selector.into();
        self
    }
}

/// An object as the server sent it, not yet parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object(pub(crate) Bytes);

impl Object {
    /// The object as JSON.
    pub fn json(&self) -> Result<Value, Error> {
        parse(&self.0)
    }

    /// The object as a type.
    pub fn read<K: Resource>(&self) -> Result<K, Error> {
        parse(&self.0)
    }

    /// Its resourceVersion.
    pub fn version(&self) -> Result<String, Error> {
        #[derive(serde::Deserialize)]
        struct Envelope {
            metadata: Metadata,
        }
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        #[derive(Default)]
        struct Metadata {
            resource_version: String,
        }
        Ok(parse::<Envelope>(&self.0)?.metadata.resource_version)
    }
}

pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|why| Error::unreadable("an object of the server", &why))
}
