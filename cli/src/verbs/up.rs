//! `ctl up`: runs apiserver, controllers and node agent on this machine, until told to stop. Containers outlive it.

mod background;
mod start;
mod undo;

use std::fs;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::api::Api;
use crate::cluster::folders::{Home, cgroup_of};
use crate::cluster::lock::{NoLock, UpLock, Verb};
use crate::cluster::machine::{missing_here, programs};
use crate::cluster::parts::{Ended, Parts, tail};
use crate::cluster::processes::{self, Process};
use crate::cluster::{cgroups, owned, parts};
use crate::failure::{Exit, Failure};
use crate::output::age::age;
use crate::output::print;
use crate::output::progress::Progress;
use crate::request::{Foreground, Up};
use crate::verbs::down;

use berth_types::{Clock, SystemClock};
use undo::Before;

/// Lines of a part's log that are shown when it fails.
const LINES: usize = 8;
/// The same where the log itself does not stay.
const ALL_LINES: usize = 30;

/// Lines of a part's log that are shown when it ends later.
const LAST_WORDS: usize = 3;

/// Brings the cluster up on this machine.
pub async fn run(task: Up) -> Result<(), Failure> {
    let programs = programs()
        .map_err(|error| Failure::new(Exit::Failed, format!("could not find own folder: {error}")))?;
    let missing = missing_here(&task.home, &programs, &task.command());
    if !missing.is_empty() {
        let failure = Failure::new(Exit::Failed, "Berth cannot run here");
        return Err(missing
            .iter()
            .fold(failure, |failure, one| failure.detail(format!("{}; {}", one.what, one.remedy))));
    }
    let mut before = match task.place {
        // The process in the background locks the data folder.
        Foreground::Elsewhere => Before::look(&task.home),
        Foreground::Here | Foreground::Detached => {
            Before::lock_data(&task.home).map_err(|error| data_refusal(&task, &error))?
        }
    };
    if let Err(error) = task.home.make() {
        before.sweep();
        let (data, run) = (task.home.data.display(), task.home.run.display());
        return Err(Failure::new(
            Exit::Failed,
            format!("could not make the folders {data} and {run}: {error}"),
        ));
    }
    match task.place {
        Foreground::Elsewhere => {
            let done = background::run(&task).await;
            done.inspect_err(|_| before.undo_logs())
        }
        Foreground::Detached => {
            // A terminal that closes must not take it along.
            let _ = nix::unistd::setsid();
            supervise(&task, &programs, before).await
        }
        Foreground::Here => supervise(&task, &programs, before).await,
    }
}

async fn supervise(task: &Up, programs: &std::path::Path, mut before: Before) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let lock = match UpLock::take(&task.home.lock(), Verb::Up) {
        Ok(lock) => lock,
        Err(error) => {
            before.sweep();
            return Err(refusal(task, &error));
        }
    };
    leave_no_predecessor(&task.home).await;
    let mut parts = Parts::default();
    let mut progress = Progress::begin();
    let logs = start::Logs::before(task, before.is_new());
    let started = tokio::select! {
        started = tokio::time::timeout(task.timeout, start::all(&mut parts, task, programs, &logs, &mut progress)) => started.ok(),
        () = signals.stop() => Some(Err(Failure::new(Exit::Interrupted, "interrupted before it was up"))),
    };
    progress.clear();
    let started = started.unwrap_or_else(|| Err(late(task, &logs, progress.last())));
    let done = match started {
        Ok(up) => {
            print::raw(up.as_bytes());
            background::let_go(task.place).await;
            attend(&mut parts, &mut signals).await;
            Ok(())
        }
        Err(failure) => Err(failure),
    };
    let stays = match &done {
        Ok(()) => None,
        Err(_) => undo::why_data_stays(&mut parts, task, programs, &before).await,
    };
    stop(parts, &mut signals).await;
    match (&done, stays) {
        (Ok(()), _) => report_running_tasks(task),
        (Err(_), None) => before.undo(task, lock).await,
        (Err(_), Some(why)) => return done.map_err(|failure| failure.detail(why)),
    }
    done
}

fn late(task: &Up, logs: &start::Logs, waited_for: Option<&str>) -> Failure {
    let message = format!("Berth did not come up in {} s", task.timeout.as_secs());
    let failure = Failure::new(Exit::TimedOut, message).detail(waited_for.unwrap_or("a part did not answer"));
    let said = start::last_complaint(task, logs);
    let failure = said.iter().fold(failure, |failure, line| failure.detail(crate::manifest::visible(line)));
    if logs.go { failure } else { failure.hint(format!("the logs are in {}", task.home.logs().display())) }
}

