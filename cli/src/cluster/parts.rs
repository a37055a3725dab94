//! The parts of the cluster as processes of their own, kept running.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::processes::Process;
use crate::output::print;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Shorter than the time after which a node that is away is given up: a part that ends often costs no neighbours.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A part that ran this long before it ended begins with the first pause again.
const STEADY: Duration = Duration::from_secs(60);
/// How long a part may take to end when asked.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// A longer log becomes `<name>.log.1`.
const LONGEST_LOG: u64 = 16 << 20;
const LOG_CHECK: Duration = Duration::from_secs(60);

/// Tells a part whose end it must not outlive.
const PARENT: &str = "BERTH_PARENT_PID";

/// One program to keep running.
#[derive(Debug, Clone)]
pub struct Part {
    /// As `apiserver`.
    pub name: &'static str,
    /// Its executable.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Takes what it writes.
    pub log: PathBuf,
}

/// A part ended although nobody asked it to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub part: &'static str,
    /// As `exit status: 1`.
    pub how: String,
    /// When it is started again.
    pub again_in: Duration,
    /// Its log.
    pub log: PathBuf,
}

/// Keeps parts running until told to stop.
#[derive(Debug)]
pub struct Parts {
    kept: Vec<Kept>,
    news: mpsc::UnboundedReceiver<Ended>,
    tell: mpsc::UnboundedSender<Ended>,
}

#[derive(Debug)]
struct Kept {
    name: &'static str,
    stop: watch::Sender<bool>,
    keeper: JoinSet<()>,
}

impl Default for Parts {
    fn default() -> Self {
        let (tell, news) = mpsc::unbounded_channel();
        Self { kept: Vec::new(), news, tell }
    }
}

impl Parts {
    /// Starts a part and keeps it running. Must be called on the main thread, which its parent-death signal watches.
    pub fn keep(&mut self, part: Part) {
        let (stop, stopped) = watch::channel(false);
        let name = part.name;
        let mut keeper = JoinSet::new();
        keeper.spawn(keep(part, stopped, self.tell.clone()));
        self.kept.push(Kept { name, stop, keeper });
    }

    /// The next part that ended by itself.
    pub async fn ended(&mut self) -> Ended {
        self.news.recv().await.expect("this struct holds a sender")
    }

    /// Stops one part.
    pub async fn stop_one(&mut self, name: &str) {
        let Some(at) = self.kept.iter().position(|part| part.name == name) else { return };
        self.kept.remove(at).end().await;
    }

    /// Stops the parts, the last one first; `tell` gets each one's name.
    pub async fn stop(mut self, mut tell: impl FnMut(&str)) {
        while let Some(part) = self.kept.pop() {
            tell(part.name);
            part.end().await;
        }
    }
}

impl Kept {
    async fn end(mut self) {
        self.stop.send_replace(true);
        while self.keeper.join_next().await.is_some() {}
    }
}

async fn keep(part: Part, mut stop: watch::Receiver<bool>, tell: mpsc::UnboundedSender<Ended>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let began = Instant::now();
        let how = match part.start() {
            Ok(child) => match run(child, &part, &mut stop).await {
                Some(status) => status.to_string(),
                None => return,
            },
            Err(error) => format!("could not be started: {error}"),
        };
        if began.elapsed() > STEADY {
            pause = FIRST_PAUSE;
        }
        // Nobody listens any more only when everything is about to stop.
        let _ = tell.send(Ended { part: part.name, how, again_in: pause, log: part.log.clone() });
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = asked(&mut stop) => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Waits for the child's end; none when it was asked for.
async fn run(mut child: Child, part: &Part, stop: &mut watch::Receiver<bool>) -> Option<ExitStatus> {
    let mut check = tokio::time::interval(LOG_CHECK);
    loop {
        tokio::select! {
            status = child.wait() => return status.ok(),
            _ = check.tick() => {
                if let Err(error) = turn_over(&part.log) {
                    print::note(&format!("could not turn over {}: {error}", part.log.display()));
                }
            }
            () = asked(stop) => {
                end(&mut child).await;
                return None;
            }
        }
    }
}

async fn asked(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone wants the end too.
    drop(stop.wait_for(|stop| *stop).await);
}

async fn end(child: &mut Child) {
    let process = child.id().and_then(|pid| Process::of(i32::try_from(pid).ok()?));
    process.map(|process| process.signal(Signal::TERM));
    if tokio::time::timeout(ENDS_WITHIN, child.wait()).await.is_err() {
        // It ends in either case; what it holds, it journals.
        let _ = child.kill().await;
    }
}

impl Part {
    fn start(&self) -> io::Result<Child> {
        let log = append_to(&self.log)?;
        Command::new(&self.program)
            .args(&self.args)
            .env(PARENT, std::process::id().to_string())
            // Their allocator gives pages back at once, and not when the thread that had them next allocates.
            .env("MIMALLOC_PURGE_DELAY", "0")
            // A log file is no terminal.
            .env("NO_COLOR", "1")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C reaches this process alone: it stops the parts in their order.
            .process_group(0)
            .spawn()
    }
}

/// Opens a log at its end.
pub fn append_to(log: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(log)
}

/// What was written to a log from `start` on, at most its last `most` lines.
pub fn tail(log: &Path, start: u64, most: usize) -> Vec<String> {
    let mut bytes = Vec::new();
    let read = File::open(log).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(start.max(length.saturating_sub(64 << 10))))?;
        file.read_to_end(&mut bytes)
    });
    if read.is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(most)..].iter().map(|line| (*line).to_owned()).collect()
}

/// Copies a long log aside and empties it: its writers append, so they go on at the new end.
fn turn_over(log: &Path) -> io::Result<()> {
    if fs::metadata(log)?.len() < LONGEST_LOG {
        return Ok(());
    }
    fs::copy(log, log.with_extension("log.1"))?;
    OpenOptions::new().write(true).open(log)?.set_len(0)
}
