//! The journal: what must be known after a crash is on disk before it is acted on.
//!
//! A file of lines, `<crc32 of the rest, 8 hex digits> <JSON>`. Appending is followed by fsync; appends that arrive
//! together share one. A torn last line is cut off: nobody was told that it was written. When most of the file is
//! about what is over, it is rewritten beside and renamed. The handle that wrote the new file goes on with it: what has
//! the name is what is appended to, at every step. If the rename may not last, nothing is appended any more, and the
//! agent starts anew.

mod record;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tokio::sync::{mpsc, oneshot};

use crate::disk::is_full;

pub use record::{
    Identity, Memory, Record, RememberedCause, RememberedContainer, RememberedEnding, RememberedExit,
    RememberedStop, RememberedTask,
};

/// The file is rewritten when it has this many records, and four times as many as are needed.
const COMPACT_FROM: usize = 1_000;
/// It is rewritten too when it has this many bytes beyond four times as many as are needed.
const SPARE_BYTES: u64 = 1 << 20;

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read or written.
    #[error("could not {step} journal {path}")]
    File {
        /// The step.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A record before the last is damaged: what follows cannot be trusted.
    #[error(
        "journal {path} is damaged at line {line}: restore it, or stop what runs here and delete this folder"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// 1 for the first.
        line: usize,
    },
    /// What should be remembered is not on disk, and must not be acted on; another time it may go better.
    #[error("nothing could be journalled in {}: {why}{}", path.display(), remedy(*kind))]
    NotNow {
        /// The file.
        path: PathBuf,
        /// Which kind of failure.
        kind: io::ErrorKind,
        /// What the system said.
        why: String,
    },
    /// Nobody knows what is on disk: the agent must start anew before it remembers anything.
    #[error("the journal cannot be trusted any more: the agent must start anew")]
    Broken,
}

fn remedy(kind: io::ErrorKind) -> &'static str {
    if is_full(kind) { "; free some space there" } else { "" }
}

impl JournalError {
    /// Whether there was no room for the records.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::NotNow { kind, .. } if is_full(*kind))
    }
}

/// Appends to the journal; clones share it.
#[derive(Debug, Clone)]
pub struct Journal {
    queue: mpsc::UnboundedSender<Append>,
}

struct Append {
    records: Vec<Record>,
    durable: oneshot::Sender<Result<(), JournalError>>,
}

impl Journal {
    /// Opens or makes the journal at `path`; tells what it remembers.
    pub fn open(path: &Path) -> Result<(Self, Memory), JournalError> {
        let file = JournalFile::open(path)?;
        let memory = file.memory.clone();
        let (queue, appends) = mpsc::unbounded_channel();
        std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || file.serve(appends))
            .map_err(|source| JournalError::File { step: "serve", path: path.into(), source })?;
        Ok((Self { queue }, memory))
    }

    /// Returns once the records are on disk.
    pub async fn append(&self, records: Vec<Record>) -> Result<(), JournalError> {
        self.submit(records).await
    }

    /// Queues the records at once, in the order of calls; the future ends when they are on disk.
    pub fn submit(&self, records: Vec<Record>) -> impl Future<Output = Result<(), JournalError>> + use<> {
        let (durable, done) = oneshot::channel();
        let queued = self.queue.send(Append { records, durable }).map_err(|_| JournalError::Broken);
        async move {
            queued?;
            done.await.map_err(|_| JournalError::Broken)?
        }
    }

    /// Ends when nothing can be journalled any more.
    pub async fn broken(&self) {
        self.queue.closed().await;
    }
}

