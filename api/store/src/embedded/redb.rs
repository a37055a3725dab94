//! The journal on disk: one redb file, one durable transaction per append.
//!
//! Tables: `log` holds every version that can still be read, by revision and place in it; `lease` the leases with
//! their time to live; `life` every opening and the revision at which it began; `meta` the newest and the oldest readable
//! revision, the last lease's id, the history, the format. The newest value of each key is its last version: there is no second copy of it. A version that a crash kept from being
//! dropped is found superseded on load.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition};

use super::journal::{Entry, Journal};
use super::lives::{Life, Lives, draw};
use super::record;
use super::state::{Place, State};
use crate::{LeaseId, Rev, StoreError};

const LOG: TableDefinition<'_, (Rev, u32), &[u8]> = TableDefinition::new("log");
const LEASE: TableDefinition<'_, LeaseId, u64> = TableDefinition::new("lease");
const LIFE: TableDefinition<'_, u64, (i64, Rev)> = TableDefinition::new("life");
const META: TableDefinition<'_, &str, i64> = TableDefinition::new("meta");

const FORMAT: i64 = 1;
const FILE: &str = "journal.redb";
/// Everything that is read is in memory already: the cache holds the pages that the next transactions touch, and is never
/// emptied.
const CACHE_BYTES: usize = 4 << 20;
/// A smaller file is not shrunk.
const SHRUNK_FROM: u64 = 4 << 20;
/// A file that holds more is not shrunk: all of that may have to be moved, and a writer that comes meanwhile waits.
const SHRUNK_UP_TO: u64 = 64 << 20;

/// An open journal.
pub(super) struct RedbJournal {
    database: Database,
    dir: PathBuf,
}

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
        let failed = |error: JournalError| error.about(dir);
        let path = dir.join(FILE);
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(&path);
        let database = database.map_err(|error| failed(redb::Error::from(error).into()))?;
        let lives = prepare(&database).map_err(failed)?;
        File::open(dir).and_then(|folder| folder.sync_all()).map_err(|error| failed(error.into()))?;
        let journal = Self { database, dir: dir.into() };
        let (state, garbage) = journal.load()?;
        Ok(Opened { journal, state, garbage, lives })
    }

    fn load(&self) -> Result<(State, Vec<Place>), StoreError> {
        let read = self.database.begin_read().map_err(damaged)?;
        let meta = read.open_table(META).map_err(damaged)?;
        let number = |name: &str| -> Result<i64, StoreError> {
            Ok(meta.get(name).map_err(damaged)?.map_or(0, |value| value.value()))
        };
        let mut state = State::empty();
        for row in read.open_table(LOG).map_err(damaged)?.iter().map_err(damaged)? {
            let (place, version) = row.map_err(damaged)?;
            let (rev, place) = place.value();
            let (key, kv) = record::read(rev, version.value())?;
            state.recall((rev, place), key, kv);
        }
        let gone = state.recalled(number("rev")?, number("compacted")?);
        for row in read.open_table(LEASE).map_err(damaged)?.iter().map_err(damaged)? {
            let (lease, ttl) = row.map_err(damaged)?;
            state.recall_lease(lease.value(), Duration::from_millis(ttl.value()));
        }
        state.recalled_leases(number("last lease")?);
        Ok((state, gone))
    }
}

impl Journal for RedbJournal {
    fn append(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        self.write(entries).map_err(|error| read_only(&self.dir, &error))
    }

    /// A failure is left to the next append, which meets it too.
    fn shrink(&mut self) {
        match self.try_to_shrink() {
            Ok(None) => {}
            Ok(Some((before, after))) => tracing::info!(before, after, "the journal was shrunk"),
            Err(error) => tracing::warn!(%error, "the journal could not be shrunk"),
        }
    }
}

impl RedbJournal {
    /// Shrinks a file most of which holds nothing; its bytes before and after.
    fn try_to_shrink(&mut self) -> Result<Option<(u64, u64)>, redb::Error> {
        let path = self.dir.join(FILE);
        let length = || std::fs::metadata(&path).map(|file| file.len());
        let before = length()?;
        if before < SHRUNK_FROM {
            return Ok(None);
        }
        let look = self.database.begin_write()?;
        let stats = look.stats()?;
        let held = stats.allocated_pages() * u64::try_from(stats.page_size()).unwrap_or(u64::MAX);
        look.abort()?;
        if held > SHRUNK_UP_TO || before / 2 < held {
            return Ok(None);
        }
        self.database.compact()?;
        Ok(Some((before, length()?)))
    }

