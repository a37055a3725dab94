//! The journal's history as rows of its tables: what an entry writes, how rows travel, and which of them a later row
//! replaces.

use std::collections::HashSet;

use bytes::{Buf, BufMut};

use super::journal::Entry;
use super::record;
use super::state::Place;
use crate::{LeaseId, Rev};

const VERSION: u8 = 1;
const DROPPED: u8 = 2;
const GRANTED: u8 = 3;
const ENDED: u8 = 4;
const NUMBER: u8 = 5;
const LIFE: u8 = 6;

/// One change of the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Row {
    /// A version of a key.
    Version(Place, Vec<u8>),
    /// A version is removed.
    Dropped(Place),
    /// A lease with its time to live in ms; `None` removes it.
    Lease(LeaseId, Option<u64>),
    /// A number of the store.
    Number(Number, i64),
    /// An opening by its place among all: its id, and the newest revision when it began.
    Life(u64, (i64, Rev)),
}

/// The numbers of a store that its entries change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Number {
    /// The newest revision.
    Rev,
    /// The oldest readable revision.
    Compacted,
    /// The lease granted last.
    LastLease,
}

impl Number {
    const ALL: [Self; 3] = [Self::Rev, Self::Compacted, Self::LastLease];

    /// Its key in the table `meta`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rev => "rev",
            Self::Compacted => "compacted",
            Self::LastLease => "last lease",
        }
    }
}

/// What the entries write, in their order.
pub(super) fn rows_of(entries: &[Entry]) -> Vec<Row> {
    let mut rows = Vec::new();
    for entry in entries {
        match entry {
            Entry::Changed(changes) => {
                let versions = (0..).zip(&changes.changes);
                rows.extend(
                    versions
                        .map(|(place, change)| Row::Version((changes.rev, place), record::made_of(change))),
                );
                rows.push(Row::Number(Number::Rev, changes.rev));
            }
            Entry::Granted { lease, ttl } => {
                let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
                rows.push(Row::Lease(*lease, Some(millis)));
                rows.push(Row::Number(Number::LastLease, *lease));
            }
            Entry::Ended { lease } => rows.push(Row::Lease(*lease, None)),
            Entry::Compacted { rev } => rows.push(Row::Number(Number::Compacted, *rev)),
            Entry::Dropped { places } => rows.extend(places.iter().map(|place| Row::Dropped(*place))),
        }
    }
    rows
}

/// The bytes of the rows of these entries.
pub(super) fn bytes_of(entries: &[Entry]) -> u64 {
    encoded(&rows_of(entries)).len() as u64
}

/// The rows that no later row replaces: of a key those versions that can still be read, and of all else the newest.
pub(super) fn needed(rows: &[Row]) -> Vec<Row> {
    let compacted = newest(rows, Number::Compacted).unwrap_or(Rev::MIN);
    let mut taken = HashSet::new();
    let mut kept: Vec<Row> = rows
        .iter()
        .rev()
        .filter(|row| match row {
            Row::Version((rev, _), _) if *rev > compacted => true,
            Row::Version(_, record) => taken.insert(Name::Key(record::key(record))),
            // An end too, also of a lease that these rows grant: they may be in the tables already.
            Row::Lease(id, _) => taken.insert(Name::Lease(*id)),
            Row::Number(number, _) => taken.insert(Name::Number(*number)),
            Row::Dropped(_) | Row::Life(..) => true,
        })
        .cloned()
        .collect();
    kept.reverse();
    kept
}

/// What only the newest row of counts.
#[derive(PartialEq, Eq, Hash)]
enum Name<'a> {
    Key(&'a [u8]),
    Lease(LeaseId),
    Number(Number),
}

/// The newest of a number, if any row has it.
pub(super) fn newest(rows: &[Row], wanted: Number) -> Option<i64> {
    rows.iter().rev().find_map(|row| match row {
        Row::Number(number, value) if *number == wanted => Some(*value),
        _ => None,
    })
}

/// The rows as bytes.
pub(super) fn encoded(rows: &[Row]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for row in rows {
        match row {
            Row::Version((rev, place), record) => {
                bytes.put_u8(VERSION);
                bytes.put_i64(*rev);
                bytes.put_u32(*place);
                bytes.put_u32(u32::try_from(record.len()).expect("a call is at most 1.4 MB"));
                bytes.put_slice(record);
            }
            Row::Dropped((rev, place)) => {
                bytes.put_u8(DROPPED);
                bytes.put_i64(*rev);
                bytes.put_u32(*place);
            }
            Row::Lease(id, Some(millis)) => {
                bytes.put_u8(GRANTED);
                bytes.put_i64(*id);
                bytes.put_u64(*millis);
            }
            Row::Lease(id, None) => {
                bytes.put_u8(ENDED);
                bytes.put_i64(*id);
            }
            Row::Number(number, value) => {
                let index = Number::ALL.iter().position(|known| known == number).expect("all are listed");
                bytes.put_u8(NUMBER);
                bytes.put_u8(u8::try_from(index).expect("there are three"));
                bytes.put_i64(*value);
            }
            Row::Life(place, (id, began)) => {
                bytes.put_u8(LIFE);
                bytes.put_u64(*place);
                bytes.put_i64(*id);
                bytes.put_i64(*began);
            }
        }
    }
    bytes
}