/// The file and what its records amount to.
struct JournalFile {
    path: PathBuf,
    file: File,
    memory: Memory,
    records: usize,
    /// A boot and lives that found no room. They are written before any other record: those after them belong to them.
    owed: Vec<Record>,
    /// Bytes up to the end of the last whole record.
    length: u64,
    /// Its size when it was last looked at whether it is to be rewritten.
    looked_at: Size,
    /// Has the name of the file last.
    sync_folder: fn(&Path) -> io::Result<()>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Size {
    records: usize,
    bytes: u64,
}

/// Why records are not on disk.
enum WriteError {
    /// Nothing of them is in the file: another time it may go better, as after a full disk.
    CutOff(io::Error),
    /// Nobody knows what is on disk.
    Unsure(io::Error),
}

impl JournalFile {
    fn open(path: &Path) -> Result<Self, JournalError> {
        let failed = |step| move |source| JournalError::File { step, path: path.into(), source };
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed("read")(error)),
        };
        let (memory, records, whole) = read(path, &bytes)?;
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed("open"))?;
        file.set_len(whole).map_err(failed("cut"))?;
        file.sync_all().map_err(failed("sync"))?;
        sync_folder(path).map_err(failed("sync the folder of"))?;
        let (owed, looked_at) = (Vec::new(), Size::default());
        let opened =
            Self { path: path.into(), file, memory, records, owed, length: whole, looked_at, sync_folder };
        // What a crash left of a rewrite takes room. One that stays is removed before the next rewrite, or stops that.
        let _ = fs::remove_file(opened.beside());
        Ok(opened)
    }

    /// Writes until nobody can append any more; what is not durable is never said to be.
    fn serve(mut self, mut appends: mpsc::UnboundedReceiver<Append>) {
        while let Some(first) = appends.blocking_recv() {
            let mut together = vec![first];
            while let Ok(next) = appends.try_recv() {
                together.push(next);
            }
            let records =
                together.iter_mut().flat_map(|append| std::mem::take(&mut append.records)).collect();
            berth_failpoint::reach("agent.journal.before");
            match self.append(records) {
                Ok(()) => berth_failpoint::reach("agent.journal.after"),
                Err(WriteError::CutOff(error)) => {
                    tracing::error!(error = %error, path = %self.path.display(), "records were not journalled");
                    for append in together {
                        let _ = append.durable.send(Err(self.not_now(&error)));
                    }
                    continue;
                }
                Err(WriteError::Unsure(error)) => {
                    tracing::error!(error = %error, path = %self.path.display(), "the journal cannot be trusted any more");
                    return;
                }
            }
            for append in together {
                // Whoever asked may have ended meanwhile.
                let _ = append.durable.send(Ok(()));
            }
            match self.compact_if_due() {
                Ok(()) => {}
                Err(WriteError::CutOff(error)) => {
                    tracing::warn!(error = %error, path = %self.path.display(), "the journal stays long");
                }
                Err(WriteError::Unsure(error)) => {
                    tracing::error!(error = %error, path = %self.path.display(), "the journal cannot be trusted any more");
                    return;
                }
            }
        }
    }

    fn not_now(&self, error: &io::Error) -> JournalError {
        JournalError::NotNow { path: self.path.clone(), kind: error.kind(), why: error.to_string() }
    }

    fn append(&mut self, mut records: Vec<Record>) -> Result<(), WriteError> {
        records.splice(0..0, std::mem::take(&mut self.owed));
        self.owed = owed_by(&records);
        let mut bytes = Vec::new();
        for record in &records {
            line(record, &mut bytes).map_err(WriteError::CutOff)?;
        }
        if let Err(error) = self.file.write_all(&bytes) {
            self.file.set_len(self.length).map_err(WriteError::Unsure)?;
            return Err(WriteError::CutOff(error));
        }
        // After a failed sync the pages may be dropped and the next sync succeed for nothing.
        self.file.sync_data().map_err(WriteError::Unsure)?;
        self.owed.clear();
        self.length += u64::try_from(bytes.len()).expect("a file position");
        self.records += records.len();
        records.into_iter().for_each(|record| self.memory.take(record));
        Ok(())
    }

    /// After an error that cuts off, the file is as it was.
    fn compact_if_due(&mut self) -> Result<(), WriteError> {
        // To count what is needed takes as long as to write it: not after every record.
        let grown = self.records >= self.looked_at.records + COMPACT_FROM
            || self.length >= self.looked_at.bytes + SPARE_BYTES;
        if !grown {
            return Ok(());
        }
        self.looked_at = Size { records: self.records, bytes: self.length };
        let needed = self.needed().map_err(WriteError::CutOff)?;
        let is_many = self.records >= COMPACT_FROM && self.records > 4 * needed.records;
        let is_long = self.length > 4 * needed.bytes + SPARE_BYTES;
        if !is_many && !is_long {
            return Ok(());
        }
        let written = self.write_beside();
        let renamed = written.and_then(|new| fs::rename(self.beside(), &self.path).map(|()| new));
        // What is left of it would fill a full disk until the next try.
        let kept = renamed.inspect_err(|_| drop(fs::remove_file(self.beside())));
        let (file, size) = kept.map_err(WriteError::CutOff)?;
        (self.file, self.records, self.length, self.looked_at) = (file, size.records, size.bytes, size);
        // Until then a crash may bring the old file back, without what is appended to the new one.
        (self.sync_folder)(&self.path).map_err(WriteError::Unsure)
    }

    /// What a rewritten file would have.
    fn needed(&self) -> io::Result<Size> {
        self.write_needed(&mut io::sink())
    }

    fn write_needed(&self, out: &mut impl Write) -> io::Result<Size> {
        let (mut size, mut bytes) = (Size::default(), Vec::new());
        self.memory.each_record(|record| {
            bytes.clear();
            line(&record, &mut bytes)?;
            size.records += 1;
            size.bytes += u64::try_from(bytes.len()).expect("a file position");
            out.write_all(&bytes)
        })?;
        Ok(size)
    }

    /// A file of what is needed, on disk, open at its end.
    fn write_beside(&self) -> io::Result<(File, Size)> {
        match fs::remove_file(self.beside()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = BufWriter::new(OpenOptions::new().append(true).create_new(true).open(self.beside())?);
        let size = self.write_needed(&mut file)?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok((file, size))
    }

    fn beside(&self) -> PathBuf {
        self.path.with_extension("new")
    }
}

