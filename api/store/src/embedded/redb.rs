//! The journal on disk: the tables of redb in a part of one file, one durable transaction per append.
//!
//! Tables: `log` holds every version that can still be read, by revision and place in it; `lease` the leases with
//! their time to live; `life` every opening and the revision at which it began; `meta` the newest and the oldest readable
//! revision, the last lease's id, the history, the format. The newest value of each key is its last version: there is no
//! second copy of it. A version that a crash kept from being dropped is found superseded on load.
//!
//! While the disk is short of space, what is urgent goes to the file's reserve, and from there to the tables as soon as
//! there is space. Others may fill the disk between the look and the write: then redb gives the database up, and it is
//! opened again from the same file, as it was before the transaction or after it.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};

use super::ground::{JournalFile, Tables};
use super::journal::{Entry, Failure, Journal};
use super::lives::Lives;
use super::opening::{JournalError, past, prepare};
use super::reserve::{HALF, Reserve};
use super::rows::{Number, Row, newest, rows_of};
use super::state::{Place, State};
use super::{ENOUGH, folder, full, record};
use crate::{LeaseId, Rev, StoreError, Urgency};

pub(super) const LOG: TableDefinition<'_, (Rev, u32), &[u8]> = TableDefinition::new("log");
pub(super) const LEASE: TableDefinition<'_, LeaseId, u64> = TableDefinition::new("lease");
pub(super) const LIFE: TableDefinition<'_, u64, (i64, Rev)> = TableDefinition::new("life");
pub(super) const META: TableDefinition<'_, &str, i64> = TableDefinition::new("meta");
/// The number of transactions, in `meta`: it tells whether the last one was written.
const WRITES: &str = "writes";

const FILE: &str = "journal.redb";
/// Everything that is read is in memory already: the cache holds the pages that the next transactions touch, and is never
/// emptied.
const CACHE_BYTES: usize = 1 << 20;
/// Bytes of the disk that a transaction may take for each byte that is kept: pages are copied before they change.
const AMPLIFIED: u64 = 4;
/// A smaller file is not shrunk.
const SHRUNK_FROM: u64 = 4 << 20;
/// A file that holds more is not shrunk: all of that may have to be moved, and a writer that comes meanwhile waits.
const SHRUNK_UP_TO: u64 = 64 << 20;

/// An open journal.
pub(super) struct RedbJournal {
    dir: PathBuf,
    tables: Tables,
    /// `None` if it could not be opened again.
    database: Option<Database>,
    /// Transactions that were written since the journal was made.
    writes: i64,
    reserve: Option<Reserve>,
    /// Whether there was too little space at the last look, and what was needed.
    is_short: bool,
    needed: u64,
    free_bytes: FreeBytes,
}

/// What may still be written to the disk of a folder.
pub(super) type FreeBytes = fn(&Path) -> u64;

/// What a journal holds when it is opened.
pub(super) struct Opened {
    pub(super) journal: RedbJournal,
    pub(super) state: State,
    /// Versions that nobody can read any more.
    pub(super) garbage: Vec<Place>,
    /// Up to that which begins with this opening.
    pub(super) lives: Lives,
}

impl RedbJournal {
    /// Opens or makes the journal of a data folder that nobody else holds, and reads it.
    pub(super) fn open(dir: &Path) -> Result<Opened, StoreError> {
        Self::open_with(dir, HALF, folder::free_bytes)
    }

    /// As `open`, with another reserve and another look at the disk.
    pub(super) fn open_with(dir: &Path, half: u64, free_bytes: FreeBytes) -> Result<Opened, StoreError> {
        let failed = |error: JournalError| error.about(dir);
        let file = JournalFile::open(&dir.join(FILE), half).map_err(|error| failed(error.into()))?;
        let JournalFile { tables, reserve } = file;
        let is_new = tables.len().map_err(|error| failed(error.into()))? == 0;
        // A new database that could not be made whole takes no space, and is made again at the next start.
        let give_back = |_: &redb::Error| drop(is_new.then(|| tables.set_len(0)));
        let database = database(&tables).inspect_err(give_back).map_err(|error| failed(error.into()))?;
        let writes = writes(&database).map_err(|error| failed(error.into()))?;
        let mut journal = Self {
            dir: dir.into(),
            tables,
            database: Some(database),
            writes,
            reserve,
            is_short: false,
            needed: 0,
            free_bytes,
        };
        journal.look(0)?;
        let lives = journal.begin_life().map_err(failed)?;
        File::open(dir).and_then(|folder| folder.sync_all()).map_err(|error| failed(error.into()))?;
        let (state, garbage) = journal.load()?;
        Ok(Opened { journal, state, garbage, lives })
    }

