//! Reading a container's log for somebody far away: whole lines, from the rotated files on, following if asked.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use berth_client::OpenLogs;
use berth_shim_api::{Completeness, LogEntry, LogStream, rotated_name};
use berth_types::Timestamp;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::assignment::TaskUid;
use crate::ended_logs::Attempts;
use crate::places::Places;
use crate::plan::Attempt;

/// Lines are sent together up to this many bytes.
const CHUNK: usize = 64 << 10;
/// Between two looks at a log that is followed.
const POLL: Duration = Duration::from_millis(100);
/// Part of a line that does not go on is shown after this; the shim has waited for the rest before.
const HALF_LINE: Duration = Duration::from_millis(200);

/// What the reader gets: lines, or why there are no more.
pub type Lines = mpsc::Sender<Result<Bytes, String>>;

/// Sends the log that was asked for; blocks until it is sent, or the reader is gone.
pub fn serve(places: &Places, request: &OpenLogs, out: &Lines) {
    if let Err(why) = find(places, request).and_then(|log| log.send(request, out).map_err(|e| e.to_string()))
    {
        // A reader that is gone needs no reason.
        let _ = out.blocking_send(Err(why));
    }
}

/// One attempt's log.
struct Log<'a> {
    places: &'a Places,
    task: TaskUid,
    container: String,
    number: u32,
    folder: PathBuf,
    /// The file that is written to.
    path: PathBuf,
}

fn find<'a>(places: &'a Places, request: &OpenLogs) -> Result<Log<'a>, String> {
    let task = TaskUid::parse(&request.task_uid).ok_or("the request names no task")?;
    let suffix = format!("_{task}");
    let name = &request.logs.task;
    let folder = folders(&places.all_logs()).into_iter().find(|(folder, _)| folder.ends_with(&suffix));
    let (_, folder) = folder.ok_or_else(|| format!("task {name} has no log yet"))?;
    let containers = folders(&folder);
    let names = || containers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    let (container, folder) = match (request.logs.container.as_str(), containers.as_slice()) {
        ("", [only]) => only,
        ("", []) => return Err(format!("task {name} has no log yet")),
        ("", _) => return Err(format!("task {name} has several containers: {}", names())),
        (asked, _) => containers
            .iter()
            .find(|(name, _)| name == asked)
            .ok_or_else(|| format!("container {asked} of task {name} has no log; there are: {}", names()))?,
    };
    let mut attempts: Vec<u32> =
        files(folder).iter().filter_map(|f| f.strip_suffix(".log")?.parse().ok()).collect();
    attempts.sort_unstable_by(|a, b| b.cmp(a));
    let looked_at = Attempts::look(places, &task, container, folder);
    // While a container waits for its restart, its last attempt is over and the present one has no log yet.
    let waits = attempts.first().is_some_and(|newest| looked_at.has_recorded_end(*newest));
    let position = usize::from(request.logs.previous && !waits);
    let number = attempts.get(position).ok_or_else(|| match position {
        0 => format!("container {container} of task {name} has no log yet"),
        _ => format!("container {container} of task {name} has no log of an earlier attempt"),
    })?;
    let (number, path) = (*number, folder.join(format!("{number}.log")));
    Ok(Log { places, task, container: container.clone(), number, folder: folder.clone(), path })
}

/// The attempts of a Task's containers that its shims ever began: each opens the attempt's log before anything else.
pub fn begun(places: &Places, task: &TaskUid) -> BTreeSet<Attempt> {
    let ours = |(name, _): &(String, PathBuf)| name.ends_with(&format!("_{task}"));
    let Some((_, logs)) = folders(&places.all_logs()).into_iter().find(ours) else { return BTreeSet::new() };
    let mut begun = BTreeSet::new();
    for (container, folder) in folders(&logs) {
        // Rotated ones too.
        let numbers = files(&folder).into_iter().filter_map(|file| file.split_once(".log")?.0.parse().ok());
        begun.extend(numbers.map(|number| Attempt {
            task: task.clone(),
            container: container.clone(),
            number,
        }));
    }
    begun
}

fn folders(path: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect();
    found.sort();
    found
}