/// Of the records, those that must be written later if they cannot be written now: the last boot and the last lives.
fn owed_by(records: &[Record]) -> Vec<Record> {
    let boot = records.iter().rfind(|record| matches!(record, Record::Boot { .. }));
    let lives = records.iter().rfind(|record| matches!(record, Record::Lives(_)));
    boot.into_iter().chain(lives).cloned().collect()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?.sync_all()
}

fn line(record: &Record, out: &mut Vec<u8>) -> io::Result<()> {
    let json = serde_json::to_vec(record)?;
    out.extend_from_slice(format!("{:08x} ", crc32fast::hash(&json)).as_bytes());
    out.extend_from_slice(&json);
    out.push(b'\n');
    Ok(())
}

/// What the records amount to, how many there are, and where the last whole one ends.
fn read(path: &Path, bytes: &[u8]) -> Result<(Memory, usize, u64), JournalError> {
    let (mut memory, mut records, mut whole) = (Memory::default(), 0, 0);
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        match parse(line) {
            Some(record) => memory.take(record),
            // The last write may be torn in the middle too: blocks of one write reach the disk in any order.
            None if after.iter().all(|byte| *byte != b'\n') || !any_valid(after) => break,
            None => return Err(JournalError::Damaged { path: path.into(), line: records + 1 }),
        }
        records += 1;
        whole += u64::try_from(end).expect("a file position") + 1;
        rest = after;
    }
    Ok((memory, records, whole))
}

fn any_valid(rest: &[u8]) -> bool {
    rest.split(|byte| *byte == b'\n').any(|line| parse(line).is_some())
}

fn parse(line: &[u8]) -> Option<Record> {
    let (crc, json) = (line.get(..8)?, line.get(9..)?);
    let crc = u32::from_str_radix(str::from_utf8(crc).ok()?, 16).ok()?;
    (crc == crc32fast::hash(json)).then(|| serde_json::from_slice(json).ok())?
}
