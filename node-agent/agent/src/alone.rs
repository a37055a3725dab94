//! Preparing a Task in a process of its own, and which Tasks need that.
//!
//! Flow: what a Task asks for decides what its preparation costs, and a fault in it may end the agent: a panic does not
//! (it is caught), but an exhausted memory, an exhausted stack or an abort does. An agent that was not told to end
//! leaves the Tasks that were being prepared in its journal, begun and not over. The next agent of the same boot
//! suspects exactly these ([`suspects`]). It prepares them last, after everything else is adopted and reported, one at
//! a time, each in a process of its own: this program, started with [`INSIDE`]. A suspect that ends that process is the
//! cause, and is refused for [`TOOK_AGENT_DOWN`]. If the agent receives a signal to stop first, the next
//! agent has the same suspects: for some time after a crash ([`WITHIN`]), every preparation that an agent left unfinished
//! is suspected.
//!
//! [`WITHIN`]: crate::lives::WITHIN
//!
//! Guarantees: a Task is refused only after its preparation was under way in an agent that died, or in one soon after a
//! death, and then ended a process which did nothing else. A kill from outside therefore cannot add up: killing the
//! agent, however often and wherever, kills that process with it and counts for nothing; nor do ends that were asked
//! for, or boots. A signal of a fault ([`FAULTS`]) is the Task's own. Any other may come from outside, and a kill -9
//! looks like the kernel's memory killer: the step is tried again after [`PAUSE`], and only tries that all end by
//! KILL refuse the Task.
//!
//! Caveat: what the agent does with a prepared Task (asking its shim) runs in the agent. The Node's condition tells when
//! agents end there.

use std::any::Any;
use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_shim_api::message::Start;
use berth_types::availability::TOOK_AGENT_DOWN;
use berth_types::task::{CREATE_ERROR, IMAGE_ERROR, Task};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::watch;

use crate::assignment::{Assignment, TaskUid};
use crate::homes::{Homes, Views};
use crate::journal::RememberedTask;
use crate::places::Places;
use crate::plan::Trouble;
use crate::runtime_spec::NodeSays;
use berth_daemon::chain;

/// The word that has this program prepare one Task and end.
pub const INSIDE: &str = "prepare-alone";
/// Names the agent to the process: it must not outlive it.
const AGENT: &str = "BERTH_AGENT_PID";
/// Signals by which a process ends itself through a fault.
const FAULTS: [Signal; 6] = [Signal::SEGV, Signal::BUS, Signal::ABORT, Signal::ILL, Signal::FPE, Signal::SYS];
/// How often a step is tried whose process ends by a signal that may come from outside.
const TRIES: usize = 3;
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// One step of a preparation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    /// Unpack its images and make its folder.
    Make,
    /// Make an attempt's folder and config.
    Furnish {
        /// Of which container.
        container: String,
        /// Which attempt.
        number: u32,
    },
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// The digest of each container's image.
    Made(Vec<String>),
    /// What to ask of the shim.
    Furnished(Start),
}

#[derive(Debug, Serialize, Deserialize)]
struct Request {
    places: Places,
    node: NodeSays,
    views: Views,
    disk_limit: u8,
    task: Task,
    step: Step,
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Done(Outcome),
    Failed { failure: Failure, message: String },
}

/// What went wrong, as the reason of a [`Trouble`] says it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Failure {
    Image,
    Create,
}

impl Failure {
    fn of(trouble: &Trouble) -> Self {
        if trouble.reason == IMAGE_ERROR { Self::Image } else { Self::Create }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Image => IMAGE_ERROR,
            Self::Create => CREATE_ERROR,
        }
    }
}

