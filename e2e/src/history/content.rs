//! Objects as clients and the store tell of them: compared by a hash of everything but their version, which the store
//! does not keep with them.

use std::io;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Writes of one revision are told apart by their position, the rest of a version divided by this.
const POSITIONS: u64 = 1024;

/// An object in an answer: which, in which version, with what in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Seen {
    /// Its key in the store.
    pub key: String,
    /// Its resourceVersion.
    pub version: u64,
    /// Of all that is in it; see [`hash`].
    pub hash: u64,
}

impl Seen {
    /// What an answer shows of an object of `folder`; none when it has no name or version.
    pub fn read(folder: &str, json: &[u8]) -> Option<Self> {
        let tree: Value = serde_json::from_slice(json).ok()?;
        let (name, version) = (tree["metadata"]["name"].as_str()?, version(&tree)?);
        let namespace = tree["metadata"]["namespace"].as_str().unwrap_or("-");
        Some(Self { key: format!("{folder}{namespace}/{name}"), version, hash: hash(&tree) })
    }
}

/// The resourceVersion of an object.
pub fn version(object: &Value) -> Option<u64> {
    object["metadata"]["resourceVersion"].as_str()?.parse().ok()
}

/// The version of the write at `position` of revision `rev`.
pub fn version_of(rev: i64, position: u64) -> u64 {
    u64::try_from(rev).unwrap_or(0) * POSITIONS + position.min(POSITIONS - 1)
}

/// The version that speaks of all of revision `rev`.
pub fn all_of(rev: i64) -> u64 {
    version_of(rev, POSITIONS - 1)
}

/// The revision that a version falls into.
pub fn rev_of(version: u64) -> i64 {
    i64::try_from(version / POSITIONS).unwrap_or(i64::MAX)
}

/// A version as a person reads it: revision and position, the latter none for all of a revision.
pub fn readable(version: u64) -> String {
    match version % POSITIONS {
        1023 => rev_of(version).to_string(),
        position => format!("{}.{position}", rev_of(version)),
    }
}

/// A hash of an object without its version, the same for the stored object and for every answer that shows it.
pub fn hash(object: &Value) -> u64 {
    let mut sum = Fnv(0xcbf2_9ce4_8422_2325);
    let written = match object.get("metadata").and_then(|meta| meta.get("resourceVersion")) {
        Some(_) => serde_json::to_writer(&mut sum, &without_version(object)),
        None => serde_json::to_writer(&mut sum, object),
    };
    written.expect("a tree is always JSON, and a sum takes all bytes");
    sum.0
}

/// The object as it is stored.
pub fn without_version(object: &Value) -> Value {
    let mut tree = object.clone();
    if let Some(meta) = tree.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("resourceVersion");
    }
    tree
}

/// FNV-1a, 64 bits: nobody chooses these objects so that two of them collide.
struct Fnv(u64);

impl io::Write for Fnv {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_hash_tells_everything_apart_but_the_version_and_the_order_of_fields() {
        let stored = json!({"data": {"a": "1"}, "metadata": {"name": "x"}});
        let text = r#"{"metadata":{"resourceVersion":"7","name":"x"},"data":{"a":"1"}}"#;
        let served: Value = serde_json::from_str(text).unwrap();
        assert_eq!(hash(&stored), hash(&served));
        let seen = Seen::read("/berth/core/configmaps/", text.as_bytes()).unwrap();
        assert_eq!(
            (seen.key.as_str(), seen.version, seen.hash),
            ("/berth/core/configmaps/-/x", 7, hash(&stored))
        );
        for other in
            [json!({"data": {"a": "2"}, "metadata": {"name": "x"}}), json!({"metadata": {"name": "x"}})]
        {
            assert_ne!(hash(&stored), hash(&other));
        }
    }

    #[test]
    fn a_version_is_a_revision_and_a_position() {
        assert_eq!((version_of(7, 3), all_of(7), rev_of(7 * 1024 + 1023)), (7171, 8191, 7));
        assert_eq!((readable(7171), readable(8191)), ("7.3".to_string(), "7".to_string()));
    }
}
