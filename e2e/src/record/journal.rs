//! Reads the journal file of an embedded store that nobody has open, by a decoder of its own, and holds it against
//! what the apiserver had told: a server that tells another history than it keeps is found out.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};

use super::tape::{RawChange, RawValue, replayed};
use crate::history::Event;

const LOG: TableDefinition<'_, (i64, u32), &[u8]> = TableDefinition::new("log");
const META: TableDefinition<'_, &str, i64> = TableDefinition::new("meta");
const FILE: &str = "journal.redb";
/// Where the tables begin in the file. Before them is a reserve, which is empty unless the disk is full.
pub const TABLES: u64 = 16 << 20;
/// The form of the journal that is known here.
const FORMAT: i64 = 1;
/// Differences that are told; after so many the rest says nothing new.
const TOLD: usize = 10;

/// What a journal holds.
#[derive(Debug, Default)]
pub struct Journal {
    /// The newest revision.
    pub rev: i64,
    /// The oldest readable revision; versions of before may be missing.
    pub compacted: i64,
    /// Every version that is left, in the order of the revisions.
    pub events: Vec<Event>,
}

/// Reads the journal in a data folder.
pub fn read(folder: &Path) -> Result<Journal, String> {
    let failed = |why: redb::Error| format!("the journal in {} cannot be read: {why}", folder.display());
    let database = open_journal(folder).map_err(failed)?;
    let (meta, records) = tables(&database).map_err(failed)?;
    let number = |name: &str| meta.get(name).copied().unwrap_or(0);
    if number("format") != FORMAT {
        return Err(format!("the journal has format {}, known is {FORMAT}", number("format")));
    }
    let events = records.iter().map(|(rev, record)| {
        let change = parse(record).ok_or_else(|| format!("a record of revision {rev} cannot be read"))?;
        change.event(*rev, 0)
    });
    Ok(Journal {
        rev: number("rev"),
        compacted: number("compacted"),
        events: events.collect::<Result<_, _>>()?,
    })
}

/// The tables of a journal that nobody has open.
pub fn open_journal(folder: &Path) -> Result<Database, redb::Error> {
    let file = File::options().read(true).write(true).open(folder.join(FILE))?;
    Ok(Database::builder().create_with_backend(Tables(file))?)
}

#[derive(Debug)]
struct Tables(File);

impl StorageBackend for Tables {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len().saturating_sub(TABLES))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, TABLES + offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(TABLES + len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, TABLES + offset)
    }
}

type Rows = (BTreeMap<String, i64>, Vec<(i64, Vec<u8>)>);

fn tables(database: &Database) -> Result<Rows, redb::Error> {
    let read = database.begin_read()?;
    let mut meta = BTreeMap::new();
    for row in read.open_table(META)?.iter()? {
        let (name, number) = row?;
        meta.insert(name.value().to_owned(), number.value());
    }
    let mut records = Vec::new();
    for row in read.open_table(LOG)?.iter()? {
        let (place, record) = row?;
        records.push((place.value().0, record.value().to_vec()));
    }
    Ok((meta, records))
}

