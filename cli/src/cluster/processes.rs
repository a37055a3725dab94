//! Processes of this machine, told apart by pid and start time, so that a reused pid is never taken for its
//! predecessor.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// One process, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    /// When it started, in clock ticks since boot.
    pub started: u64,
}

/// What the kernel calls the executable of a shim: a sealed copy in memory.
const SHIM: &str = "/memfd:berth-shim (deleted)";

/// A process and what it was started as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Which.
    pub process: Process,
    /// The file that it executes, as the kernel names it.
    pub executable: PathBuf,
    /// Its command line.
    pub args: Vec<OsString>,
}

impl Process {
    /// This process.
    pub fn own() -> Self {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        Self::of(pid).expect("a process that runs is in /proc")
    }

    /// The process that has this pid now.
    pub fn of(pid: i32) -> Option<Self> {
        started(pid).map(|started| Self { pid, started })
    }

    /// Whether it still runs; a zombie does not.
    pub fn runs(self) -> bool {
        started(self.pid) == Some(self.started)
    }

    /// Sends it a signal; false when it is gone.
    pub fn signal(self, signal: Signal) -> bool {
        let Some(pid) = Pid::from_raw(self.pid) else { return false };
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
        // The handle keeps the pid from being taken for another: what is checked now is what is signalled.
        self.runs() && pidfd_send_signal(&handle, signal).is_ok()
    }

    /// Waits until it is gone; false when it still runs after `patience`.
    pub async fn gone(self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        while self.runs() {
            if Instant::now() > until {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }

    /// Asks it to end, and kills it when it has not after `patience`.
    pub async fn end(self, patience: Duration) {
        self.signal(Signal::TERM);
        if !self.gone(patience).await {
            self.signal(Signal::KILL);
            self.gone(patience).await;
        }
    }
}

/// Every process of the machine.
pub fn all() -> Vec<Running> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| running(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// What a file is, however it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file at `path`; links are followed.
    fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|file| Self { device: file.dev(), inode: file.ino() })
    }
}

impl Running {
    /// Whether it executes a program of this name; its file may have been replaced since.
    pub fn is(&self, program: &str) -> bool {
        let name = self.executable.file_name().unwrap_or_default().as_bytes();
        name.strip_suffix(b" (deleted)").unwrap_or(name) == program.as_bytes()
    }

    /// Whether it is a shim.
    pub fn is_shim(&self) -> bool {
        self.executable == Path::new(SHIM)
    }

    /// Whether one of its arguments names the file or folder `ours`, and not only something in it.
    pub fn names(&self, ours: &Path) -> bool {
        self.args.iter().flat_map(|arg| paths_in(arg)).any(|path| self.finds(&path, ours))
    }

    /// Whether the process finds our file or folder `ours` at `path`. Both are compared by what they are: the path may be
    /// written in another way, and the same path means another folder to a process with another root. What does not exist
    /// is known by its name and the folder that it would be in.
    pub fn finds(&self, path: &Path, ours: &Path) -> bool {
        let same_name = path.file_name().is_some() && path.file_name() == ours.file_name();
        let folders = path.parent().zip(ours.parent());
        self.sees(path, ours) || same_name && folders.is_some_and(|(theirs, ours)| self.sees(theirs, ours))
    }

    /// The value of the flag `name`, as `--name VALUE` or `--name=VALUE`.
    pub fn flag(&self, name: &str) -> Option<&OsStr> {
        let joined = format!("{name}=");
        let mut args = self.args.iter();
        args.find_map(|arg| match arg.as_bytes().strip_prefix(joined.as_bytes()) {
            Some(value) => Some(Some(OsStr::from_bytes(value))),
            None => (arg == name).then_some(None),
        })?
        .or_else(|| args.next().map(OsString::as_os_str))
    }

    /// Where the file of this name lies that the process has open, or lay before it was removed; none if it has none.
    pub fn open_file(&self, name: &str) -> Option<PathBuf> {
        let open = fs::read_dir(format!("/proc/{}/fd", self.process.pid)).ok()?.flatten();
        let path = |link: PathBuf| {
            let path = fs::read_link(link).ok()?.into_os_string();
            let path = path.as_bytes();
            Some(PathBuf::from(OsStr::from_bytes(path.strip_suffix(b" (deleted)").unwrap_or(path))))
        };
        open.filter_map(|entry| path(entry.path())).find(|path| path.file_name() == Some(OsStr::new(name)))
    }

    /// What the process means by `path`.
    fn at(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.process.pid));
        root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Whether the process finds our folder `ours` at `path`. If neither exists, their paths decide.
    fn sees(&self, path: &Path, ours: &Path) -> bool {
        match (FileId::of(&self.at(path)), FileId::of(ours)) {
            (None, None) => {
                path == ours && FileId::of(&self.at(Path::new("/"))) == FileId::of(Path::new("/"))
            }
            (theirs, ours) => theirs == ours,
        }
    }
}