fn files(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// What comes after a file that is being read.
enum Next {
    /// Nothing yet: it is the one that is written to, or the log is gone.
    Nothing,
    /// The one that was begun when it was set aside.
    File(Reading),
    /// It was dropped, and others with it or after it: the oldest that there is.
    Gap(Reading),
}

impl Log<'_> {
    fn send(&self, request: &OpenLogs, out: &Lines) -> io::Result<()> {
        let mut sender = Sender::new(out);
        let mut files = self.files()?;
        if let Some(tail) = request.logs.tail_lines {
            let mut lines = 0;
            for file in &mut files {
                lines += file.count_lines()?;
            }
            sender.skip = lines.saturating_sub(tail as usize);
        }
        let Some(mut reading) = files.pop() else { return Ok(()) };
        while let Some(newer) = files.pop() {
            reading.drain(&mut sender)?;
            reading = newer;
        }
        let follow = request.logs.follow;
        loop {
            // Looked at before reading: what was written before the end is read after it was seen.
            let ended = self.has_ended();
            if self.read_on(follow, &mut reading, &mut sender)? {
                continue;
            }
            if !follow || ended || out.is_closed() {
                return sender.end();
            }
            sender.catch_up()?;
            std::thread::sleep(POLL);
        }
    }

    fn has_ended(&self) -> bool {
        Attempts::look(self.places, &self.task, &self.container, &self.folder).has_ended(self.number)
    }

    /// Reads what there is, and moves on to the next file; whether there is one.
    fn read_on(&self, follow: bool, reading: &mut Reading, sender: &mut Sender<'_>) -> io::Result<bool> {
        // Looked at before reading: what was written before the cut is read after it was seen.
        let next = if follow { self.after(reading)? } else { Next::Nothing };
        reading.drain(sender)?;
        match next {
            Next::Nothing => return Ok(false),
            Next::File(newer) => *reading = newer,
            Next::Gap(mut newer) => {
                sender.tell_gap(reading.last, newer.first_time()?)?;
                *reading = newer;
            }
        }
        Ok(true)
    }

    /// The files that there are, the newest first. They are opened in this order, in which the shim moves them on: one
    /// that is set aside meanwhile is met twice, and none is missed.
    fn files(&self) -> io::Result<Vec<Reading>> {
        let mut files: Vec<Reading> = Vec::new();
        let (mut age, mut missing) = (0, 0);
        // While the shim sets files aside, one name is free.
        while missing < 2 {
            match open(&rotated_name(&self.path, age))? {
                Some(file) => {
                    missing = 0;
                    let file = Reading::of(file)?;
                    if files.last().is_none_or(|newer| newer.inode != file.inode) {
                        files.push(file);
                    }
                }
                None => missing += 1,
            }
            age += 1;
        }
        Ok(files)
    }

    fn after(&self, reading: &Reading) -> io::Result<Next> {
        let mut files = self.files()?;
        // It is open, so no other file has its number.
        Ok(match files.iter().position(|file| file.inode == reading.inode) {
            Some(0) => Next::Nothing,
            Some(position) => Next::File(files.swap_remove(position - 1)),
            None => files.pop().map_or(Next::Nothing, Next::Gap),
        })
    }
}

/// A log that was never written to is as good as an empty one.
fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// One file being read, line by line; a line that is not whole yet is kept for the next look.
struct Reading {
    lines: BufReader<File>,
    inode: u64,
    partial: Vec<u8>,
    /// When the last entry that was read was written.
    last: Option<Timestamp>,
}

impl Reading {
    fn of(file: File) -> io::Result<Self> {
        let inode = file.metadata()?.ino();
        Ok(Self { lines: BufReader::new(file), inode, partial: Vec::new(), last: None })
    }

    fn drain(&mut self, sender: &mut Sender<'_>) -> io::Result<()> {
        loop {
            if self.lines.read_until(b'\n', &mut self.partial)? == 0 || self.partial.last() != Some(&b'\n') {
                return sender.flush();
            }
            self.partial.pop();
            if let Some(entry) = LogEntry::parse(&self.partial) {
                self.last = Some(entry.time);
                sender.push(&entry)?;
            }
            self.partial.clear();
        }
    }

    /// Lines that end in the file; it is read from its beginning afterwards.
    fn count_lines(&mut self) -> io::Result<usize> {
        let mut lines = 0;
        for line in (&mut self.lines).split(b'\n') {
            let ends = |entry: LogEntry| entry.completeness == Completeness::Full;
            lines += usize::from(LogEntry::parse(&line?).is_some_and(ends));
        }
        self.lines.rewind()?;
        Ok(lines)
    }

    /// When its first entry was written.
    fn first_time(&mut self) -> io::Result<Option<Timestamp>> {
        let mut line = Vec::new();
        self.lines.read_until(b'\n', &mut line)?;
        self.lines.rewind()?;
        Ok(LogEntry::parse(line.strip_suffix(b"\n").unwrap_or(&line)).map(|entry| entry.time))
    }
}

