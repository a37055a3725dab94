//! Which groups of a call were carried out, told by the history of the store: what a group put may have been written
//! over or removed since, but each of its puts carries its write id.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use futures::StreamExt;

use crate::value::{Value, WriteId};
use crate::{Changes, Rev, Store, StoreError};

/// A part of the history: revisions after `after` up to `until`, in which one of `keys` was written in `until`.
pub(super) struct Part {
    /// Not empty.
    pub(super) keys: Vec<Bytes>,
    pub(super) after: Rev,
    pub(super) until: Rev,
}

/// Finds the revisions of the groups that put any of the keys.
pub(super) async fn find(
    store: &dyn Store,
    part: Part,
    wanted: &HashSet<WriteId>,
) -> Result<HashMap<WriteId, Rev>, StoreError> {
    let mut found = HashMap::new();
    if part.until <= part.after {
        return Ok(found);
    }
    let first = part.keys.iter().min().expect("a part has keys");
    let last = part.keys.iter().max().expect("a part has keys");
    let end = [&last[..], &[0]].concat();
    let mut watch = store.watch(first, &end, part.after + 1).await?;
    while let Some(told) = watch.next().await {
        let changes = told?;
        found.extend(ids(&changes).filter(|id| wanted.contains(id)).map(|id| (id, changes.rev)));
        if changes.rev >= part.until {
            return Ok(found);
        }
    }
    Err(StoreError::Unavailable("the history ended early".into()))
}

/// The write ids of the puts of a revision.
fn ids(changes: &Changes) -> impl Iterator<Item = WriteId> {
    let puts = changes.changes.iter().filter_map(|change| change.now.as_ref());
    puts.filter_map(|kv| Some(Value::parse(kv.value.clone()).ok()?.write_id()))
}
