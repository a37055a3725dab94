//! How a journal is opened: its tables are made if they are missing, and a life begins where its history ends.

use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, Table};

use super::lives::{Life, Lives, draw};
use super::redb::{LEASE, LIFE, LOG, META, damaged, is_full};
use super::reserve::Reserve;
use super::rows::{Number, Row};
use super::state::State;
use crate::{Rev, StoreError, Urgency};

const FORMAT: i64 = 1;
/// The most that a row of a life takes.
const LIFE_BYTES: u64 = 32;

/// What a journal held before it was opened, as far as a life needs it.
pub(super) struct Past {
    history: i64,
    lives: Vec<Life>,
    rev: Rev,
}

/// The past of the tables; `None` if they were not made yet.
pub(super) fn past(database: &Database) -> Result<Option<Past>, JournalError> {
    let read = database.begin_read()?;
    let meta = match read.open_table(META) {
        Ok(meta) => meta,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let number = |name: &str| Ok::<_, redb::Error>(meta.get(name)?.map(|number| number.value()));
    let (Some(format), Some(history)) = (number("format")?, number("history")?) else { return Ok(None) };
    check_format(format)?;
    let mut lives = Vec::new();
    for row in read.open_table(LIFE)?.iter()? {
        let (id, began) = row?.1.value();
        lives.push(Life { id, began });
    }
    Ok(Some(Past { history, lives, rev: number("rev")?.unwrap_or(State::empty().rev()) }))
}

impl Past {
    /// Begins the next life in the reserve.
    pub(super) fn go_on_in(mut self, reserve: &mut Reserve) -> Result<Lives, JournalError> {
        for row in reserve.rows() {
            match row {
                // One that was moved to the tables is there already.
                Row::Life(place, (id, began)) if *place == self.lives.len() as u64 => {
                    self.lives.push(Life { id: *id, began: *began });
                }
                Row::Number(Number::Rev, rev) => self.rev = *rev,
                Row::Life(..) | Row::Number(..) | Row::Version(..) | Row::Dropped(_) | Row::Lease(..) => {}
            }
        }
        let own = Life { id: draw(), began: self.rev };
        let row = Row::Life(self.lives.len() as u64, (own.id, own.began));
        if !reserve.admits(Urgency::Removal, LIFE_BYTES) {
            return Err(redb::Error::Io(std::io::ErrorKind::StorageFull.into()).into());
        }
        reserve.append(vec![row])?;
        self.lives.push(own);
        Ok(Lives::new(self.history, self.lives))
    }
}

fn check_format(format: i64) -> Result<(), JournalError> {
    if format == FORMAT {
        return Ok(());
    }
    Err(JournalError::Unreadable(format!("it has format {format}, known is {FORMAT}")))
}

/// Makes what is missing, and begins a life: it is journalled before anything is told in it.
pub(super) fn prepare(database: &Database) -> Result<Lives, JournalError> {
    let made = database.begin_write()?;
    let lives = {
        made.open_table(LOG)?;
        made.open_table(LEASE)?;
        let mut meta = made.open_table(META)?;
        let number = |name: &str| Ok::<_, redb::Error>(meta.get(name)?.map(|number| number.value()));
        let (format, history) = (number("format")?, number("history")?.unwrap_or_else(draw));
        let began = number("rev")?.unwrap_or(State::empty().rev());
        match format {
            Some(format) => check_format(format)?,
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

/// What went wrong while the journal was opened.
pub(super) enum JournalError {
    Redb(redb::Error),
    Unreadable(String),
}

impl<E: Into<redb::Error>> From<E> for JournalError {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}

impl JournalError {
    pub(super) fn about(self, dir: &Path) -> StoreError {
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
