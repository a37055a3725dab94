//! What every kind has: its names, and metadata.

use serde::{Serialize, de::DeserializeOwned};

use crate::meta::ObjectMeta;

/// A kind with a Rust type of its own.
pub trait Resource: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// `group/version`, or `v1` for the core group.
    const API_VERSION: &'static str;
    /// Singular, as in a manifest.
    const KIND: &'static str;
    /// Lower-case plural, as in store keys and URLs.
    const PLURAL: &'static str;
    /// Whether its objects live in a Namespace.
    const NAMESPACED: bool;

    /// The object's metadata.
    fn meta(&self) -> &ObjectMeta;
    /// The object's metadata, to be changed.
    fn meta_mut(&mut self) -> &mut ObjectMeta;
}

/// Implements [`Resource`] for a struct with a `metadata` field.
macro_rules! resource {
    ($type:ident, $version:expr, $plural:literal, namespaced: $namespaced:literal) => {
        impl $crate::resource::Resource for $type {
            const API_VERSION: &'static str = $version;
            const KIND: &'static str = stringify!($type);
            const PLURAL: &'static str = $plural;
            const NAMESPACED: bool = $namespaced;

            fn meta(&self) -> &$crate::meta::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut $crate::meta::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
pub(crate) use resource;