/// Kind (1 byte: 0 removed, 1 put), length of the key (4, big endian), the key; for a put create revision, version and
/// lease (8 each), the value.
fn parse(record: &[u8]) -> Option<RawChange> {
    let (kind, rest) = record.split_first()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (key, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    let key = key.to_vec();
    match kind {
        0 if rest.is_empty() => Some(RawChange { key, now: None }),
        1 => {
            let (create_rev, rest) = rest.split_first_chunk::<8>()?;
            let (version, rest) = rest.split_first_chunk::<8>()?;
            let (lease, bytes) = rest.split_first_chunk::<8>()?;
            let [create_rev, version, lease] = [create_rev, version, lease].map(|n| i64::from_be_bytes(*n));
            let now = RawValue { create_rev, version, lease, bytes: bytes.to_vec() };
            Some(RawChange { key, now: Some(now) })
        }
        _ => None,
    }
}

/// What an apiserver had journalled when it ended, and could not tell any more, is added to `events`; where what it told
/// and what it kept differ otherwise is returned.
pub fn compare(events: &mut Vec<Event>, journal: Journal) -> Vec<String> {
    let told_to = events.last().map_or(1, |event| event.rev);
    let mut wrong = Vec::new();
    if told_to > journal.rev {
        wrong.push(format!("revision {told_to} was told, the journal ends with {}", journal.rev));
    }
    let (old, tail): (Vec<_>, Vec<_>) = journal.events.into_iter().partition(|event| event.rev <= told_to);
    let told: BTreeMap<(i64, &str), &Event> =
        events.iter().map(|event| ((event.rev, event.key.as_str()), event)).collect();
    for kept in &old {
        match told.get(&(kept.rev, kept.key.as_str())) {
            None => {
                wrong.push(format!("revision {} kept a change of {} and did not tell it", kept.rev, kept.key))
            }
            Some(told) if told.now != kept.now => {
                wrong.push(format!("revision {} told {} other than it kept it", kept.rev, kept.key));
            }
            Some(_) => {}
        }
    }
    let kept: HashSet<(i64, &str)> = old.iter().map(|event| (event.rev, event.key.as_str())).collect();
    let last = replayed(events);
    for told in events.iter().filter(|event| !kept.contains(&(event.rev, event.key.as_str()))) {
        let readable = told.rev > journal.compacted;
        let newest = last.get(told.key.as_str()).is_some_and(|last| last.rev == told.rev);
        if readable || newest {
            wrong.push(format!("revision {} told a change of {} and did not keep it", told.rev, told.key));
        }
    }
    let ends = tail.last().map_or(told_to, |event| event.rev);
    if ends != journal.rev && wrong.is_empty() {
        wrong.push(format!("the journal says that it ends with {}, and ends with {ends}", journal.rev));
    }
    wrong.truncate(TOLD);
    events.extend(tail);
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: Option<&str>) -> Vec<u8> {
        let mut record = vec![u8::from(value.is_some())];
        record.extend(u32::try_from(key.len()).unwrap().to_be_bytes());
        record.extend(key.as_bytes());
        if let Some(value) = value {
            [2i64, 1, 0].iter().for_each(|number| record.extend(number.to_be_bytes()));
            record.extend([1; 27]);
            record.push(0);
            record.extend(value.as_bytes());
        }
        record
    }

    fn event(rev: i64, key: &str, value: Option<&str>) -> Event {
        parse(&record(key, value)).unwrap().event(rev, 0).unwrap()
    }

    fn told() -> Vec<Event> {
        vec![
            event(2, "a", Some("1")),
            event(3, "a", Some("2")),
            event(3, "b", Some("3")),
            event(4, "b", None),
        ]
    }

    fn kept(events: Vec<Event>) -> Journal {
        Journal { rev: 4, compacted: 0, events }
    }

    #[test]
    fn a_record_is_read_and_nothing_shorter_is() {
        let put = record("/k", Some("v"));
        assert_eq!(parse(&put).unwrap().now.unwrap().create_rev, 2);
        assert!((0..put.len() - 29).all(|cut| parse(&put[..cut]).is_none()));
        assert_eq!(parse(&record("/k", None)).unwrap(), RawChange { key: b"/k".to_vec(), now: None });
    }

    #[test]
    fn what_was_kept_as_it_was_told_is_right() {
        assert_eq!(compare(&mut told(), kept(told())), [""; 0]);
        let newest_alone = vec![told().remove(1), told().remove(3)];
        assert_eq!(compare(&mut told(), Journal { compacted: 3, ..kept(newest_alone) }), [""; 0]);
    }

    #[test]
    fn what_was_kept_and_not_told_any_more_is_taken_over() {
        let mut events = told();
        let late = event(4, "b", None);
        assert_eq!((events.pop().unwrap(), compare(&mut events, kept(told()))), (late, Vec::new()));
        assert_eq!(events, told());
    }

    #[test]
    fn every_difference_is_told() {
        let other = event(3, "a", Some("other"));
        let without = |index: usize| {
            let mut events = told();
            events.remove(index);
            events
        };
        let changed = [&told()[..1], &[other], &told()[2..]].concat();
        let mut seen = compare(&mut told(), kept(changed));
        seen.extend(compare(&mut told(), kept(without(1))));
        seen.extend(compare(&mut without(1), kept(told())));
        seen.extend(compare(&mut told(), Journal { compacted: 4, ..kept(without(1)) }));
        seen.extend(compare(&mut told(), Journal { rev: 3, ..kept(without(3)) }));
        seen.extend(compare(&mut told(), Journal { rev: 5, ..kept(told()) }));
        expect_test::expect![[r#"
            revision 3 told a other than it kept it
            revision 3 told a change of a and did not keep it
            revision 3 kept a change of a and did not tell it
            revision 3 told a change of a and did not keep it
            revision 4 was told, the journal ends with 3
            revision 4 told a change of b and did not keep it
            the journal says that it ends with 5, and ends with 4"#]]
        .assert_eq(&seen.join("\n"));
    }
}
