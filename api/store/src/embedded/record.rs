//! One version as the journal holds it: kind (1 byte), length of the key (4, big endian), the key, and for a put
//! create revision, version and lease (8 each), then the value.

use bytes::{Buf, BufMut, Bytes};

use crate::{Change, Kv, Rev, StoreError};

const REMOVED: u8 = 0;
const PUT: u8 = 1;
const NUMBERS: usize = 24;

/// The record of a change.
pub(super) fn made_of(change: &Change) -> Vec<u8> {
    let size = change.now.as_ref().map_or(0, |kv| NUMBERS + kv.value.len());
    let mut record = Vec::with_capacity(5 + change.key.len() + size);
    record.put_u8(if change.now.is_some() { PUT } else { REMOVED });
    record.put_u32(u32::try_from(change.key.len()).expect("a call is at most 1.4 MB"));
    record.put_slice(&change.key);
    if let Some(kv) = &change.now {
        record.put_i64(kv.create_rev);
        record.put_i64(kv.version);
        record.put_i64(kv.lease);
        record.put_slice(&kv.value);
    }
    record
}

/// The key of a whole record.
pub(super) fn key(record: &[u8]) -> &[u8] {
    let key = record.get(1..5).and_then(|length| {
        let length = u32::from_be_bytes(length.try_into().ok()?);
        record.get(5..)?.get(..usize::try_from(length).ok()?)
    });
    key.expect("it is one that we made")
}

/// The key, and what `rev` made of it.
pub(super) fn read(rev: Rev, record: &[u8]) -> Result<(Bytes, Option<Kv>), StoreError> {
    parse(rev, record)
        .ok_or_else(|| StoreError::Damaged(format!("a record of revision {rev} cannot be read")))
}

fn parse(rev: Rev, mut record: &[u8]) -> Option<(Bytes, Option<Kv>)> {
    let kind = record.try_get_u8().ok()?;
    let length = usize::try_from(record.try_get_u32().ok()?).ok()?;
    let key = Bytes::copy_from_slice(record.get(..length)?);
    record.advance(length);
    match kind {
        REMOVED => Some((key, None)),
        PUT => {
            let create_rev = record.try_get_i64().ok()?;
            let version = record.try_get_i64().ok()?;
            let lease = record.try_get_i64().ok()?;
            let value = Bytes::copy_from_slice(record);
            Some((key.clone(), Some(Kv { key, value, create_rev, mod_rev: rev, version, lease })))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_written_and_nothing_shorter_does() {
        let key = Bytes::from_static(b"/k");
        let value = Bytes::from_static(b"v");
        let kv = Kv { key: key.clone(), value, create_rev: 3, mod_rev: 7, version: 2, lease: 9 };
        for now in [None, Some(kv)] {
            let change = Change { now: now.clone(), before: None, key: key.clone() };
            let record = made_of(&change);
            assert_eq!(read(7, &record).unwrap(), (key.clone(), now.clone()));
            let header = if now.is_some() { record.len() - 1 } else { record.len() };
            for cut in 0..header {
                assert!(read(7, &record[..cut]).is_err(), "{cut}");
            }
        }
        assert!(read(7, &[2, 0, 0, 0, 0]).is_err());
    }
}