    /// Begins a life where the history ends: it is journalled before anything is told in it.
    fn begin_life(&mut self) -> Result<Lives, JournalError> {
        if self.is_short
            && let Some(reserve) = &mut self.reserve
            && let Some(past) = past(self.database.as_ref().ok_or(redb::Error::DatabaseClosed)?)?
        {
            return past.go_on_in(reserve);
        }
        prepare(self.database()?)
    }

    fn database(&self) -> Result<&Database, redb::Error> {
        self.database.as_ref().ok_or(redb::Error::DatabaseClosed)
    }

    fn load(&self) -> Result<(State, Vec<Place>), StoreError> {
        let reserved = self.reserve.as_ref().map_or(&[][..], Reserve::rows);
        let read = self.database().map_err(damaged)?.begin_read().map_err(damaged)?;
        let meta = read.open_table(META).map_err(damaged)?;
        let number = |number: Number| -> Result<i64, StoreError> {
            Ok(meta.get(number.name()).map_err(damaged)?.map_or(0, |value| value.value()))
        };
        let now = |wanted: Number| newest(reserved, wanted).map_or_else(|| number(wanted), Ok);
        let mut state = State::empty();
        for row in read.open_table(LOG).map_err(damaged)?.iter().map_err(damaged)? {
            let (place, version) = row.map_err(damaged)?;
            recall(&mut state, place.value(), version.value())?;
        }
        let in_tables = number(Number::Rev)?;
        let mut leases = BTreeMap::new();
        for row in read.open_table(LEASE).map_err(damaged)?.iter().map_err(damaged)? {
            let (lease, ttl) = row.map_err(damaged)?;
            leases.insert(lease.value(), Some(ttl.value()));
        }
        for row in reserved {
            match row {
                Row::Version(place, version) if place.0 > in_tables => recall(&mut state, *place, version)?,
                Row::Lease(lease, ttl) => drop(leases.insert(*lease, *ttl)),
                Row::Version(..) | Row::Dropped(_) | Row::Number(..) | Row::Life(..) => {}
            }
        }
        let gone = state.recalled(now(Number::Rev)?, now(Number::Compacted)?);
        for (lease, ttl) in leases {
            if let Some(ttl) = ttl {
                state.recall_lease(lease, Duration::from_millis(ttl));
            }
        }
        state.recalled_leases(now(Number::LastLease)?);
        Ok((state, gone))
    }
}

fn recall(state: &mut State, place: Place, version: &[u8]) -> Result<(), StoreError> {
    let (key, kv) = record::read(place.0, version)?;
    state.recall(place, key, kv);
    Ok(())
}

impl Journal for RedbJournal {
    fn look(&mut self, bytes: u64) -> Result<(), StoreError> {
        self.needed = self.needed_for(bytes);
        self.is_short = (self.free_bytes)(&self.dir) < self.needed;
        if self.is_short {
            return Ok(());
        }
        match self.empty_reserve() {
            Ok(()) => Ok(()),
            Err(Failure::Refused(_)) => {
                self.is_short = true;
                Ok(())
            }
            Err(Failure::Broken(fault)) => Err(fault),
        }
    }

    fn needed(&self) -> u64 {
        self.needed_for(0)
    }

    fn admits(&mut self, urgency: Urgency, bytes: u64) -> bool {
        match &mut self.reserve {
            _ if !self.is_short => true,
            Some(reserve) => reserve.admits(urgency, bytes),
            None => urgency > Urgency::Ordinary,
        }
    }

    fn shortage(&self, urgency: Urgency) -> StoreError {
        let free = (self.free_bytes)(&self.dir);
        if urgency == Urgency::Ordinary {
            return full(&self.dir, free, self.needed);
        }
        StoreError::Full(format!(
            "the disk of {} has {} MiB left, and the reserve of the journal is used up; free some space there, and writes \
             are accepted again",
            self.dir.display(),
            free >> 20
        ))
    }

    fn append(&mut self, entries: &[Entry]) -> Result<(), Failure> {
        let rows = rows_of(entries);
        match &mut self.reserve {
            Some(reserve) if self.is_short => reserve
                .append(rows)
                .map_err(|error| Failure::Broken(read_only(&self.dir, &redb::Error::Io(error)))),
            Some(_) | None => self.write(&rows),
        }
    }

    /// A failure to open the journal again is left to the next append, which meets it too.
    fn shrink(&mut self) -> Result<(), StoreError> {
        self.look(0)?;
        if self.is_short {
            return Ok(());
        }
        match self.try_to_shrink() {
            Ok(None) => {}
            Ok(Some((before, after))) => tracing::info!(before, after, "the journal was shrunk"),
            Err(error) => {
                tracing::warn!(%error, "the journal could not be shrunk");
                if is_full(&error)
                    && let Err(error) = self.open_again()
                {
                    tracing::warn!(%error, "the journal could not be opened again");
                }
            }
        }
        Ok(())
    }
}

