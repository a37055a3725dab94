//! The reserve: the first blocks of the journal's file, kept for removals, ends and leases while the disk is full.
//!
//! Flow: while the disk is short of space, rows that are urgent are appended here and not written to the tables. Once
//! there is space, they are moved to the tables, and the reserve is empty.
//!
//! Guarantees: its blocks were written when the file was made, and are written over in place. So no write to it needs
//! space, and no other file can take it. The tables begin behind it: redb neither sees it nor trims it.
//!
//! Assumptions: a block that is written over needs no new block. This is not so where a file system copies on write
//! (btrfs, zfs, a snapshot, a file of which `cp --reflink` made a copy): there, a write to a disk without any space left
//! can fail, and then the journal is read-only until its process starts anew.
//!
//! Layout: two halves, each with a head (mark, generation, checksum) and records (length, checksum, generation, rows).
//! The half of the newest generation counts; its records count up to the first that is not whole and of its generation.
//! A new generation is written to the other half and replaces the old one with its head: so the reserve is emptied, and
//! rows are left out that later ones replaced.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Buf, BufMut};

use super::rows::{self, Row};
use crate::Urgency;

/// Bytes of a half. A removal takes some 150 bytes, the end of a Task some 4 KB, renewals of leases 2 KB/s until the
/// next compaction of the store.
pub(super) const HALF: u64 = 8 << 20;

const MARK: &[u8; 8] = b"berthjr1";
const HEAD: u64 = 512;
/// What a block is made of. Some file systems make holes of zeros.
const FILLER: u8 = 0xa5;
const RECORD_HEAD: usize = 16;
const RECORD: u64 = RECORD_HEAD as u64;

/// The reserve of a journal.
#[derive(Debug)]
pub(super) struct Reserve {
    file: Arc<File>,
    half: u64,
    /// Which half counts: 0 or 1.
    active: u64,
    generation: u64,
    /// Where the next record goes in the half.
    end: u64,
    /// What is in it.
    rows: Vec<Row>,
    /// Whether the rows that are not needed any more must leave before the next append.
    is_crowded: bool,
    /// Bytes of the rows that are needed, once they were counted.
    needed: Option<u64>,
}

impl Reserve {
    /// The reserve of a file that begins with one; `None` if it does not.
    pub(super) fn open(file: &Arc<File>, half: u64) -> io::Result<Option<Self>> {
        let newest = [head_of(file, half, 0)?, head_of(file, half, 1)?].into_iter().zip(0..);
        let Some((generation, active)) =
            newest.filter_map(|(head, at)| head.map(|generation| (generation, at))).max()
        else {
            return Ok(None);
        };
        let file = file.clone();
        let mut reserve = Self {
            file,
            half,
            active,
            generation,
            end: HEAD,
            rows: Vec::new(),
            is_crowded: false,
            needed: None,
        };
        while let Some(rows) = reserve.read()? {
            reserve.rows.extend(rows);
        }
        Ok(Some(reserve))
    }

    /// Writes every block of a new reserve at the beginning of a file.
    pub(super) fn make(file: &Arc<File>, half: u64) -> io::Result<()> {
        const BLOCK: u64 = 64 << 10;
        let block = vec![FILLER; usize::try_from(BLOCK.min(half)).expect("a block fits in memory")];
        for at in (0..2 * half).step_by(block.len()) {
            file.write_all_at(&block, at)?;
        }
        file.sync_data()?;
        file.write_all_at(&head(1), 0)?;
        file.sync_data()
    }

    /// Whether a file with these first bytes is empty, or one whose making did not end.
    pub(super) fn is_to_be_made(first: &[u8]) -> bool {
        first.iter().all(|byte| [0, FILLER].contains(byte))
    }

    /// Rows that are not in the tables yet, in their order.
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Bytes of its rows.
    pub(super) fn used(&self) -> u64 {
        if self.rows.is_empty() { 0 } else { self.end - HEAD }
    }

