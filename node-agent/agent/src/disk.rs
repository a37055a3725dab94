//! The disk under the data folder: how full it is, and what each Task has on it.
//!
//! A look costs a system call or two. While more than the configured share is in use, the folders of all Tasks are walked
//! too, in at most a tenth of the time. What a Task keeps open and has deleted is not seen.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use berth_types::availability::DISK_PRESSURE;
use berth_types::quantity::{Bytes, Quantity};
use berth_types::{Condition, ConditionStatus, Timestamp};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use tokio::sync::mpsc;

use crate::assignment::TaskUid;
use crate::blocking::blocking;
use crate::places::Places;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// A disk must have room for this long before the pressure is over: a Task that fills it again and again makes one.
const CALM: Duration = Duration::from_secs(10);
/// Walks take at most one part in so many of the time.
const WALK_SHARE: u32 = 10;
/// Entries of one folder that are counted; one that has more is large by those.
const MAX_ENTRIES: usize = 1_000_000;
/// Folders that wait to be read; further ones are not counted.
const MAX_WAITING: usize = 20_000;
/// A folder whose path from the last open one is longer than this is opened itself: the kernel takes 4,096 bytes.
const LONG_PATH: usize = 1_024;
/// Folders that are kept open above one that waits; what is deeper is not counted.
const MAX_OPEN: usize = 200;

/// How full a disk is, in bytes that others than root may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fullness {
    /// Bytes in use.
    pub used: u64,
    /// Bytes in use and free ones.
    pub room: u64,
}

/// What a look at the disk found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// How full it is.
    pub fullness: Fullness,
    /// More than this share in use is too much.
    pub percent: u8,
    /// Whether the node is to be under pressure.
    pub pressed: bool,
    /// Bytes that each Task uses; empty while the disk has room, and between two walks.
    pub tasks: BTreeMap<TaskUid, u64>,
}

impl Fullness {
    /// Looks at the disk under `folder`.
    pub fn look(folder: &Path) -> io::Result<Self> {
        let stat = rustix::fs::statvfs(folder)?;
        let used = stat.f_blocks.saturating_sub(stat.f_bfree).saturating_mul(stat.f_frsize);
        Ok(Self { used, room: used.saturating_add(stat.f_bavail.saturating_mul(stat.f_frsize)) })
    }

    /// Bytes that may still be written before more than `percent` of it is in use.
    pub fn left_below(self, percent: u8) -> u64 {
        let most = u128::from(self.room) * u128::from(percent) / 100;
        u64::try_from(most).unwrap_or(u64::MAX).saturating_sub(self.used)
    }

    /// Whether more than `percent` of it is in use; never with 100.
    pub fn passes(self, percent: u8) -> bool {
        u128::from(self.used) * 100 > u128::from(self.room) * u128::from(percent)
    }
}

impl Look {
    /// What the Node says of it; `folder` is on the disk.
    pub fn condition(&self, folder: &Path, now: Timestamp) -> Condition {
        let (status, reason, then) = match self.pressed {
            true => (
                ConditionStatus::True,
                "DiskIsFilling",
                ": no new Tasks are placed here, and the Task that uses the most disk is stopped; free some space",
            ),
            false => (ConditionStatus::False, "DiskHasRoom", ""),
        };
        let message = format!("the disk of {} has {}{then}", folder.display(), self.usage());
        Condition::new(DISK_PRESSURE, status, reason, message, now)
    }

    /// Why a Task that uses `bytes` is stopped.
    pub fn accusation(&self, folder: &Path, bytes: u64) -> String {
        let (bytes, folder, usage) = (amount(bytes), folder.display(), self.usage());
        format!("used {bytes} of disk, more than any other Task, while the disk of {folder} had {usage}")
    }

    fn usage(&self) -> String {
        format!("{} (limit {} %)", self.fullness, self.percent)
    }
}

impl std::fmt::Display for Fullness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} in use", amount(self.used), amount(self.room))
    }
}

/// Bytes as people write them, in whole MiB.
pub fn amount(bytes: u64) -> Quantity {
    Quantity::of_bytes(Bytes(i64::try_from(bytes).unwrap_or(i64::MAX) >> 20 << 20))
}

