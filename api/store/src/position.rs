//! The place of each write within its revision, the same for whoever computes it.

use crate::value::Value;
use crate::{Changes, StoreError};

/// The highest position there is; `1023` is left to lists and bookmarks.
pub const LAST_POSITION: u16 = 1022;

/// The position of each change, in their order: a put's is stored with it, deletes follow the highest put of the
/// revision in the order of their keys. `changes` must be all of the revision, not a part of its keys.
pub fn positions(changes: &Changes) -> Result<Vec<u16>, StoreError> {
    let mut found = Vec::with_capacity(changes.changes.len());
    for change in &changes.changes {
        let stored = change.now.as_ref().map(|now| Value::parse(now.value.clone())).transpose()?;
        found.push(stored.map(|value| value.position()));
    }
    let mut next = found.iter().flatten().max().map_or(0, |highest| highest + 1);
    let placed = found.into_iter().map(|put| {
        put.unwrap_or_else(|| {
            let here = next.min(LAST_POSITION);
            next = here + 1;
            here
        })
    });
    Ok(placed.collect())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::value::{Header, WriteId};
    use crate::{Change, Kv};

    fn change(key: &'static str, put_at: Option<u16>) -> Change {
        let key = Bytes::from(key);
        let now = put_at.map(|position| {
            let header = Header { position, write_id: WriteId(1), epoch: 0, writer: String::new() };
            let value = header.before(b"{}").freeze();
            Kv { key: key.clone(), value, create_rev: 2, mod_rev: 2, version: 1, lease: 0 }
        });
        Change { now, before: None, key }
    }

    #[test]
    fn deletes_follow_the_highest_put_in_key_order() {
        let table: [(&[Option<u16>], &[u16]); 4] = [
            (&[], &[]),
            (&[None, None], &[0, 1]),
            (&[None, Some(4), None, Some(2)], &[5, 4, 6, 2]),
            (&[Some(LAST_POSITION), None, None], &[1022, 1022, 1022]),
        ];
        for (puts, expected) in table {
            let changes = puts.iter().zip(["a", "b", "c", "d"]).map(|(put, key)| change(key, *put)).collect();
            assert_eq!(positions(&Changes { rev: 2, changes }).unwrap(), expected);
        }
    }
}