/// The rows of `encoded`; `None` if the bytes are something else.
pub(super) fn decoded(mut bytes: &[u8]) -> Option<Vec<Row>> {
    let mut rows = Vec::new();
    while !bytes.is_empty() {
        rows.push(next(&mut bytes)?);
    }
    Some(rows)
}

fn next(bytes: &mut &[u8]) -> Option<Row> {
    Some(match bytes.try_get_u8().ok()? {
        VERSION => {
            let place = (bytes.try_get_i64().ok()?, bytes.try_get_u32().ok()?);
            let length = usize::try_from(bytes.try_get_u32().ok()?).ok()?;
            let record = bytes.get(..length)?.to_vec();
            bytes.advance(length);
            Row::Version(place, record)
        }
        DROPPED => Row::Dropped((bytes.try_get_i64().ok()?, bytes.try_get_u32().ok()?)),
        GRANTED => Row::Lease(bytes.try_get_i64().ok()?, Some(bytes.try_get_u64().ok()?)),
        ENDED => Row::Lease(bytes.try_get_i64().ok()?, None),
        NUMBER => {
            let number = *Number::ALL.get(usize::from(bytes.try_get_u8().ok()?))?;
            Row::Number(number, bytes.try_get_i64().ok()?)
        }
        LIFE => {
            let place = bytes.try_get_u64().ok()?;
            Row::Life(place, (bytes.try_get_i64().ok()?, bytes.try_get_i64().ok()?))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{Change, Kv};

    fn version(key: &'static str, rev: Rev, value: Option<&'static str>) -> Row {
        let key = Bytes::from_static(key.as_bytes());
        let kv = |value: &'static str| Kv {
            key: key.clone(),
            value: value.into(),
            create_rev: 1,
            mod_rev: rev,
            version: 1,
            lease: 0,
        };
        let change = Change { now: value.map(kv), before: None, key: key.clone() };
        Row::Version((rev, 0), record::made_of(&change))
    }

    #[test]
    fn rows_read_back_as_written_and_nothing_shorter_does() {
        let rows = vec![
            version("a", 3, Some("1")),
            version("a", 4, None),
            Row::Dropped((2, 7)),
            Row::Lease(1, Some(1500)),
            Row::Lease(1, None),
            Row::Number(Number::Rev, 4),
            Row::Number(Number::Compacted, 3),
            Row::Number(Number::LastLease, 1),
            Row::Life(2, (-5, 4)),
        ];
        let bytes = encoded(&rows);
        assert_eq!(decoded(&bytes), Some(rows.clone()));
        for cut in 1..bytes.len() {
            assert!(decoded(&bytes[..cut]).is_none_or(|less| less.len() < rows.len()), "{cut}");
        }
        assert_eq!(decoded(&[0]), None);
    }

    #[test]
    fn what_a_later_row_replaces_is_not_needed() {
        let number = |value| Row::Number(Number::Rev, value);
        let compacted = Row::Number(Number::Compacted, 5);
        let rows = |compacted: &[Row]| {
            let rows = [
                version("a", 3, Some("1")),
                number(3),
                version("b", 4, Some("1")),
                version("a", 5, None),
                number(5),
                version("b", 6, Some("2")),
                number(6),
                Row::Lease(1, None),
                Row::Lease(2, Some(9)),
                Row::Lease(2, None),
                Row::Lease(3, Some(9)),
                Row::Life(1, (7, 2)),
                Row::Life(2, (8, 2)),
            ];
            [&rows, compacted].concat()
        };
        let rest = [
            number(6),
            Row::Lease(1, None),
            Row::Lease(2, None),
            Row::Lease(3, Some(9)),
            Row::Life(1, (7, 2)),
            Row::Life(2, (8, 2)),
        ];
        let all = [
            version("a", 3, Some("1")),
            version("b", 4, Some("1")),
            version("a", 5, None),
            version("b", 6, Some("2")),
        ];
        assert_eq!(needed(&rows(&[])), [&all[..], &rest].concat());
        assert_eq!(
            needed(&rows(std::slice::from_ref(&compacted))),
            [&all[1..], &rest, &[compacted]].concat()
        );
    }
}