/// Whether a write failed because the disk, or a quota on it, has no room.
pub fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Looks at the disk of `places` until the agent ends: sends the first look, each one with more than `percent` in use,
/// and the one that ends the pressure.
pub async fn watch(places: Places, percent: u8, looks: mpsc::Sender<Look>) {
    let mut watcher = Watcher::new(percent);
    loop {
        let walked = places.clone();
        let (found, next) = blocking(move || {
            let found = watcher.look(|| Fullness::look(walked.data()), || uses(&walked));
            (found, watcher)
        })
        .await;
        watcher = next;
        match found {
            Ok(Some(look)) => {
                // Nobody listens only when the agent ends.
                let _ = looks.send(look).await;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(error = %error, "the disk of the data folder cannot be looked at"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What earlier looks found.
#[derive(Debug)]
struct Watcher {
    percent: u8,
    /// Whether the last look that was sent was of a disk that is too full; and when it last was.
    last: Option<(bool, Instant)>,
    /// The next walk begins no earlier.
    walk_from: Instant,
}

impl Watcher {
    fn new(percent: u8) -> Self {
        Self { percent, last: None, walk_from: Instant::now() }
    }

    /// The look to send, if it is news. After a walk `fullness` is asked again: a Task that ended meanwhile may have made
    /// room, and then no other one is to be stopped.
    fn look(
        &mut self,
        fullness: impl Fn() -> io::Result<Fullness>,
        walk: impl FnOnce() -> BTreeMap<TaskUid, u64>,
    ) -> io::Result<Option<Look>> {
        let percent = self.percent;
        let (now, pressed) = (fullness()?, self.last.is_some_and(|(pressed, _)| pressed));
        if !now.passes(percent) {
            if self.last.is_some_and(|(pressed, since)| !pressed || since.elapsed() <= CALM) {
                return Ok(None);
            }
            self.last = Some((false, Instant::now()));
            return Ok(Some(Look { fullness: now, percent, pressed: false, tasks: BTreeMap::new() }));
        }
        if pressed {
            self.last = Some((true, Instant::now()));
        }
        let began = Instant::now();
        let mut tasks = BTreeMap::new();
        if began >= self.walk_from {
            tasks = walk();
            self.walk_from = Instant::now() + began.elapsed() * WALK_SHARE;
        }
        let fullness = fullness()?;
        if !fullness.passes(percent) {
            return Ok(None);
        }
        self.last = Some((true, Instant::now()));
        Ok(Some(Look { fullness, percent, pressed: true, tasks }))
    }
}

/// Bytes on disk of each Task here: its folder and its logs.
fn uses(places: &Places) -> BTreeMap<TaskUid, u64> {
    let mut uses = BTreeMap::new();
    for (uid, folder) in folders(&places.tasks()).chain(folders(&places.all_logs())) {
        match bytes_below(&folder) {
            Ok(bytes) => *uses.entry(uid).or_default() += bytes,
            Err(error) => {
                tracing::debug!(folder = %folder.display(), error = %error, "a folder is not counted")
            }
        }
    }
    uses.retain(|uid, _| places.task(uid).exists());
    uses
}

/// Folders that are named by a uid, or end with one.
fn folders(above: &Path) -> impl Iterator<Item = (TaskUid, PathBuf)> + use<> {
    fs::read_dir(above).into_iter().flatten().flatten().filter_map(|entry| {
        let name = entry.file_name();
        Some((TaskUid::parse(name.to_str()?.rsplit('_').next()?)?, entry.path()))
    })
}

/// A folder to be read: where it is from an open one.
struct Place {
    base: Rc<OwnedFd>,
    path: PathBuf,
    /// Folders that were opened on the way to it.
    opened: usize,
}

/// Bytes on disk of all that lies below `folder`, which a container fills and changes meanwhile: no link is followed,
/// and depth costs neither stack nor many open files. What vanishes or cannot be opened counts nothing.
fn bytes_below(folder: &Path) -> rustix::io::Result<u64> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let top = Rc::new(rustix::fs::openat(CWD, folder, flags, Mode::empty())?);
    let mut todo = vec![Place { base: top, path: PathBuf::from("."), opened: 0 }];
    let (mut bytes, mut entries) = (0u64, 0);
    while let Some(Place { base, path, opened }) = todo.pop() {
        let Ok(folder) = rustix::fs::openat2(&base, &path, flags, Mode::empty(), inside) else { continue };
        let folder = Rc::new(folder);
        let (base, path, opened) = match path.as_os_str().len() > LONG_PATH {
            true => (folder.clone(), PathBuf::from("."), opened + 1),
            false => (base, path, opened),
        };
        for entry in Dir::read_from(&folder)?.flatten() {
            let name = entry.file_name();
            if [c".", c".."].contains(&name) {
                continue;
            }
            let Ok(stat) = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            // Blocks are of 512 bytes, whatever the file system's are.
            bytes = bytes.saturating_add(u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512));
            entries += 1;
            if entries >= MAX_ENTRIES {
                return Ok(bytes);
            }
            let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if is_folder && todo.len() < MAX_WAITING && opened <= MAX_OPEN {
                let path = path.join(OsStr::from_bytes(name.to_bytes()));
                todo.push(Place { base: base.clone(), path, opened });
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_share_is_passed_by_more_than_it() {
        for (used, room, percent, passes) in [
            (90, 100, 90, false),
            (91, 100, 90, true),
            (100, 100, 100, false),
            (0, 0, 90, false),
            (u64::MAX / 2, u64::MAX / 2, 99, true),
        ] {
            let fullness = Fullness { used, room };
            assert_eq!(fullness.passes(percent), passes, "{used} of {room} at {percent} %");
            let left = fullness.left_below(percent);
            let filled = |more| Fullness { used: used + more, room };
            assert_eq!((filled(left).passes(percent), filled(left + 1).passes(percent)), (passes, true));
        }
    }

    #[test]
    fn a_disk_that_got_room_during_the_walk_costs_no_task() {
        let (full, free) = (Fullness { used: 95, room: 100 }, Fullness { used: 10, room: 100 });
        let uid = TaskUid::parse(&"1".repeat(32)).unwrap();
        let walk = || BTreeMap::from([(uid.clone(), 5)]);
        for (after, expected) in [(full, Some((true, 1))), (free, None)] {
            let (asked, mut watcher) = (std::cell::Cell::new(0), Watcher::new(90));
            let fullness = || {
                asked.set(asked.get() + 1);
                Ok(if asked.get() == 1 { full } else { after })
            };
            let look = watcher.look(fullness, walk).unwrap();
            assert_eq!(look.map(|look| (look.pressed, look.tasks.len())), expected, "{after:?}");
        }
    }

    #[test]
    fn looks_go_on_between_two_walks_and_name_no_task_then() {
        let full = || Ok(Fullness { used: 95, room: 100 });
        let uid = TaskUid::parse(&"1".repeat(32)).unwrap();
        let walk = || BTreeMap::from([(uid.clone(), 5)]);
        let mut watcher = Watcher::new(90);
        assert_eq!(watcher.look(full, walk).unwrap().unwrap().tasks.len(), 1);
        watcher.walk_from = Instant::now() + Duration::from_secs(600);
        let look = watcher.look(full, walk).unwrap().unwrap();
        assert!(look.pressed && look.tasks.is_empty(), "{look:?}");
    }

    #[test]
    fn a_task_is_charged_with_its_folder_and_its_logs_and_with_nothing_that_a_link_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::new(dir.path(), dir.path(), "p");
        let [one, two, gone] = ["1", "2", "3"].map(|digit| TaskUid::parse(&digit.repeat(32)).unwrap());
        let big = vec![1; 1 << 20];
        let write = |path: PathBuf| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &big).unwrap();
        };
        write(places.task(&one).join("c/main/sandbox/a"));
        write(places.all_logs().join(format!("default_web-1_{one}")).join("main/0.log"));
        write(places.task(&two).join("c/main/0/upper/deep/er/b"));
        symlink(places.task(&one), places.task(&two).join("c/link")).unwrap();
        write(places.all_logs().join(format!("default_web-3_{gone}")).join("main/0.log"));
        let whole: Vec<_> = uses(&places).into_iter().map(|(uid, bytes)| (uid, bytes >> 20)).collect();
        assert_eq!(whole, [(one, 2), (two, 1)]);
    }

    #[test]
    fn a_file_ten_thousand_folders_deep_counts() {
        // In memory: a disk takes its time for so many folders.
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let mut folder = rustix::fs::openat(CWD, dir.path(), flags, Mode::empty()).unwrap();
        for _ in 0..10_000 {
            rustix::fs::mkdirat(&folder, "a", Mode::RWXU).unwrap();
            folder = rustix::fs::openat(&folder, "a", flags, Mode::empty()).unwrap();
        }
        let create = OFlags::WRONLY | OFlags::CREATE;
        let file = rustix::fs::openat(&folder, "file", create, Mode::RWXU).unwrap();
        rustix::io::write(&file, &[1; 1 << 20]).unwrap();
        assert_eq!(bytes_below(dir.path()).unwrap() >> 20, 1);
        berth_removal::remove_tree(&dir.path().join("a")).unwrap();
    }
}