impl RedbJournal {
    /// The free bytes that an ordinary write of so many bytes needs. Rows in the reserve are moved first.
    fn needed_for(&self, bytes: u64) -> u64 {
        let reserved = self.reserve.as_ref().map_or(0, Reserve::used);
        ENOUGH + AMPLIFIED * (bytes + reserved)
    }

    /// Shrinks tables most of which hold nothing; their bytes before and after.
    fn try_to_shrink(&mut self) -> Result<Option<(u64, u64)>, redb::Error> {
        let before = self.tables.len()?;
        if before < SHRUNK_FROM {
            return Ok(None);
        }
        let database = self.database.as_mut().ok_or(redb::Error::DatabaseClosed)?;
        let look = database.begin_write()?;
        let stats = look.stats()?;
        let held = stats.allocated_pages() * u64::try_from(stats.page_size()).unwrap_or(u64::MAX);
        look.abort()?;
        if held > SHRUNK_UP_TO || before / 2 < held {
            return Ok(None);
        }
        database.compact()?;
        Ok(Some((before, self.tables.len()?)))
    }

    /// Moves what is in the reserve to the tables. Moved twice, it is the same.
    fn empty_reserve(&mut self) -> Result<(), Failure> {
        let rows = self.reserve.as_ref().map_or(Vec::new(), |reserve| reserve.rows().to_vec());
        if rows.is_empty() {
            return Ok(());
        }
        self.write(&rows)?;
        let cleared = self.reserve.as_mut().map_or(Ok(()), Reserve::clear);
        cleared.map_err(|error| Failure::Broken(read_only(&self.dir, &redb::Error::Io(error))))
    }

    /// Writes rows to the tables.
    fn write(&mut self, rows: &[Row]) -> Result<(), Failure> {
        let broken = |error: redb::Error| Failure::Broken(read_only(&self.dir, &error));
        let error = match self.database().and_then(|database| transact(database, rows, self.writes + 1)) {
            Ok(()) => {
                self.writes += 1;
                return Ok(());
            }
            Err(error) if is_full(&error) => error,
            Err(error) => return Err(broken(error)),
        };
        let before = self.writes;
        match self.open_again() {
            Ok(()) if self.writes > before => Ok(()),
            Ok(()) => Err(Failure::Refused(self.shortage(Urgency::Ordinary))),
            Err(_) => Err(Failure::Broken(read_only(&self.dir, &error))),
        }
    }

    /// Opens the database again, which gave itself up when the disk was full.
    fn open_again(&mut self) -> Result<(), redb::Error> {
        // Nothing is written when a database is dropped that gave itself up.
        self.database = None;
        let database = database(&self.tables)?;
        self.writes = writes(&database)?;
        self.database = Some(database);
        Ok(())
    }
}

fn database(tables: &Tables) -> Result<Database, redb::Error> {
    Ok(Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(tables.clone())?)
}

/// How many transactions were written.
fn writes(database: &Database) -> Result<i64, redb::Error> {
    match database.begin_read()?.open_table(META) {
        Ok(meta) => Ok(meta.get(WRITES)?.map_or(0, |number| number.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn transact(database: &Database, rows: &[Row], number: i64) -> Result<(), redb::Error> {
    let written = database.begin_write()?;
    {
        let mut log = written.open_table(LOG)?;
        let mut lease = written.open_table(LEASE)?;
        let mut life = written.open_table(LIFE)?;
        let mut meta = written.open_table(META)?;
        meta.insert(WRITES, number)?;
        for row in rows {
            match row {
                Row::Version(place, record) => drop(log.insert(place, record.as_slice())?),
                Row::Dropped(place) => drop(log.remove(place)?),
                Row::Lease(id, Some(ttl)) => drop(lease.insert(id, ttl)?),
                Row::Lease(id, None) => drop(lease.remove(id)?),
                Row::Number(number, value) => drop(meta.insert(number.name(), value)?),
                Row::Life(place, began) => drop(life.insert(place, began)?),
            }
        }
    }
    written.commit()?;
    Ok(())
}

pub(super) fn damaged(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Damaged(format!("the journal cannot be read: {}", error.into()))
}

pub(super) fn is_full(error: &redb::Error) -> bool {
    matches!(error, redb::Error::Io(io) if folder::disk_is_full(io))
}

fn read_only(dir: &Path, error: &redb::Error) -> StoreError {
    let dir = dir.display();
    if is_full(error) {
        return StoreError::Full(format!(
            "the journal in {dir} cannot be written: {error}; free some space there; the store then reopens by itself, \
             and reads continue until then"
        ));
    }
    StoreError::Unavailable(format!("the journal in {dir} cannot be written: {error}; restart the server"))
}