/// Gathers lines into chunks; waits for a slow reader. The parts of a long line join within their stream: lines of the
/// other one do not come in between, unless the line does not go on for a while.
struct Sender<'a> {
    out: &'a Lines,
    chunk: Vec<u8>,
    /// Lines that are left out before the first one that is sent.
    skip: usize,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// When the last part came.
    parts_since: Option<Instant>,
    /// The stream of a line that was sent without its end.
    open: Option<LogStream>,
}

impl<'a> Sender<'a> {
    fn new(out: &'a Lines) -> Self {
        let (stdout, stderr) = (Vec::new(), Vec::new());
        Self { out, chunk: Vec::new(), skip: 0, stdout, stderr, parts_since: None, open: None }
    }

    fn push(&mut self, entry: &LogEntry<'_>) -> io::Result<()> {
        let parts = self.parts(entry.stream);
        parts.extend_from_slice(entry.text);
        let too_long = parts.len() >= CHUNK;
        match (entry.completeness, self.skip) {
            (Completeness::Full, 0) => self.put(entry.stream, Completeness::Full),
            (Completeness::Partial, 0) if too_long => self.put(entry.stream, Completeness::Partial),
            (Completeness::Partial, 0) => self.parts_since = Some(Instant::now()),
            (Completeness::Full, _) => {
                self.skip -= 1;
                self.parts(entry.stream).clear();
            }
            // Its end is far away, and only then it is known whether it is left out.
            (Completeness::Partial, _) if too_long => self.parts(entry.stream).clear(),
            (Completeness::Partial, _) => {}
        }
        if self.chunk.len() >= CHUNK { self.flush() } else { Ok(()) }
    }

