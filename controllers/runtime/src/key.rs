//! Names of what a controller works on, and how far a cache has come.

use std::fmt;

use berth_types::Resource;

/// Which object of a kind; the unit that a controller plans for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its Namespace; empty for kinds without.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// The key of a name in a Namespace.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of this object.
    pub fn of<K: Resource>(object: &K) -> Self {
        Self::new(&object.meta().namespace, &object.meta().name)
    }

    /// The key of the `Owner` that controls this object, if one does.
    pub fn of_controller<Owner: Resource>(object: &impl Resource) -> Option<Self> {
        let owner = object.meta().controller()?;
        let is_asked = owner.kind == Owner::KIND && owner.api_version == Owner::API_VERSION;
        let namespace = if Owner::NAMESPACED { object.meta().namespace.as_str() } else { "" };
        is_asked.then(|| Self::new(namespace, &owner.name))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// A resourceVersion as a place in the store's history: revision x 1024 + position. Larger is later.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceVersion(pub u64);

impl ResourceVersion {
    /// Reads what an object or a list carries; the beginning of history when it is not a number.
    pub fn parse(text: &str) -> Self {
        Self(text.parse().unwrap_or_default())
    }

    /// The store revision.
    pub fn revision(self) -> i64 {
        i64::try_from(self.0 / 1024).expect("u64 / 1024 fits i64")
    }

    /// The first place of a store revision. A cache that is there or later has seen the whole of it: versions of
    /// whole states end in 1023, and changes of one revision arrive together.
    pub fn of_revision(revision: i64) -> Self {
        Self(u64::try_from(revision).unwrap_or_default() * 1024)
    }
}