    /// Whether rows of this urgency and of so many bytes may use it. Leases leave half of it to removals, and these leave
    /// some room for the compaction that lets go of what they replaced.
    pub(super) fn admits(&mut self, urgency: Urgency, bytes: u64) -> bool {
        let limit = match urgency {
            Urgency::Ordinary => return false,
            Urgency::Upkeep => self.half / 2,
            Urgency::Removal => self.half - self.half / 16,
            Urgency::Compaction => self.half,
        };
        let with = |used: u64| used + RECORD + bytes <= limit;
        if with(self.end) {
            return true;
        }
        let count = || rows::encoded(&rows::needed(&self.rows)).len() as u64;
        let needed = *self.needed.get_or_insert_with(count);
        let is_admitted = with(HEAD + RECORD + needed);
        self.is_crowded |= is_admitted;
        is_admitted
    }

    /// Keeps the rows; they are durable when this returns.
    pub(super) fn append(&mut self, rows: Vec<Row>) -> io::Result<()> {
        if self.is_crowded {
            self.restart(rows::needed(&self.rows))?;
        }
        let record = record_of(self.generation, &rows);
        let end = self.end + record.len() as u64;
        if end > self.half {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_all_at(&record, self.active * self.half + self.end)?;
        self.file.sync_data()?;
        self.end = end;
        self.rows.extend(rows);
        self.needed = None;
        Ok(())
    }

    /// Forgets everything, once it is in the tables.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.restart(Vec::new())
    }

    /// Goes on in the other half, with these rows.
    fn restart(&mut self, rows: Vec<Row>) -> io::Result<()> {
        let (active, generation) = (1 - self.active, self.generation + 1);
        // Also without rows: a record of this generation may be there, if a process ended before it wrote the head.
        let record = record_of(generation, &rows);
        let end = HEAD + record.len() as u64;
        self.file.write_all_at(&record, active * self.half + HEAD)?;
        self.file.sync_data()?;
        self.file.write_all_at(&head(generation), active * self.half)?;
        self.file.sync_data()?;
        (self.active, self.generation, self.end, self.rows) = (active, generation, end, rows);
        self.is_crowded = false;
        self.needed = None;
        Ok(())
    }

    /// The next record; `None` at the end.
    fn read(&mut self) -> io::Result<Option<Vec<Row>>> {
        let mut head = [0; RECORD_HEAD];
        let from = self.end + RECORD;
        if from > self.half {
            return Ok(None);
        }
        self.file.read_exact_at(&mut head, self.active * self.half + self.end)?;
        let mut fields = &head[..];
        let (length, sum, generation) = (fields.get_u32(), fields.get_u32(), fields.get_u64());
        if generation != self.generation || from + u64::from(length) > self.half {
            return Ok(None);
        }
        let mut payload = vec![0; usize::try_from(length).expect("a half fits in memory")];
        self.file.read_exact_at(&mut payload, self.active * self.half + from)?;
        if sum != checksum(generation, &payload) {
            return Ok(None);
        }
        self.end = from + u64::from(length);
        let rows = rows::decoded(&payload);
        rows.map(Some).ok_or_else(|| io::Error::other("a record of the journal's reserve cannot be read"))
    }
}

fn head(generation: u64) -> Vec<u8> {
    let mut head = MARK.to_vec();
    head.put_u64(generation);
    head.put_u32(checksum(generation, MARK));
    head
}

/// The generation of a half; `None` if it has no head.
fn head_of(file: &File, half: u64, at: u64) -> io::Result<Option<u64>> {
    let mut head = [0; 20];
    match file.read_exact_at(&mut head, at * half) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let Some(mut fields) = head.strip_prefix(MARK) else { return Ok(None) };
    let (generation, sum) = (fields.get_u64(), fields.get_u32());
    Ok((sum == checksum(generation, MARK)).then_some(generation))
}

