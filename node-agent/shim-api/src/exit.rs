//! How a container ended, as a file that outlives the shim.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use berth_types::Timestamp;
use serde::{Deserialize, Serialize};

use crate::process::ProcessId;

/// How an attempt of a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExitRecord {
    /// Which container.
    pub container: String,
    /// Which attempt.
    pub attempt: u32,
    /// What its first process was.
    pub process: ProcessId,
    /// How that process ended.
    pub end: End,
    /// How many of the container's processes the kernel killed for want of memory.
    pub oom_kills: u64,
    /// When it was started.
    pub started_at: Timestamp,
    /// When its end was seen.
    pub finished_at: Timestamp,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum End {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl End {
    /// The code as a shell shows it: 128 and the signal's number when a signal ended it.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

impl ExitRecord {
    /// Whether want of memory ended it: it failed and the kernel had killed one of its processes for that.
    pub fn oom_killed(&self) -> bool {
        self.oom_kills > 0 && self.end.code() != 0
    }

    /// Reads a record; `None` when there is no such file, or an empty one: that is what a machine that went down at
    /// the wrong moment may leave of a record that nobody was told of.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        match fs::read(path) {
            Ok(text) if text.is_empty() => Ok(None),
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the record so that after a return it is there whole, whatever happens, and before, as long as the
    /// machine runs, whole or not at all.
    ///
    /// It has its name before it is synced: the file system then has both in one go, and the folder's sync finds
    /// nothing left to write. Nothing older is lost by that, for no record is ever replaced.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let temporary = path.with_extension("tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        fs::rename(&temporary, path)?;
        file.sync_all()?;
        File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_no_record_and_a_damaged_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("main.1.json");
        let read = || ExitRecord::read(&path);
        assert_eq!(read().unwrap(), None);
        fs::write(&path, "").unwrap();
        assert_eq!(read().unwrap(), None);
        fs::write(&path, "{\"container\":").unwrap();
        assert!(read().is_err());
        let record = ExitRecord {
            container: "main".into(),
            attempt: 1,
            process: ProcessId { pid: 7, start_time: 8 },
            end: End::Code(3),
            oom_kills: 0,
            started_at: Timestamp::from_millis(1),
            finished_at: Timestamp::from_millis(2),
        };
        record.write(&path).unwrap();
        assert_eq!(read().unwrap(), Some(record));
    }
}