    fn write(&self, entries: &[Entry]) -> Result<(), redb::Error> {
        let written = self.database.begin_write()?;
        {
            let mut log = written.open_table(LOG)?;
            let mut lease = written.open_table(LEASE)?;
            let mut meta = written.open_table(META)?;
            for entry in entries {
                add(&mut log, &mut lease, &mut meta, entry)?;
            }
        }
        written.commit()?;
        Ok(())
    }
}

/// Makes what is missing, and begins a life: it is journalled before anything is told in it.
fn prepare(database: &Database) -> Result<Lives, JournalError> {
    let made = database.begin_write()?;
    let lives = {
        made.open_table(LOG)?;
        made.open_table(LEASE)?;
        let mut meta = made.open_table(META)?;
        let number = |name: &str| Ok::<_, redb::Error>(meta.get(name)?.map(|number| number.value()));
        let (format, history) = (number("format")?, number("history")?.unwrap_or_else(draw));
        let began = number("rev")?.unwrap_or(State::empty().rev());
        match format {
            Some(FORMAT) => {}
            Some(other) => {
                return Err(JournalError::Unreadable(format!("it has format {other}, known is {FORMAT}")));
            }
            None => {
                meta.insert("format", FORMAT)?;
                meta.insert("rev", began)?;
            }
        }
        meta.insert("history", history)?;
        begin_life(&mut made.open_table(LIFE)?, history, began)?
    };
    made.commit()?;
    Ok(lives)
}

fn begin_life(
    table: &mut Table<'_, u64, (i64, Rev)>,
    history: i64,
    began: Rev,
) -> Result<Lives, redb::Error> {
    let mut lives = Vec::new();
    for row in table.iter()? {
        let (id, began) = row?.1.value();
        lives.push(Life { id, began });
    }
    let own = Life { id: draw(), began };
    table.insert(lives.len() as u64, (own.id, own.began))?;
    lives.push(own);
    Ok(Lives::new(history, lives))
}

fn add(
    log: &mut Table<'_, (Rev, u32), &[u8]>,
    leases: &mut Table<'_, LeaseId, u64>,
    meta: &mut Table<'_, &str, i64>,
    entry: &Entry,
) -> Result<(), redb::Error> {
    match entry {
        Entry::Changed(changes) => {
            for (place, change) in (0..).zip(&changes.changes) {
                log.insert((changes.rev, place), record::made_of(change).as_slice())?;
            }
            meta.insert("rev", changes.rev)?;
        }
        Entry::Granted { lease, ttl } => {
            leases.insert(lease, u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX))?;
            meta.insert("last lease", lease)?;
        }
        Entry::Ended { lease } => drop(leases.remove(lease)?),
        Entry::Compacted { rev } => drop(meta.insert("compacted", rev)?),
        Entry::Dropped { places } => {
            for place in places {
                log.remove(place)?;
            }
        }
    }
    Ok(())
}

fn damaged(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Damaged(format!("the journal cannot be read: {}", error.into()))
}

/// What went wrong while the journal was opened.
enum JournalError {
    Redb(redb::Error),
    Unreadable(String),
}

impl<E: Into<redb::Error>> From<E> for JournalError {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}

impl JournalError {
    fn about(self, dir: &Path) -> StoreError {
        match self {
            Self::Redb(error) if is_full(&error) => {
                let dir = dir.display();
                StoreError::Full(format!(
                    "the journal in {dir} cannot be opened: {error}; free some space there"
                ))
            }
            Self::Redb(error) => damaged(error),
            Self::Unreadable(why) => StoreError::Damaged(format!("the journal cannot be read: {why}")),
        }
    }
}

fn is_full(error: &redb::Error) -> bool {
    matches!(error, redb::Error::Io(io) if io.kind() == std::io::ErrorKind::StorageFull)
}

fn read_only(dir: &Path, error: &redb::Error) -> StoreError {
    let dir = dir.display();
    if is_full(error) {
        return StoreError::Full(format!(
            "the journal in {dir} cannot be written: {error}; free some space there: reads are served meanwhile, \
             and the store is opened anew by itself then"
        ));
    }
    StoreError::Unavailable(format!(
        "the journal in {dir} cannot be written: {error}; it must be opened anew"
    ))
}