/// Takes the step on `homes`; blocks.
pub fn take(homes: &Homes, assignment: &Assignment, step: &Step) -> Result<Outcome, Trouble> {
    match step {
        Step::Make => {
            let made = homes.make(assignment).map(Outcome::Made);
            berth_failpoint::reach("agent.home.made");
            made
        }
        Step::Furnish { container, number } => {
            let program = assignment.containers.iter().find(|program| program.name == *container);
            let program = program.ok_or_else(|| failed(format!("there is no container {container}")))?;
            homes.furnish(assignment, program, *number).map(Outcome::Furnished)
        }
    }
}

fn failed(message: String) -> Trouble {
    Trouble { reason: CREATE_ERROR, message }
}

/// The message of a panic.
pub fn panicked(panic: &(dyn Any + Send)) -> Trouble {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    failed(format!("its preparation failed by a defect of the node agent: {text}"))
}

/// Inside the process: reads what to do and answers. Nobody else reads or writes here.
pub fn run_inside() -> std::process::ExitCode {
    match answer_one() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            // If this cannot be written, the exit code still says so.
            let _ = writeln!(std::io::stderr(), "error: could not prepare a task alone: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn answer_one() -> std::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if parent.is_none() || parent != std::env::var(AGENT).ok() {
        return Err(std::io::Error::other("the agent that asked is gone"));
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    let Request { places, node, views, disk_limit, task, step } = serde_json::from_slice(&bytes)?;
    let work = || {
        let assignment = Assignment::try_from(&task).map_err(|bad| failed(bad.to_string()))?;
        take(&Homes::new(places, node, views).up_to(disk_limit), &assignment, &step)
    };
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    let answer = match outcome.unwrap_or_else(|panic| Err(panicked(&*panic))) {
        Ok(outcome) => Answer::Done(outcome),
        Err(trouble) => Answer::Failed { failure: Failure::of(&trouble), message: trouble.message },
    };
    std::io::stdout().write_all(&serde_json::to_vec(&answer)?)
}

/// The Tasks that are prepared alone, and when.
#[derive(Debug)]
pub struct Suspects {
    tasks: Mutex<HashSet<TaskUid>>,
    /// Whether everything that an earlier agent left is adopted and reported.
    reported: watch::Sender<bool>,
    one_at_a_time: tokio::sync::Mutex<()>,
}

impl Default for Suspects {
    fn default() -> Self {
        let (tasks, one_at_a_time) = Default::default();
        Self { tasks, reported: watch::Sender::new(false), one_at_a_time }
    }
}

impl Suspects {
    /// From now on `task` is prepared alone.
    pub fn add(&self, task: TaskUid) {
        self.tasks().insert(task);
    }

    /// Call once the Task's end is acknowledged.
    pub fn remove(&self, task: &TaskUid) {
        self.tasks().remove(task);
    }

    /// Whether `task` is prepared alone.
    pub fn include(&self, task: &TaskUid) -> bool {
        self.tasks().contains(task)
    }

    /// Everything that an earlier agent left is adopted and reported.
    pub fn may_begin(&self) {
        self.reported.send_if_modified(|reported| !std::mem::replace(reported, true));
    }

    fn tasks(&self) -> MutexGuard<'_, HashSet<TaskUid>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything is reported and no other suspect has its turn. The turn ends when the guard is dropped.
    async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        // It fails only if the sender is gone, which `self` holds.
        let _ = self.reported.subscribe().wait_for(|reported| *reported).await;
        self.one_at_a_time.lock().await
    }

    /// Takes a step of a suspect in a process of its own, when it is its turn.
    pub async fn take(&self, homes: &Homes, task: &Task, step: Step) -> Result<Outcome, Trouble> {
        let _turn = self.turn().await;
        let (places, node, views, disk_limit) = homes.made_of();
        let task = task.clone();
        let request = serde_json::to_vec(&Request { places, node, views, disk_limit, task, step });
        let request = request.map_err(|e| failed(chain(&e)))?;
        let mut deaths = Vec::new();
        loop {
            let signal = match run(&request).await? {
                Ended::Answered(outcome) => return outcome,
                Ended::Died(signal) => signal,
            };
            deaths.push(signal);
            if let Some(trouble) = judge(&deaths) {
                return Err(trouble);
            }
            tracing::warn!(signal, "the process that prepared a task alone was ended; it is tried again");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// What the signals say that ended the process of each try so far; `None` when it is tried again.
fn judge(deaths: &[i32]) -> Option<Trouble> {
    let (signal, tries) = (*deaths.last()?, deaths.len());
    let is_last = tries >= TRIES;
    let always_killed = deaths.iter().all(|signal| *signal == Signal::KILL.as_raw());
    if FAULTS.iter().any(|fault| fault.as_raw() == signal) || (is_last && always_killed) {
        return Some(refused(signal));
    }
    let message =
        format!("the process that prepares the task was ended {tries} times, the last by signal {signal}");
    is_last.then(|| failed(message))
}

enum Ended {
    Answered(Result<Outcome, Trouble>),
    /// By this signal.
    Died(i32),
}

/// One process, from its start to its end. That it cannot be had or understood is no fault of the Task.
async fn run(request: &[u8]) -> Result<Ended, Trouble> {
    let step = |step: &str, error: std::io::Error| failed(format!("could not {step}: {}", chain(&error)));
    let mut process = Command::new("/proc/self/exe")
        .arg(INSIDE)
        .env(AGENT, std::process::id().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // A signal to the agent's group is the agent's.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| step("start a process that prepares the task", e))?;
    if let Some(mut input) = process.stdin.take() {
        // One that died reads nothing: how it died is told by its end.
        let _ = input.write_all(request).await;
    }
    let output = process.wait_with_output().await;
    let output = output.map_err(|e| step("wait for the process that prepares the task", e))?;
    if let Some(signal) = output.status.signal() {
        return Ok(Ended::Died(signal));
    }
    if !output.status.success() {
        return Err(failed(format!("the process that prepares the task failed ({})", output.status)));
    }
    let answer = serde_json::from_slice(&output.stdout).map_err(|e| failed(chain(&e)))?;
    Ok(Ended::Answered(match answer {
        Answer::Done(outcome) => Ok(outcome),
        Answer::Failed { failure, message } => Err(Trouble { reason: failure.reason(), message }),
    }))
}

fn refused(signal: i32) -> Trouble {
    let message = format!(
        "preparing this task ended the node agent, and then a separate process that only prepared it \
         (signal {signal}); this node does not try again"
    );
    Trouble { reason: TOOK_AGENT_DOWN, message }
}

/// Whether a preparation of the Task was begun and not over when the last agent ended. `has_begun` tells whether an
/// attempt of a container ever reached the shim.
pub fn suspects(known: &RememberedTask, has_shim: bool, has_begun: impl Fn(&str, u32) -> bool) -> bool {
    if known.stop.is_some() || known.ending.is_some() {
        return false;
    }
    let in_the_making = known.containers.is_empty() && !has_shim;
    in_the_making
        || known.containers.iter().any(|(name, container)| {
            let is_over = container.exits.iter().any(|exit| exit.number >= container.attempt);
            container.begun.is_some() && !is_over && !has_begun(name, container.attempt)
        })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use futures::FutureExt;

    use super::*;
    use crate::journal::{
        RememberedCause, RememberedContainer, RememberedEnding, RememberedExit, RememberedStop,
    };
    use berth_types::Timestamp;

    fn known(containers: &[(&str, u32, &[u32])]) -> RememberedTask {
        let at = Timestamp::from_millis(0);
        let exit = |number: &u32| RememberedExit {
            number: *number,
            code: 1,
            cause: RememberedCause::Error,
            started: None,
            at,
            message: String::new(),
        };
        let containers: BTreeMap<_, _> = containers
            .iter()
            .map(|(name, attempt, exits)| {
                let exits = exits.iter().map(exit).collect();
                ((*name).to_owned(), RememberedContainer { attempt: *attempt, begun: Some(at), exits })
            })
            .collect();
        RememberedTask { task: Task::default(), shim: None, containers, stop: None, ending: None }
    }

    #[test]
    fn suspected_is_what_was_begun_and_is_not_over() {
        let begun =
            |list: &'static [(&'static str, u32)]| move |name: &str, number| list.contains(&(name, number));
        for (what, known, has_shim, begun, expected) in [
            ("its folder was being made", known(&[]), false, begun(&[]), true),
            ("its shim waits for a first attempt", known(&[]), true, begun(&[]), false),
            ("an attempt was being furnished", known(&[("a", 0, &[])]), true, begun(&[]), true),
            ("it runs", known(&[("a", 0, &[])]), true, begun(&[("a", 0)]), false),
            ("it ran and its shim is lost", known(&[("a", 0, &[])]), false, begun(&[("a", 0)]), false),
            ("it waits for the next attempt", known(&[("a", 0, &[0])]), true, begun(&[]), false),
            (
                "the next attempt was being furnished",
                known(&[("a", 1, &[0])]),
                true,
                begun(&[("a", 0)]),
                true,
            ),
            (
                "the second of two containers was",
                known(&[("a", 0, &[]), ("b", 0, &[])]),
                true,
                begun(&[("a", 0)]),
                true,
            ),
        ] {
            assert_eq!(suspects(&known, has_shim, begun), expected, "{what}");
        }
        let mut stopping = known(&[("a", 0, &[])]);
        stopping.stop =
            Some(RememberedStop { grace_millis: 0, kill_at: None, ending: RememberedEnding::Stopped });
        assert!(!suspects(&stopping, true, |_, _| false));
    }

    #[test]
    fn suspects_have_their_turn_once_everything_is_reported_and_one_after_another() {
        let suspects = Suspects::default();
        let mut first = Box::pin(suspects.turn());
        assert!((&mut first).now_or_never().is_none(), "nothing is reported yet");
        suspects.may_begin();
        let turn = first.now_or_never().expect("everything is reported");
        let mut second = Box::pin(suspects.turn());
        assert!((&mut second).now_or_never().is_none(), "the first has its turn");
        drop(turn);
        assert!(second.now_or_never().is_some(), "the first is over");
    }

    #[test]
    fn a_fault_refuses_a_task_at_once_and_a_signal_from_outside_does_not() {
        use Signal as S;
        for (deaths, expected) in [
            (vec![S::SEGV], Some(TOOK_AGENT_DOWN)),
            (vec![S::ABORT], Some(TOOK_AGENT_DOWN)),
            (vec![S::SYS], Some(TOOK_AGENT_DOWN)),
            (vec![S::TERM, S::SEGV], Some(TOOK_AGENT_DOWN)),
            (vec![S::TERM], None),
            (vec![S::HUP; TRIES - 1], None),
            (vec![S::TERM; TRIES], Some("CreateError")),
            (vec![S::KILL], None),
            (vec![S::KILL; TRIES - 1], None),
            (vec![S::KILL; TRIES], Some(TOOK_AGENT_DOWN)),
            (vec![S::TERM, S::TERM, S::KILL], Some("CreateError")),
            (vec![S::TERM, S::KILL, S::KILL], Some("CreateError")),
            (vec![S::KILL, S::KILL, S::TERM], Some("CreateError")),
        ] {
            let signals: Vec<_> = deaths.iter().map(|signal| signal.as_raw()).collect();
            assert_eq!(judge(&signals).map(|trouble| trouble.reason), expected, "{deaths:?}");
        }
    }

    #[test]
    fn a_panic_is_a_reason_and_says_what_it_said() {
        for panic in [
            std::panic::catch_unwind(|| panic!("at {}", 7)).unwrap_err(),
            std::panic::catch_unwind(|| panic!("at 7")).unwrap_err(),
        ] {
            let trouble = panicked(&*panic);
            assert_eq!(trouble.reason, CREATE_ERROR);
            assert!(trouble.message.ends_with("at 7"), "{}", trouble.message);
        }
    }
}