    fn parts(&mut self, stream: LogStream) -> &mut Vec<u8> {
        match stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
        }
    }

    /// Puts what there is of a stream's line into the chunk.
    fn put(&mut self, stream: LogStream, completeness: Completeness) {
        if self.open.is_some_and(|open| open != stream) {
            self.chunk.push(b'\n');
        }
        let text = std::mem::take(self.parts(stream));
        self.chunk.extend(text);
        self.open = match completeness {
            Completeness::Full => {
                self.chunk.push(b'\n');
                None
            }
            Completeness::Partial => Some(stream),
        };
    }

    /// Puts what there is of unfinished lines.
    fn put_parts(&mut self) {
        self.parts_since = None;
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            if self.skip == 0 && !self.parts(stream).is_empty() {
                self.put(stream, Completeness::Partial);
            }
        }
    }

    /// All that was written so far was read: what does not go on is shown unfinished.
    fn catch_up(&mut self) -> io::Result<()> {
        if self.parts_since.is_some_and(|since| since.elapsed() >= HALF_LINE) {
            self.put_parts();
        }
        self.flush()
    }

    fn end(&mut self) -> io::Result<()> {
        self.put_parts();
        self.flush()
    }

    /// Says that files between these times may have been dropped before they were read. Whether the oldest one that is
    /// left came right after the last one that was read, nobody can tell.
    fn tell_gap(&mut self, from: Option<Timestamp>, to: Option<Timestamp>) -> io::Result<()> {
        self.put_parts();
        if self.open.take().is_some() {
            self.chunk.push(b'\n');
        }
        let time = |time: Option<Timestamp>| time.map_or_else(|| "an unknown time".into(), |t| t.to_string());
        let (from, to) = (time(from), time(to));
        let line = format!(
            "berth: lines from {from} to {to} may be missing: the log was rotated faster than it was read\n"
        );
        self.chunk.extend_from_slice(line.as_bytes());
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.chunk));
        self.out.blocking_send(Ok(chunk)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_client::LogsQuery;
    use std::io::Write;

    struct Node {
        dir: tempfile::TempDir,
        places: Places,
    }

    const UID: &str = "0123456789abcdef0123456789abcdef";

    fn entry(text: &str, completeness: Completeness) -> Vec<u8> {
        entry_of(LogStream::Stdout, text, completeness)
    }

    fn entry_of(stream: LogStream, text: &str, completeness: Completeness) -> Vec<u8> {
        let time = Timestamp::from_millis(0);
        let mut line = Vec::new();
        LogEntry { time, stream, completeness, text: text.as_bytes() }.write(&mut line);
        line
    }

    impl Node {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let places = Places::new(dir.path(), dir.path(), "p");
            Self { dir, places }
        }

        fn write(&self, file: &str, lines: &[&str]) {
            let path = self.dir.path().join(format!("logs/default_web-1_{UID}")).join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut out = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
            for line in lines {
                out.write_all(&entry(line, Completeness::Full)).unwrap();
            }
        }

        /// Sets the files of attempt 0 aside, as a shim does that keeps three.
        fn rotate(&self) {
            let log = self.dir.path().join(format!("logs/default_web-1_{UID}/web/0.log"));
            for age in [1, 0] {
                let _ = fs::rename(rotated_name(&log, age), rotated_name(&log, age + 1));
            }
        }

        /// Follows the log of attempt 0, which goes on.
        fn follow(&self) -> (mpsc::Receiver<Result<Bytes, String>>, std::thread::JoinHandle<()>) {
            fs::create_dir_all(self.places.task(&TaskUid::parse(UID).unwrap()).join("exits")).unwrap();
            let logs = LogsQuery { task: "web-1".into(), follow: true, ..LogsQuery::default() };
            let request = OpenLogs { id: "1".into(), task_uid: UID.into(), logs };
            let (out, lines) = mpsc::channel(100);
            let places = self.places.clone();
            (lines, std::thread::spawn(move || serve(&places, &request, &out)))
        }

        /// Attempt 0 ends.
        fn end(&self) {
            let exits = self.places.task(&TaskUid::parse(UID).unwrap()).join("exits");
            fs::write(exits.join("web.0.json"), "{}").unwrap();
        }

        fn read(&self, change: impl FnOnce(&mut LogsQuery)) -> Result<String, String> {
            let mut logs = LogsQuery { task: "web-1".into(), ..LogsQuery::default() };
            change(&mut logs);
            let request = OpenLogs { id: "1".into(), task_uid: UID.into(), logs };
            let (out, mut lines) = mpsc::channel(100);
            serve(&self.places, &request, &out);
            drop(out);
            let mut text = String::new();
            while let Some(chunk) = lines.blocking_recv() {
                text += str::from_utf8(&chunk?).unwrap();
            }
            Ok(text)
        }
    }

    #[test]
    fn a_log_is_read_from_its_oldest_file_and_its_tail_counts_lines_over_all() {
        let node = Node::new();
        node.write("web/0.log.1", &["a", "b"]);
        node.write("web/0.log", &["c"]);
        assert_eq!(node.read(|_| ()).unwrap(), "a\nb\nc\n");
        assert_eq!(node.read(|q| q.tail_lines = Some(2)).unwrap(), "b\nc\n");
        assert_eq!(node.read(|q| q.tail_lines = Some(0)).unwrap(), "");
        node.write("web/1.log", &["d"]);
        assert_eq!(node.read(|_| ()).unwrap(), "d\n");
        assert_eq!(node.read(|q| q.previous = true).unwrap(), "a\nb\nc\n");
        // The Task's folder is gone: nothing more can come.
        assert_eq!(node.read(|q| q.follow = true).unwrap(), "d\n");
    }

    fn all(mut lines: mpsc::Receiver<Result<Bytes, String>>) -> String {
        let mut text = String::new();
        while let Some(chunk) = lines.blocking_recv() {
            text += str::from_utf8(&chunk.unwrap()).unwrap();
        }
        text
    }

    #[test]
    fn a_follower_reads_every_file_once_however_often_they_are_set_aside_between_two_looks() {
        for rotations in 0..=2 {
            let node = Node::new();
            node.write("web/0.log", &["0"]);
            let (mut lines, reader) = node.follow();
            assert_eq!(lines.blocking_recv().unwrap().unwrap(), "0\n");
            let mut expected = String::new();
            for n in 1..=rotations {
                node.rotate();
                node.write("web/0.log", &[&n.to_string()]);
                expected += &format!("{n}\n");
            }
            node.end();
            assert_eq!(all(lines), expected, "after {rotations} rotations");
            reader.join().unwrap();
        }
    }

    #[test]
    fn a_follower_is_told_where_lines_were_dropped() {
        let node = Node::new();
        node.write("web/0.log", &["0"]);
        let logs = LogsQuery { task: "web-1".into(), follow: true, ..LogsQuery::default() };
        let request = OpenLogs { id: "1".into(), task_uid: UID.into(), logs };
        let log = find(&node.places, &request).unwrap();
        let (out, lines) = mpsc::channel(100);
        let mut sender = Sender::new(&out);
        let mut reading = log.files().unwrap().pop().unwrap();
        assert!(!log.read_on(true, &mut reading, &mut sender).unwrap());
        for n in 1..=4 {
            node.rotate();
            node.write("web/0.log", &[&n.to_string()]);
        }
        while log.read_on(true, &mut reading, &mut sender).unwrap() {}
        drop(out);
        let told = "berth: lines from 1970-01-01T00:00:00Z to 1970-01-01T00:00:00Z may be missing: the log was rotated \
                    faster than it was read\n";
        assert_eq!(all(lines), format!("0\n{told}2\n3\n4\n"));
    }

    #[test]
    fn a_follower_of_an_attempt_whose_end_was_not_recorded_is_done_once_the_next_one_began() {
        let node = Node::new();
        node.write("web/0.log", &["a"]);
        let (mut lines, reader) = node.follow();
        assert_eq!(lines.blocking_recv().unwrap().unwrap(), "a\n");
        node.write("web/0.log", &["b"]);
        node.write("web/1.log", &["c"]);
        assert_eq!(all(lines), "b\n");
        reader.join().unwrap();
    }

    #[test]
    fn parts_of_a_line_join_within_their_stream_and_half_a_line_is_shown() {
        use Completeness::{Full, Partial};
        use LogStream::{Stderr, Stdout};
        let node = Node::new();
        node.write("web/0.log", &[]);
        let path = node.dir.path().join(format!("logs/default_web-1_{UID}/web/0.log"));
        let write = |entries: &[(LogStream, &str, Completeness)]| {
            let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
            for (stream, text, completeness) in entries {
                file.write_all(&entry_of(*stream, text, *completeness)).unwrap();
            }
        };
        write(&[
            (Stdout, "a", Partial),
            (Stderr, "error", Full),
            (Stdout, "b", Full),
            (Stdout, "c", Partial),
        ]);
        assert_eq!(node.read(|_| ()).unwrap(), "error\nab\nc");
        assert_eq!(node.read(|q| q.tail_lines = Some(1)).unwrap(), "ab\nc");
        let (mut lines, reader) = node.follow();
        assert_eq!(lines.blocking_recv().unwrap().unwrap(), "error\nab\n");
        assert_eq!(lines.blocking_recv().unwrap().unwrap(), "c");
        write(&[(Stderr, "again", Full), (Stdout, "d", Full)]);
        node.end();
        assert_eq!(all(lines), "\nagain\nd\n");
        reader.join().unwrap();
    }

    #[test]
    fn the_attempt_before_is_the_last_one_while_the_next_has_not_begun() {
        let node = Node::new();
        node.write("web/0.log", &["a"]);
        node.write("web/1.log", &["b"]);
        assert_eq!(node.read(|q| q.previous = true).unwrap(), "a\n");
        let exits = node.places.task(&TaskUid::parse(UID).unwrap()).join("exits");
        fs::create_dir_all(&exits).unwrap();
        fs::write(exits.join("web.1.json"), "{}").unwrap();
        assert_eq!(node.read(|q| q.previous = true).unwrap(), "b\n");
    }

    #[test]
    fn an_attempt_has_begun_once_it_has_a_log() {
        let node = Node::new();
        let task = TaskUid::parse(UID).unwrap();
        assert_eq!(begun(&node.places, &task), BTreeSet::new());
        node.write("side/0.log", &["a"]);
        node.write("web/3.log.1", &["b"]);
        let all: Vec<_> = begun(&node.places, &task).into_iter().map(|a| (a.container, a.number)).collect();
        assert_eq!(all, [("side".into(), 0), ("web".into(), 3)]);
    }

    #[test]
    fn a_line_in_parts_is_one_line() {
        let node = Node::new();
        node.write("web/0.log", &["a"]);
        let path = node.dir.path().join(format!("logs/default_web-1_{UID}/web/0.log"));
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend(entry("b", Completeness::Partial));
        bytes.extend(entry("c", Completeness::Full));
        fs::write(&path, bytes).unwrap();
        assert_eq!(node.read(|q| q.tail_lines = Some(1)).unwrap(), "bc\n");
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is() {
        let node = Node::new();
        assert_eq!(node.read(|_| ()), Err("task web-1 has no log yet".into()));
        node.write("web/0.log", &["a"]);
        assert_eq!(
            node.read(|q| q.previous = true),
            Err("container web of task web-1 has no log of an earlier attempt".into())
        );
        node.write("side/0.log", &["a"]);
        assert_eq!(node.read(|_| ()), Err("task web-1 has several containers: side, web".into()));
        assert_eq!(
            node.read(|q| q.container = "x".into()),
            Err("container x of task web-1 has no log; there are: side, web".into())
        );
    }
}
