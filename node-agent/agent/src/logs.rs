//! Reading a container's log for somebody far away: whole lines, from the rotated files on, following if asked.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_client::OpenLogs;
use berth_shim_api::{Completeness, LogEntry, rotated_name};
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::assignment::TaskUid;
use crate::places::Places;
use crate::plan::Attempt;

/// Lines are sent together up to this many bytes.
const CHUNK: usize = 64 << 10;
/// Between two looks at a log that is followed.
const POLL: Duration = Duration::from_millis(100);

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
struct Log {
    path: PathBuf,
    /// Exists once the attempt has ended.
    exit: PathBuf,
    /// Exists while the Task does.
    task: PathBuf,
}

fn find(places: &Places, request: &OpenLogs) -> Result<Log, String> {
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
    let home = places.task(&task);
    let exit_of = |number: &u32| home.join("exits").join(format!("{container}.{number}.json"));
    // While a container waits for its restart, its last attempt is over and the present one has no log yet.
    let waits = attempts.first().is_some_and(|newest| exit_of(newest).exists());
    let position = usize::from(request.logs.previous && !waits);
    let number = attempts.get(position).ok_or_else(|| match position {
        0 => format!("container {container} of task {name} has no log yet"),
        _ => format!("container {container} of task {name} was never restarted"),
    })?;
    Ok(Log { path: folder.join(format!("{number}.log")), exit: exit_of(number), task: home })
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

impl Log {
    fn send(&self, request: &OpenLogs, out: &Lines) -> io::Result<()> {
        let mut sender = Sender { out, chunk: Vec::new() };
        let mut skip = match request.logs.tail_lines {
            Some(tail) => self.count_lines()?.saturating_sub(tail as usize),
            None => 0,
        };
        for age in (1..=self.oldest()).rev() {
            if let Some(file) = open(&rotated_name(&self.path, age))? {
                Reading::of(file).drain(&mut skip, &mut sender)?;
            }
        }
        let Some(file) = open(&self.path)? else { return sender.flush() };
        let mut reading = Reading::of(file);
        loop {
            // Looked at before reading: what was written before the end is read after it was seen.
            let ended = self.exit.exists() || !self.task.exists();
            let rotated = reading.is_set_aside(&self.path);
            reading.drain(&mut skip, &mut sender)?;
            sender.flush()?;
            if rotated && let Some(next) = open(&self.path)? {
                reading = Reading::of(next);
                continue;
            }
            if !request.logs.follow || ended || out.is_closed() {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
    }

    fn oldest(&self) -> u32 {
        (1..).find(|age| !rotated_name(&self.path, *age).exists()).map_or(0, |age| age - 1)
    }

    fn count_lines(&self) -> io::Result<usize> {
        let mut lines = 0;
        for age in 0..=self.oldest() {
            let Some(file) = open(&rotated_name(&self.path, age))? else { continue };
            for line in BufReader::new(file).split(b'\n') {
                let ends = |entry: LogEntry| entry.completeness == Completeness::Full;
                lines += usize::from(LogEntry::parse(&line?).is_some_and(ends));
            }
        }
        Ok(lines)
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
}

impl Reading {
    fn of(file: File) -> Self {
        let inode = file.metadata().map_or(0, |meta| meta.ino());
        Self { lines: BufReader::new(file), inode, partial: Vec::new() }
    }

    fn is_set_aside(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|meta| meta.ino() != self.inode)
    }

    fn drain(&mut self, skip: &mut usize, sender: &mut Sender<'_>) -> io::Result<()> {
        loop {
            if self.lines.read_until(b'\n', &mut self.partial)? == 0 || self.partial.last() != Some(&b'\n') {
                return Ok(());
            }
            self.partial.pop();
            if let Some(entry) = LogEntry::parse(&self.partial) {
                let full = entry.completeness == Completeness::Full;
                if *skip == 0 {
                    sender.push(entry.text, full)?;
                } else if full {
                    *skip -= 1;
                }
            }
            self.partial.clear();
        }
    }
}

/// Gathers lines into chunks; waits for a slow reader.
struct Sender<'a> {
    out: &'a Lines,
    chunk: Vec<u8>,
}

impl Sender<'_> {
    fn push(&mut self, text: &[u8], full: bool) -> io::Result<()> {
        self.chunk.extend_from_slice(text);
        if full {
            self.chunk.push(b'\n');
        }
        if self.chunk.len() >= CHUNK { self.flush() } else { Ok(()) }
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
    use berth_shim_api::LogStream;
    use berth_types::Timestamp;
    use std::io::Write;

    struct Node {
        dir: tempfile::TempDir,
        places: Places,
    }

    const UID: &str = "0123456789abcdef0123456789abcdef";

    fn entry(text: &str, completeness: Completeness) -> Vec<u8> {
        let time = Timestamp::from_millis(0);
        let mut line = Vec::new();
        LogEntry { time, stream: LogStream::Stdout, completeness, text: text.as_bytes() }.write(&mut line);
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
            Err("container web of task web-1 was never restarted".into())
        );
        node.write("side/0.log", &["a"]);
        assert_eq!(node.read(|_| ()), Err("task web-1 has several containers: side, web".into()));
        assert_eq!(
            node.read(|q| q.container = "x".into()),
            Err("container x of task web-1 has no log; there are: side, web".into())
        );
    }
}