/// The absolute paths that an argument of Berth's programs names: itself, the value of `--flag=VALUE`, the folder of an
/// embedded store, or the sockets of a list of addresses.
fn paths_in(arg: &OsStr) -> Vec<PathBuf> {
    let bytes = arg.as_bytes();
    let value = match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) if bytes.starts_with(b"--") => &bytes[at + 1..],
        _ => bytes,
    };
    let addresses = if value.starts_with(b"unix:") { value } else { b"" };
    let sockets = addresses.split(|byte| *byte == b',').filter_map(|one| one.strip_prefix(b"unix:"));
    let folder = value.strip_prefix(b"embedded:").unwrap_or(value);
    let paths = sockets.chain([folder]).map(|path| PathBuf::from(OsStr::from_bytes(path)));
    paths.filter(|path| path.is_absolute()).collect()
}

fn running(pid: i32) -> Option<Running> {
    let process = Process::of(pid)?;
    let executable = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let args = line.split(|byte| *byte == 0).map(|arg| OsString::from_vec(arg.to_vec())).collect();
    Some(Running { process, executable, args })
}

/// When a process started; none when it is gone or a zombie.
fn started(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything; field 3 (state) comes after the last one.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let state = fields.first()?;
    if matches!(*state, "Z" | "X") {
        return None;
    }
    fields.get(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_pid_and_start() {
        let own = Process::own();
        assert!(own.runs());
        assert!(!Process { started: own.started + 1, ..own }.runs());
        assert!(!Process { started: own.started + 1, ..own }.signal(Signal::KILL));
        assert!(all().iter().any(|running| running.process == own));
    }

    fn running(executable: &str, args: &[&str]) -> Running {
        let args = args.iter().map(OsString::from).collect();
        Running { process: Process::own(), executable: executable.into(), args }
    }

    #[test]
    fn a_program_is_known_by_its_whole_name() {
        for (executable, part, shim) in [
            ("/usr/bin/apiserver", true, false),
            ("/usr/bin/apiserver (deleted)", true, false),
            ("/usr/bin/kube-apiserver", false, false),
            ("/usr/bin/apiserver-old", false, false),
            ("/memfd:berth-shim (deleted)", false, true),
            ("/usr/bin/containerd-shim", false, false),
            ("/usr/bin/shim", false, false),
            ("/memfd:berth-shimmer (deleted)", false, false),
        ] {
            let found = running(executable, &[]);
            assert_eq!((found.is("apiserver"), found.is_shim()), (part, shim), "{executable}");
        }
    }

    #[test]
    fn a_path_is_named_by_a_whole_argument_however_it_is_written() {
        let top = tempfile::tempdir().unwrap();
        let top = top.path().display().to_string();
        let (ours, other) = (format!("{top}/run"), format!("{top}/mnt{top}/run"));
        fs::create_dir_all(&ours).unwrap();
        fs::create_dir_all(&other).unwrap();
        std::os::unix::fs::symlink(&ours, format!("{top}/link")).unwrap();
        for (args, lives) in [
            (vec!["--run", &ours], true),
            (vec![&format!("--run={ours}/")], true),
            (vec![&format!("--run={ours}/node")], false),
            (vec!["--listen", &format!("unix:{ours}")], true),
            (vec![&format!("--server=unix:/a/api.sock,unix:{ours}")], true),
            (vec!["--store", &format!("embedded:{top}/link")], true),
            (vec!["--store", &format!("embedded:{other}")], false),
            (vec!["--run", &other], false),
            (vec!["--run", &format!("{ours}x")], false),
            (vec!["--run", &format!("/mnt,{ours}")], false),
            (vec!["--note", &format!("not in {ours}")], false),
            (vec!["--run", &top], false),
        ] {
            assert_eq!(running("/x", &args).names(Path::new(&ours)), lives, "{args:?}");
        }
        // What is not there yet, or was removed, is known by its folder.
        let absent = running("/x", &["--listen", &format!("unix:{top}/link/api.sock")]);
        assert!(absent.names(&Path::new(&ours).join("api.sock")));
        assert!(!absent.names(&Path::new(&ours).join("other.sock")));
        assert!(!absent.names(&Path::new(&other).join("api.sock")));
    }

    #[test]
    fn a_folder_that_is_gone_is_known_by_its_path() {
        let gone = Path::new("/nonexistent/run");
        for (arg, lives) in [
            ("/nonexistent/run", true),
            ("/nonexistent/run/node", false),
            ("/nonexistent/runs", false),
            ("/mnt/nonexistent/run", false),
            ("/nonexistent", false),
        ] {
            assert_eq!(running("/x", &["--run", arg]).names(gone), lives, "{arg}");
        }
    }

    #[test]
    fn a_flag_has_its_value_behind_it_or_in_it() {
        for (args, value) in [
            (vec!["agent", "--data", "/d", "--run", "/r"], Some("/d")),
            (vec!["agent", "--run", "/r", "--data=/d"], Some("/d")),
            (vec!["agent", "--database", "/d"], None),
            (vec!["agent", "--data"], None),
        ] {
            assert_eq!(running("/x", &args).flag("--data"), value.map(OsStr::new), "{args:?}");
        }
    }
}
