//! Bounds on the logs of ended attempts, for each App and for the node, by bytes and by files: the oldest files go first.
//! Logs of attempts that run are bounded by their rotation.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::assignment::TaskUid;
use crate::disk::Fullness;
use crate::places::Places;

/// How much may be kept.
#[derive(Debug, Clone, Copy)]
struct Bound {
    bytes: u64,
    files: usize,
}

/// Of one App: two attempts that wrote as much as is kept of one, and as many short ones as anybody reads.
const PER_APP: Bound = Bound { bytes: 64 << 20, files: 500 };
/// Of all Tasks of a node whose disk is large.
const PER_NODE: Bound = Bound { bytes: 1 << 30, files: 10_000 };
/// On a smaller disk, one part in so many of it.
const DISK_SHARE: u64 = 20;

/// A file of an ended attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
struct EndedLog {
    app: String,
    path: PathBuf,
    bytes: u64,
    written: SystemTime,
    /// Rotations ago.
    age: u32,
    /// Whether nothing else of its Task is left.
    task_gone: bool,
}

/// The attempts of one container that have logs.
#[derive(Debug)]
pub struct Attempts {
    newest: Option<u32>,
    task: PathBuf,
    container: String,
}

impl Attempts {
    /// As the container's log folder shows them.
    pub fn look(places: &Places, task: &TaskUid, container: &str, logs: &Path) -> Self {
        let files = entries(logs);
        let newest = files.iter().filter_map(|(file, _)| parse(file)).map(|(number, _)| number).max();
        Self { newest, task: places.task(task), container: container.to_owned() }
    }

    /// Whether an attempt has ended: its Task is gone, its end is recorded or a later one began. A shim that is killed
    /// records no end.
    pub fn has_ended(&self, number: u32) -> bool {
        self.is_task_gone() || self.newest > Some(number) || self.has_recorded_end(number)
    }

    /// Whether the end of an attempt is recorded; no longer once its Task is gone.
    pub fn has_recorded_end(&self, number: u32) -> bool {
        self.task.join("exits").join(format!("{}.{number}.json", self.container)).exists()
    }

    fn is_task_gone(&self) -> bool {
        !self.task.exists()
    }
}

/// Removes what is over the bounds; tells how many files that were. What cannot be removed keeps no other file.
pub fn bound(places: &Places) -> io::Result<usize> {
    let disk = Fullness::look(places.data())?;
    let per_node = Bound { bytes: PER_NODE.bytes.min(disk.room / DISK_SHARE), ..PER_NODE };
    let (mut removed, mut failures) = (0, Vec::new());
    for log in surplus(ended(places), PER_APP, per_node) {
        // Whoever reads it right now goes on reading what is open.
        match fs::remove_file(&log.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                failures.push((log.path, error));
                continue;
            }
            Ok(()) | Err(_) => removed += 1,
        }
        // A Task that is still here may begin an attempt, whose log folder is empty at first. Folders that still hold
        // something stay.
        if log.task_gone {
            let _ = log.path.ancestors().skip(1).take(2).try_for_each(fs::remove_dir);
        }
    }
    if let Some((path, error)) = failures.first() {
        let (path, files) = (path.display(), failures.len());
        tracing::warn!(files, %path, %error, "logs over the bound could not be removed; the first of them is named");
    }
    Ok(removed)
}

/// The files that are over a bound: of each App, and of what is left of all, those that were written last are kept.
fn surplus(mut logs: Vec<EndedLog>, per_app: Bound, per_node: Bound) -> Vec<EndedLog> {
    logs.sort_by(|a, b| (b.written, a.age, &a.path).cmp(&(a.written, b.age, &b.path)));
    let mut apps: BTreeMap<String, Bound> = BTreeMap::new();
    let mut node = Bound { bytes: 0, files: 0 };
    let mut keeps = |log: &EndedLog| {
        let app = apps.entry(log.app.clone()).or_insert(Bound { bytes: 0, files: 0 });
        app.take(log, per_app) && node.take(log, per_node)
    };
    logs.into_iter().filter(|log| !keeps(log)).collect()
}

impl Bound {
    /// Counts a file; whether all counted so far is within `most`.
    fn take(&mut self, log: &EndedLog, most: Bound) -> bool {
        self.bytes = self.bytes.saturating_add(log.bytes);
        self.files += 1;
        self.bytes <= most.bytes && self.files <= most.files
    }
}

/// Every file of an ended attempt.
fn ended(places: &Places) -> Vec<EndedLog> {
    let mut ended = Vec::new();
    for (name, task) in entries(&places.all_logs()) {
        let Some(uid) = name.rsplit('_').next().and_then(TaskUid::parse) else { continue };
        for (container, folder) in entries(&task) {
            let attempts = Attempts::look(places, &uid, &container, &folder);
            let task_gone = attempts.is_task_gone();
            let files = entries(&folder);
            let numbered = files.into_iter().filter_map(|(file, path)| Some((parse(&file)?, path)));
            let files = numbered.filter(|((number, _), _)| attempts.has_ended(*number));
            ended.extend(files.filter_map(|((_, age), path)| {
                let meta = fs::symlink_metadata(&path).ok()?;
                Some(EndedLog {
                    app: app_of(&name).to_owned(),
                    bytes: meta.len(),
                    written: meta.modified().ok()?,
                    path,
                    age,
                    task_gone,
                })
            }));
        }
    }
    ended
}