fn checksum(generation: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&generation.to_be_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

fn record_of(generation: u64, rows: &[Row]) -> Vec<u8> {
    let payload = rows::encoded(rows);
    let mut record = Vec::with_capacity(RECORD_HEAD + payload.len());
    record.put_u32(u32::try_from(payload.len()).expect("what is admitted is far smaller"));
    record.put_u32(checksum(generation, &payload));
    record.put_u64(generation);
    record.put_slice(&payload);
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::rows::Number;

    const SMALL: u64 = 4096;

    fn row(n: i64) -> Row {
        Row::Lease(n, Some(7))
    }

    fn made() -> (tempfile::NamedTempFile, Arc<File>) {
        let named = tempfile::NamedTempFile::new().unwrap();
        let file = Arc::new(named.reopen().unwrap());
        assert!(Reserve::open(&file, SMALL).unwrap().is_none());
        Reserve::make(&file, SMALL).unwrap();
        (named, file)
    }

    fn opened(file: &Arc<File>) -> Reserve {
        Reserve::open(file, SMALL).unwrap().unwrap()
    }

    #[test]
    fn what_is_kept_reads_back_until_it_is_cleared() {
        let (_named, file) = made();
        let mut reserve = opened(&file);
        for round in 0..5 {
            let rows = [row(round), row(round + 1), row(round + 2)];
            reserve.append(rows[..1].to_vec()).unwrap();
            reserve.append(rows[1..].to_vec()).unwrap();
            let again = opened(&file);
            assert_eq!((again.rows(), again.end), (&rows[..], reserve.end));
            reserve = again;
            reserve.clear().unwrap();
            assert_eq!(opened(&file).rows(), []);
        }
    }

    /// A record that a crash left in part does not count, and neither does what is behind it.
    #[test]
    fn a_torn_record_ends_the_reserve() {
        let (_named, file) = made();
        let mut reserve = opened(&file);
        reserve.append(vec![row(1)]).unwrap();
        let first = reserve.end;
        reserve.append(vec![row(2)]).unwrap();
        let end = reserve.end;
        reserve.append(vec![row(3)]).unwrap();
        for at in first..end {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[!byte[0]], at).unwrap();
            let opened = opened(&file);
            assert_eq!((opened.rows(), opened.end), (&[row(1)][..], first), "byte {at}");
            file.write_all_at(&byte, at).unwrap();
        }
    }

    /// A process that ends while it goes over to the other half leaves a record there that must not count later.
    #[test]
    fn a_new_generation_counts_from_its_head_on() {
        let (_named, file) = made();
        let mut reserve = opened(&file);
        reserve.append(vec![row(1)]).unwrap();
        let late = record_of(reserve.generation + 1, &[row(9)]);
        file.write_all_at(&late, SMALL + HEAD).unwrap();
        let mut reserve = opened(&file);
        assert_eq!(reserve.rows(), [row(1)]);
        reserve.clear().unwrap();
        assert_eq!(opened(&file).rows(), []);
        let torn = head(reserve.generation + 1);
        file.write_all_at(&torn[..torn.len() - 1], 0).unwrap();
        assert_eq!(opened(&file).rows(), []);
    }

    #[test]
    fn leases_leave_half_of_it_to_removals_and_what_was_replaced_leaves() {
        let (_named, file) = made();
        let mut reserve = opened(&file);
        let mut appended = 0;
        let mut reached = Vec::new();
        for urgency in [Urgency::Ordinary, Urgency::Upkeep, Urgency::Removal, Urgency::Compaction] {
            while reserve.admits(urgency, 17) {
                reserve.append(vec![row(appended)]).unwrap();
                appended += 1;
            }
            reached.push(appended);
        }
        // Each takes 17 bytes of 4096 - 512.
        assert_eq!(reached, [0, 88, 193, 208]);
        let (_named, file) = made();
        let mut reserve = opened(&file);
        for n in 0..1000 {
            assert!(reserve.admits(Urgency::Upkeep, 10), "{n}");
            reserve.append(vec![Row::Number(Number::Rev, n)]).unwrap();
        }
        assert_eq!(opened(&file).rows().last(), Some(&Row::Number(Number::Rev, 999)));
    }
}
