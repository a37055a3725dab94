//! The journal's file: the reserve at its beginning, the tables behind it. A file of an older version has no reserve; it
//! is copied once into one that has.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use redb::StorageBackend;

use super::folder::disk_is_full;
use super::reserve::Reserve;

/// The first bytes of a file of redb.
const REDB: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";

/// An open file.
pub(super) struct JournalFile {
    pub(super) tables: Tables,
    /// `None` if there was no room to copy a file of an older version.
    pub(super) reserve: Option<Reserve>,
}

/// The part of the file that redb has. Nobody else opens it: the folder is ours.
#[derive(Debug, Clone)]
pub(super) struct Tables {
    file: Arc<File>,
    /// Where it begins in the file.
    base: u64,
}

impl JournalFile {
    /// Opens a journal's file, or makes it. Each half of the reserve has `half` bytes.
    pub(super) fn open(path: &Path, half: u64) -> io::Result<Self> {
        let file = opened(path)?;
        if let Some(reserve) = Reserve::open(&file, half)? {
            let tables = Tables { file, base: 2 * half };
            if tables.were_never_opened()? {
                tables.set_len(0)?;
            }
            return Ok(Self { tables, reserve: Some(reserve) });
        }
        let mut first = [0; REDB.len()];
        let length = file.read_at(&mut first, 0)?;
        if first == REDB {
            return Self::of_older_version(path, file, half);
        }
        if !Reserve::is_to_be_made(&first[..length]) {
            return Err(io::Error::other("it does not begin as a journal does"));
        }
        // What was taken of a full disk is given back.
        Reserve::make(&file, half).inspect_err(|_| drop(file.set_len(0)))?;
        let reserve = Reserve::open(&file, half)?;
        Ok(Self { tables: Tables { file, base: 2 * half }, reserve })
    }

    fn of_older_version(path: &Path, older: Arc<File>, half: u64) -> io::Result<Self> {
        let new = path.with_extension("new");
        match copied(&older, &new, half).and_then(|()| std::fs::rename(&new, path)) {
            Ok(()) => Self::open(path, half),
            Err(error) if disk_is_full(&error) => {
                drop(std::fs::remove_file(&new));
                tracing::warn!(journal = %path.display(), "there is no room for the reserve of the journal");
                Ok(Self { tables: Tables { file: older, base: 0 }, reserve: None })
            }
            Err(error) => Err(error),
        }
    }
}

impl Tables {
    /// Whether their making did not end: redb first sets their length, then writes a head without its mark, and the mark
    /// last. Tables that were used and lost their mark have more than a head.
    fn were_never_opened(&self) -> io::Result<bool> {
        /// Longer than a head, shorter than what is before the first page of a table.
        const HEAD: u64 = 4096;
        let length = self.len()?;
        let mut block = vec![0; 1 << 16];
        let mut at = 0;
        while at < length {
            let end = length.min(at + block.len() as u64);
            let part = &mut block[..usize::try_from(end - at).expect("a block fits in memory")];
            self.read(at, part)?;
            let unmarked = if at == 0 { REDB.len() } else { 0 };
            let is_head = |offset: usize| offset >= unmarked && at + (offset as u64) < HEAD;
            if part.iter().enumerate().any(|(offset, byte)| *byte != 0 && !is_head(offset)) {
                return Ok(false);
            }
            at = end;
        }
        Ok(length > 0)
    }
}

fn opened(path: &Path) -> io::Result<Arc<File>> {
    File::options().read(true).write(true).create(true).truncate(false).open(path).map(Arc::new)
}

fn copied(older: &File, new: &Path, half: u64) -> io::Result<()> {
    let copy = opened(new)?;
    copy.set_len(0)?;
    Reserve::make(&copy, half)?;
    let tables = Tables { file: copy, base: 2 * half };
    let mut block = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let length = older.read_at(&mut block, at)?;
        if length == 0 {
            break;
        }
        tables.write(at, &block[..length])?;
        at += length as u64;
    }
    tables.file.sync_all()
}

impl StorageBackend for Tables {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len().saturating_sub(self.base))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, self.base + offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(self.base + len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, self.base + offset)
    }
}