/// Tells what happens until somebody asks for the end.
async fn attend(parts: &mut Parts, signals: &mut Signals) {
    loop {
        tokio::select! {
            ended = parts.ended() => print::note(message(&ended).trim_end()),
            () = signals.stop() => return,
        }
    }
}

async fn stop(parts: Parts, signals: &mut Signals) {
    let mut progress = Progress::begin();
    tokio::select! {
        () = parts.stop(|name| progress.show(&format!("stopping {name}"))) => {}
        // Asked twice: the parts end with this process, by their parent-death signal.
        () = signals.stop() => {}
    }
}

fn report_running_tasks(task: &Up) {
    let (up, down) = (task.command(), task.home.command("down"));
    if task.home.goes_down() {
        return print::note(&format!("Berth has stopped; `{down}` is stopping its tasks"));
    }
    let tasks = task.home.cluster().map_or(0, |cluster| cgroups::tasks_in(&cgroup_of(&cluster)).len());
    match tasks {
        0 => print::note("Berth has stopped; nothing of it runs"),
        tasks => {
            print::note(&format!(
                "Berth has stopped; {tasks} tasks run on (`{up}` takes them back, `{down}` stops them)"
            ));
        }
    }
}

/// What is said of a part that ended by itself.
fn message(ended: &Ended) -> String {
    let wait = ended.again_in.as_millis() as f64 / 1000.0;
    let lines = tail(&ended.log, 0, LAST_WORDS);
    let words = if lines.is_empty() { "" } else { "; its last words:" };
    let mut text = format!("{} ended ({}), starting it again in {wait} s{words}\n", ended.part, ended.how);
    for line in lines {
        text.push_str(&format!("  {}\n", crate::manifest::visible(&line)));
    }
    text
}

/// An earlier `ctl up` that was killed leaves its parts ending: two of one kind must not meet.
async fn leave_no_predecessor(home: &Home) {
    let own = Process::own();
    for running in processes::all() {
        if running.process != own && owned::runs_on(&running, home) {
            running.process.end(Duration::from_secs(10)).await;
        }
    }
    // Whoever listened there is gone.
    let _ = fs::remove_file(home.socket());
}

/// Why the data folder cannot be had: if it is for a run on the same run folder, that run is what counts.
fn data_refusal(task: &Up, error: &NoLock) -> Failure {
    if task.home.lock().exists()
        && let Err(here) = UpLock::take(&task.home.lock(), Verb::Up)
    {
        return refusal(task, &here);
    }
    match error {
        NoLock::Held(Some(holder)) => {
            let (data, since) = (task.home.data.display(), holder.since);
            let ago = age(Some(since), SystemClock.now());
            let pid = holder.process.pid;
            let message = format!("pid {pid} has been using data folder {data} since {since} ({ago} ago)");
            Failure::new(Exit::Conflict, message)
                .hint("choose another --data folder, or stop that `ctl up` first")
        }
        NoLock::File(path, error) if *path == task.home.data => {
            Failure::new(Exit::Failed, format!("could not make the data folder {}: {error}", path.display()))
        }
        _ => refusal(task, error),
    }
}

fn refusal(task: &Up, error: &NoLock) -> Failure {
    match error {
        NoLock::Held(Some(holder)) if holder.verb == Verb::Down => {
            let pid = holder.process.pid;
            Failure::new(
                Exit::Conflict,
                format!("a `ctl down` (pid {pid}) is at work here; try again when it has ended"),
            )
        }
        NoLock::Held(Some(holder)) => {
            let since = holder.since;
            let ago = age(Some(since), SystemClock.now());
            let message =
                format!("Berth already runs here: pid {} since {since} ({ago} ago)", holder.process.pid);
            let here = down::kept_elsewhere(&processes::all(), &task.home).unwrap_or(task.home.clone());
            let down = here.command("down");
            Failure::new(Exit::Conflict, message)
                .hint(format!("stop it with Ctrl-C where it runs, or it and all its Tasks by `{down}`"))
        }
        NoLock::Held(None) => Failure::new(
            Exit::Conflict,
            "another `ctl up` or `ctl down` is at work here; try again when it is done",
        ),
        NoLock::File(path, error) => {
            Failure::new(Exit::Failed, format!("could not lock {}: {error}", path.display()))
        }
    }
}

/// What asks `ctl up` to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let on = |kind| {
            signal(kind)
                .map_err(|error| Failure::new(Exit::Failed, format!("could not listen for signals: {error}")))
        };
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
