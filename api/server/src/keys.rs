//! Where things lie in the store: `/berth/<group or core>/<plural>/<namespace or ->/<name>`, and the system's own
//! under `/berth/-/`. Names hold no `/`, so a key reads back as what it was made from.

use bytes::Bytes;

/// The first key of everything that is ours.
pub const START: &[u8] = b"/berth/";
/// The first key after everything that is ours.
pub const END: &[u8] = b"/berth0";
/// The cluster's uid.
pub const CLUSTER: &str = "/berth/-/cluster";
/// Written when the store moves without us, so that the cache catches up.
pub const SYNC: &str = "/berth/-/sync";
/// Agrees on who compacts.
pub const COMPACTION: &str = "/berth/-/compaction";

const SYSTEM: &str = "/berth/-/";

/// The folder of a kind; `group` is empty for the core group.
pub fn folder(group: &str, plural: &str) -> String {
    let group = if group.is_empty() { "core" } else { group };
    format!("/berth/{group}/{plural}/")
}

/// The epoch of a Lease: its last change of holder.
pub fn epoch(namespace: &str, lease: &str) -> Bytes {
    format!("{SYSTEM}epoch/{namespace}/{lease}").into()
}

/// What every Bind to a node writes.
pub fn ledger(node: &str) -> Bytes {
    format!("{SYSTEM}ledger/{node}").into()
}

/// Whether a key is the system's own.
pub fn is_system(key: &[u8]) -> bool {
    key.starts_with(SYSTEM.as_bytes())
}

/// What a key of an object says.
#[derive(Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// Group and plural, ending in `/`, as [`folder`] gives it.
    pub folder: &'a str,
    /// Empty for kinds without namespace.
    pub namespace: &'a str,
    /// The object's name.
    pub name: &'a str,
}

/// Reads the key of an object; none for anything else.
pub fn place(key: &[u8]) -> Option<Place<'_>> {
    let key = std::str::from_utf8(key).ok()?;
    let mut slashes = key.match_indices('/').map(|(at, _)| at).skip(3);
    let (kind_end, namespace_end) = (slashes.next()?, slashes.next()?);
    if slashes.next().is_some() || is_system(key.as_bytes()) {
        return None;
    }
    let namespace = &key[kind_end + 1..namespace_end];
    Some(Place {
        folder: &key[..=kind_end],
        namespace: if namespace == "-" { "" } else { namespace },
        name: &key[namespace_end + 1..],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_as_what_it_was_made_from() {
        let key = format!("{}shop/web-1", folder("berth.dev", "tasks"));
        let read = place(key.as_bytes()).unwrap();
        assert_eq!((read.folder, read.namespace, read.name), ("/berth/berth.dev/tasks/", "shop", "web-1"));
        assert_eq!(place(b"/berth/core/namespaces/-/default").unwrap().namespace, "");
        assert_eq!(place(&epoch("shop", "x")), None);
        assert_eq!(place(b"/berth/core/a/b/c/d"), None);
    }
}
