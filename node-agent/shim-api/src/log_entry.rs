//! The form of container logs: one entry a line, `<time> <stdout|stderr> <F|P> <text>`, as the Kubernetes CRI has it.

use std::path::{Path, PathBuf};

use berth_types::Timestamp;

/// Longest text of one entry in bytes; a longer line of output becomes several entries.
const MAX_TEXT: usize = 16 * 1024;

/// Which of its outputs a container wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl LogStream {
    /// The stream's name in a log file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Whether an entry ends its line of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    /// The line ends here (`F`).
    Full,
    /// The line goes on in the next entry of the same stream (`P`).
    Partial,
}

/// One entry of a container's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry<'a> {
    /// When the shim read it.
    pub time: Timestamp,
    /// Where it was written to.
    pub stream: LogStream,
    /// Whether the line ends here.
    pub completeness: Completeness,
    /// What was written, without the newline; any bytes.
    pub text: &'a [u8],
}

impl<'a> LogEntry<'a> {
    /// Longest text of one entry in bytes.
    pub const MAX_TEXT: usize = MAX_TEXT;

    /// Appends the entry with its newline to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        LogStamp::new(self.time).write(self.stream, self.completeness, self.text, out);
    }

    /// Reads a line without its newline; `None` when it is no entry (a torn one after a full disk).
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let time = Timestamp::parse(str::from_utf8(parts.next()?).ok()?).ok()?;
        let stream = match parts.next()? {
            b"stdout" => LogStream::Stdout,
            b"stderr" => LogStream::Stderr,
            _ => return None,
        };
        let completeness = match parts.next()? {
            b"F" => Completeness::Full,
            b"P" => Completeness::Partial,
            _ => return None,
        };
        Some(Self { time, stream, completeness, text: parts.next()? })
    }
}

/// A time made ready for many entries, for a flood of them costs mostly their times.
#[derive(Debug, Clone)]
pub struct LogStamp {
    text: String,
}

impl LogStamp {
    /// Entries read at `time`.
    pub fn new(time: Timestamp) -> Self {
        // Always with milliseconds: `Timestamp` alone leaves them out at whole seconds, and columns would jump.
        let text = time.to_string();
        match text.strip_suffix('Z') {
            Some(seconds) if !text.contains('.') => Self { text: format!("{seconds}.000Z") },
            _ => Self { text },
        }
    }

    /// Appends an entry with its newline to `out`.
    pub fn write(&self, stream: LogStream, completeness: Completeness, text: &[u8], out: &mut Vec<u8>) {
        let tag = match completeness {
            Completeness::Full => " F ",
            Completeness::Partial => " P ",
        };
        for part in [self.text.as_str(), " ", stream.name(), tag] {
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(text);
        out.push(b'\n');
    }
}

/// Where the log at `log` lies after being set aside `age` times; age 0 is the one written to.
pub fn rotated_name(log: &Path, age: u32) -> PathBuf {
    if age == 0 {
        return log.to_path_buf();
    }
    let mut name = log.as_os_str().to_owned();
    name.push(format!(".{age}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back_as_it_was_written() {
        let times = [0, 1_763_712_335_000, 1_763_712_335_007];
        for (time, text) in times.iter().zip([b"plain".as_slice(), b"", b" two  spaces \xff\x1b[0m"]) {
            let entry = LogEntry {
                time: Timestamp::from_millis(*time),
                stream: LogStream::Stderr,
                completeness: Completeness::Partial,
                text,
            };
            let mut line = Vec::new();
            entry.write(&mut line);
            assert_eq!(line.pop(), Some(b'\n'));
            assert_eq!(LogEntry::parse(&line), Some(entry));
        }
    }

    #[test]
    fn a_line_of_another_form_is_no_entry() {
        for line in [
            "",
            "2026-11-21T07:45:35.000Z stdout",
            "yesterday stdout F x",
            "2026-11-21T07:45:35.000Z out F x",
        ] {
            assert_eq!(LogEntry::parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn columns_do_not_jump_at_whole_seconds() {
        let mut line = Vec::new();
        let entry = LogEntry {
            time: Timestamp::from_millis(1_763_712_335_000),
            stream: LogStream::Stdout,
            completeness: Completeness::Full,
            text: b"hello",
        };
        entry.write(&mut line);
        expect_test::expect!["2025-11-21T08:05:35.000Z stdout F hello\n"]
            .assert_eq(str::from_utf8(&line).unwrap());
    }
}