/// Namespace and App of a folder `<namespace>_<app>-<n>_<uid>`; of a Task without App, its namespace and name.
fn app_of(folder: &str) -> &str {
    let task = folder.rsplit_once('_').map_or(folder, |(task, _)| task);
    let numbered = |(_, number): &(&str, &str)| number.bytes().all(|byte| byte.is_ascii_digit());
    task.rsplit_once('-').filter(numbered).map_or(task, |(app, _)| app)
}

/// Attempt and age of `<attempt>.log` or `<attempt>.log.<age>`.
fn parse(file: &str) -> Option<(u32, u32)> {
    let (number, age) = file.split_once(".log")?;
    let age = if age.is_empty() { 0 } else { age.strip_prefix('.')?.parse().ok()? };
    Some((number.parse().ok()?, age))
}

fn entries(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn log(app: &str, second: u64, age: u32, bytes: u64) -> EndedLog {
        let written = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let path = format!("{app}.{second}.{age}").into();
        EndedLog { app: app.into(), path, bytes, written, age, task_gone: true }
    }

    #[test]
    fn the_oldest_files_over_a_bound_go() {
        let plenty = Bound { bytes: 1000, files: 1000 };
        let logs = vec![log("a", 1, 0, 40), log("a", 3, 0, 40), log("b", 2, 0, 40), log("a", 3, 1, 10)];
        for (case, per_app, per_node, expected) in [
            ("nothing is over", plenty, plenty, vec![]),
            ("bytes of an App", Bound { bytes: 50, ..plenty }, plenty, vec!["a.1.0"]),
            ("less than the newest file", Bound { bytes: 49, ..plenty }, plenty, vec!["a.3.1", "a.1.0"]),
            ("files of an App", Bound { files: 1, ..plenty }, plenty, vec!["a.3.1", "a.1.0"]),
            ("bytes of the node", plenty, Bound { bytes: 90, ..plenty }, vec!["a.1.0"]),
            ("files of the node", plenty, Bound { files: 2, ..plenty }, vec!["b.2.0", "a.1.0"]),
            (
                "what an App is not let keep does not count for the node",
                Bound { files: 1, ..plenty },
                Bound { files: 2, ..plenty },
                vec!["a.3.1", "a.1.0"],
            ),
        ] {
            let over = surplus(logs.clone(), per_app, per_node);
            let over: Vec<_> = over.iter().map(|log| log.path.to_str().unwrap()).collect();
            assert_eq!(over, expected, "{case}");
        }
    }

    #[test]
    fn an_app_is_named_by_its_tasks_without_their_numbers() {
        for (folder, app) in [
            ("default_web-1_uid", "default_web"),
            ("default_web-2-17_uid", "default_web-2"),
            ("other_web-1_uid", "other_web"),
            ("default_alone_uid", "default_alone"),
            ("default_my-task_uid", "default_my-task"),
        ] {
            assert_eq!(app_of(folder), app);
        }
    }

    #[test]
    fn an_attempt_that_runs_keeps_its_log_and_those_of_others_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::new(dir.path(), dir.path(), "p");
        let [alive, gone] = ["1", "2"].map(|digit| TaskUid::parse(&digit.repeat(32)).unwrap());
        fs::create_dir_all(places.task(&alive).join("exits")).unwrap();
        let write = |task: &TaskUid, file: &str| {
            let path = places.all_logs().join(format!("default_web-1_{task}")).join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::File::create(&path).unwrap().set_len(PER_APP.bytes + 1).unwrap();
            path
        };
        let (earlier, runs) = (write(&alive, "main/0.log"), write(&alive, "main/1.log"));
        let (rotated, over) = (write(&alive, "side/0.log.1"), write(&gone, "main/0.log"));
        assert_eq!(bound(&places).unwrap(), 2);
        assert!(runs.exists() && rotated.exists() && !earlier.exists() && !over.exists());
        assert!(!over.parent().unwrap().parent().unwrap().exists(), "its folder is empty");
        // Its end is recorded, and no other attempt began.
        fs::write(places.task(&alive).join("exits/main.1.json"), "{}").unwrap();
        assert_eq!(bound(&places).unwrap(), 1);
        assert!(!runs.exists() && rotated.exists());
        assert!(runs.parent().unwrap().is_dir(), "the next attempt's log may be about to be made there");
    }

    #[test]
    fn a_file_that_cannot_be_removed_keeps_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::new(dir.path(), dir.path(), "p");
        let gone = TaskUid::parse(&"1".repeat(32)).unwrap();
        let folder = places.all_logs().join(format!("default_web-1_{gone}")).join("main");
        // A folder in the place of a file cannot be removed like one.
        fs::create_dir_all(folder.join("1.log/full")).unwrap();
        for (file, bytes, second) in [("2.log", PER_APP.bytes + 1, 3), ("1.log", 0, 2), ("0.log", 0, 1)] {
            let path = folder.join(file);
            if bytes > 0 || file == "0.log" {
                fs::File::create(&path).unwrap().set_len(bytes).unwrap();
            }
            let written = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            fs::File::open(&path).unwrap().set_modified(written).unwrap();
        }
        assert_eq!(bound(&places).unwrap(), 2);
        assert!(!folder.join("2.log").exists() && !folder.join("0.log").exists());
    }
}
