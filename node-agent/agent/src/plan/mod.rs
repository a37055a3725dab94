//! Node agent: runs the Tasks bound to this node, and says how they go.
//! Reads the Tasks bound to this node. Writes their status; its Node. Wakes on both, on exits, probes and time.
//! Promises: never two attempts of a container at once; nothing runs after its end was acknowledged; a restart of the
//! agent restarts no container. Safe to kill at any point.
//! Leaves alone: which Tasks are bound here (scheduler), whether the node is Ready (node controller).

mod consequences;
mod course;
mod happenings;
mod probing;
mod relief;
mod restarts;
mod run;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use berth_types::Timestamp;
use berth_types::availability::TOOK_AGENT_DOWN;
use berth_types::parcel::cut_text;
use berth_types::task::PORT_HELD;

use crate::assignment::{Assignment, Check, TaskUid};

pub use course::{Course, Ending, Home, TaskRun};
pub use probing::{Finding, Probing};
pub use restarts::Restarts;
pub use run::{ContainerRun, EndedAttempt, Fate, Live, RunState};

/// Tasks that run here and that the store does not know are left alone this long, unless it is configured: a restored
/// backup must not kill.
pub const UNKNOWN_TASKS_LIVE: Duration = Duration::from_secs(60);

/// All that runs on this node, or is about to, or has ended and is not acknowledged.
#[derive(Debug)]
pub struct State {
    tasks: BTreeMap<TaskUid, TaskRun>,
    unknown_tasks_live: Duration,
    relief: relief::Relief,
}

impl Default for State {
    fn default() -> Self {
        Self::new(UNKNOWN_TASKS_LIVE)
    }
}

/// What the store says about a Task.
#[derive(Debug, Clone, PartialEq)]
pub enum Wish {
    /// It shall run.
    Run,
    /// It shall stop, with at most this long between TERM and KILL.
    Stop {
        /// Time between TERM and KILL.
        grace: Duration,
    },
    /// Its end is acknowledged.
    Ended,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A Task bound to this node, as the store has it now.
    Seen {
        /// What it asks.
        assignment: Assignment,
        /// Whether it shall run.
        wish: Wish,
    },
    /// A Task bound to this node that cannot be run as it stands.
    Unfit {
        /// Whose it is.
        task: TaskUid,
        /// The rule that it breaks.
        why: String,
    },
    /// The store has the Task no more.
    Vanished(TaskUid),
    /// Every Task that the store has for this node was seen: what else runs here is unknown to it.
    Synced {
        /// The Tasks that the store has.
        known: Vec<TaskUid>,
    },
    /// This Node is gone from the store: whatever runs must stop.
    NodeGone,
    /// What an earlier agent of this node left running.
    Adopted(Box<TaskRun>),
    /// Image, sandbox and shim of a Task are there, or not.
    Prepared {
        /// Whose.
        task: TaskUid,
        /// The digest of each container's image (empty without), or why not.
        outcome: Result<Vec<String>, Trouble>,
    },
    /// An attempt was started, or not.
    Started {
        /// Which.
        attempt: Attempt,
        /// When, or why not.
        outcome: Result<Timestamp, Trouble>,
    },
    /// An attempt ended.
    Exited {
        /// Which.
        attempt: Attempt,
        /// How.
        exit: Exit,
    },
    /// A check of a running attempt came back.
    Checked {
        /// Of which attempt.
        attempt: Attempt,
        /// For what.
        probe: ProbeKind,
        /// What it found.
        finding: Finding,
    },
    /// The Task's shim is dead and nothing of the Task runs any more.
    ShimLost {
        /// Whose.
        task: TaskUid,
        /// The ends that the shim recorded; it may have told of them, or not.
        ends: Vec<(Attempt, Exit)>,
        /// The attempts that a shim of the Task ever began: another one that was asked for never ran.
        begun: BTreeSet<Attempt>,
    },
    /// The Task must go, for the node's disk is too full.
    FillsDisk {
        /// Which.
        task: TaskUid,
        /// How much it uses, for a person.
        message: String,
    },
    /// Shim, mounts, cgroups and sandbox of a Task are gone, or not.
    Cleaned {
        /// Whose.
        task: TaskUid,
        /// What is left.
        outcome: Result<(), Trouble>,
    },
    /// Time passed.
    Tick,
}

/// What to do; each is told about by an [`Event`] once done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Unpack images, make the sandbox, start the shim.
    Prepare(TaskUid),
    /// Start an attempt.
    Start(Attempt),
    /// Send TERM to an attempt.
    Terminate(Attempt),
    /// Send KILL to an attempt and all its children.
    Kill(Attempt),
    /// Check a running attempt.
    Check {
        /// Which.
        attempt: Attempt,
        /// For what.
        probe: ProbeKind,
        /// What to ask.
        check: Check,
        /// The longest it may take.
        timeout: Duration,
    },
    /// Remember the end, then remove shim, mounts, cgroups and sandbox.
    CleanUp {
        /// Whose.
        task: TaskUid,
        /// How it ended.
        ending: Ending,
    },
    /// Its end is acknowledged, or nobody asks: forget it.
    Forget(TaskUid),
    /// Say that a Task unknown to the store will be stopped.
    TellUnknown {
        /// Whose.
        task: TaskUid,
        /// When it will be stopped.
        at: Timestamp,
    },
}

/// One try at running a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt {
    /// Of which Task.
    pub task: TaskUid,
    /// Which of its containers.
    pub container: String,
    /// 0 for the first.
    pub number: u32,
}

/// What a probe decides about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeKind {
    /// Whether the container may get requests.
    Readiness,
    /// Whether the container must be restarted.
    Liveness,
}

/// Why a step failed: one word for a program, a sentence for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// `ImageError` or `CreateError`; [`TOOK_AGENT_DOWN`] and [`PORT_HELD`] are final.
    pub reason: &'static str,
    /// What went wrong.
    pub message: String,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// 128 + signal for a killed one.
    pub code: i32,
    /// Why, as far as it is known.
    pub cause: ExitCause,
    /// When.
    pub at: Timestamp,
    /// For a person.
    pub message: String,
}

/// Why an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCause {
    /// By itself, with 0.
    Completed,
    /// By itself or a signal.
    Error,
    /// The kernel killed it at its memory limit.
    OutOfMemory,
    /// Killed for its liveness probe.
    Unhealthy,
    /// It could not be started.
    NotStarted,
    /// Nobody saw it.
    Unknown,
}

impl Trouble {
    /// Whether another try here would do harm, or would find the same.
    pub fn is_final(&self) -> bool {
        [TOOK_AGENT_DOWN, PORT_HELD].contains(&self.reason)
    }
}

impl Event {
    /// The same event with texts that may enter a status, whatever they quote: this is where all of them come in.
    fn with_short_texts(mut self) -> Self {
        match &mut self {
            Self::Unfit { why, .. } => cut_text(why),
            Self::FillsDisk { message, .. } => cut_text(message),
            Self::Prepared { outcome: Err(trouble), .. }
            | Self::Started { outcome: Err(trouble), .. }
            | Self::Cleaned { outcome: Err(trouble), .. } => cut_text(&mut trouble.message),
            Self::Exited { exit, .. } => cut_text(&mut exit.message),
            Self::Checked { finding: Finding::Bad(why) | Finding::PortHeld { message: why, .. }, .. } => {
                cut_text(why)
            }
            Self::ShimLost { ends, .. } => ends.iter_mut().for_each(|(_, exit)| cut_text(&mut exit.message)),
            Self::Prepared { outcome: Ok(_), .. }
            | Self::Started { outcome: Ok(_), .. }
            | Self::Cleaned { outcome: Ok(()), .. }
            | Self::Checked { finding: Finding::Good, .. }
            | Self::Seen { .. }
            | Self::Vanished(_)
            | Self::Synced { .. }
            | Self::NodeGone
            | Self::Adopted(_)
            | Self::Tick => {}
        }
        self
    }

    /// The one Task it is about; none when it is about all.
    pub fn task(&self) -> Option<&TaskUid> {
        match self {
            Self::Seen { assignment, .. } => Some(&assignment.uid),
            Self::Unfit { task, .. }
            | Self::Vanished(task)
            | Self::Prepared { task, .. }
            | Self::ShimLost { task, .. }
            | Self::FillsDisk { task, .. }
            | Self::Cleaned { task, .. } => Some(task),
            Self::Adopted(run) => Some(run.uid()),
            Self::Started { attempt, .. } | Self::Exited { attempt, .. } | Self::Checked { attempt, .. } => {
                Some(&attempt.task)
            }
            Self::Synced { .. } | Self::NodeGone | Self::Tick => None,
        }
    }
}

impl Action {
    /// The Task it is about.
    pub fn task(&self) -> &TaskUid {
        match self {
            Self::Prepare(task)
            | Self::Forget(task)
            | Self::CleanUp { task, .. }
            | Self::TellUnknown { task, .. } => task,
            Self::Start(attempt)
            | Self::Terminate(attempt)
            | Self::Kill(attempt)
            | Self::Check { attempt, .. } => &attempt.task,
        }
    }
}

impl State {
    /// Nothing runs; a Task that the store does not know is left alone for this long.
    pub fn new(unknown_tasks_live: Duration) -> Self {
        Self { tasks: BTreeMap::new(), unknown_tasks_live, relief: relief::Relief::default() }
    }

    /// Every Task, by uid.
    pub fn tasks(&self) -> impl Iterator<Item = (&TaskUid, &TaskRun)> {
        self.tasks.iter()
    }

    /// One Task.
    pub fn task(&self, uid: &TaskUid) -> Option<&TaskRun> {
        self.tasks.get(uid)
    }

    /// When something is due next by time alone.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.tasks.values().filter_map(TaskRun::next_due).min()
    }
}

/// What `event` at `now` makes of the state, and what is to be done about it.
pub fn step(state: &mut State, event: Event, now: Timestamp) -> Vec<Action> {
    let mut actions = Vec::new();
    state.relief.observe(&event, now);
    let touched = take_in(state, event.with_short_texts(), now, &mut actions);
    match touched {
        Touched::One(uid) => advance(state, &uid, now, &mut actions),
        Touched::All => {
            let uids: Vec<TaskUid> = state.tasks.keys().cloned().collect();
            for uid in uids {
                advance(state, &uid, now, &mut actions);
            }
        }
    }
    actions
}

enum Touched {
    One(TaskUid),
    All,
}

fn advance(state: &mut State, uid: &TaskUid, now: Timestamp, actions: &mut Vec<Action>) {
    let Some(run) = state.tasks.get_mut(uid) else { return };
    run.advance(now, actions);
    if run.is_forgettable() {
        state.tasks.remove(uid);
        actions.push(Action::Forget(uid.clone()));
    }
}

/// What an event does to its Task.
type Change<'a> = Box<dyn FnOnce(&mut TaskRun) + 'a>;

fn take_in(state: &mut State, event: Event, now: Timestamp, actions: &mut Vec<Action>) -> Touched {
    let until = now.plus(state.unknown_tasks_live);
    let (uid, change): (TaskUid, Change<'_>) = match event {
        Event::Tick => return Touched::All,
        Event::Synced { known } => {
            for (_, run) in state.tasks.iter_mut().filter(|(uid, _)| !known.contains(uid)) {
                run.unknown_to_the_store(until, actions);
            }
            return Touched::All;
        }
        Event::NodeGone => {
            state.tasks.values_mut().for_each(|run| run.node_is_gone(now));
            return Touched::All;
        }
        Event::Seen { assignment, wish } => return seen(state, assignment, wish, now),
        Event::Unfit { task, why } => {
            state.tasks.entry(task.clone()).or_insert_with(|| TaskRun::unfit(&task, why));
            return Touched::One(task);
        }
        Event::Adopted(run) => {
            let uid = run.uid().clone();
            state.tasks.entry(uid.clone()).or_insert(*run);
            return Touched::One(uid);
        }
        Event::Vanished(task) => (task, Box::new(|run| run.unknown_to_the_store(until, actions))),
        Event::Prepared { task, outcome } => (task, Box::new(move |run| run.prepared(outcome, now))),
        Event::Started { attempt, outcome } => {
            (attempt.task.clone(), Box::new(move |run| run.started(&attempt, outcome, now)))
        }
        Event::Exited { attempt, exit } => {
            (attempt.task.clone(), Box::new(move |run| run.exited(&attempt, exit, now)))
        }
        Event::Checked { attempt, probe, finding } => {
            (attempt.task.clone(), Box::new(move |run| run.checked(&attempt, probe, finding, now)))
        }
        Event::ShimLost { task, ends, begun } => {
            (task, Box::new(move |run| run.shim_lost(ends, &begun, now)))
        }
        Event::FillsDisk { task, message } => (task, Box::new(move |run| run.fills_the_disk(message, now))),
        Event::Cleaned { task, outcome } => (task, Box::new(move |run| run.cleaned(outcome, now))),
    };
    if let Some(run) = state.tasks.get_mut(&uid) {
        change(run);
    }
    Touched::One(uid)
}

fn seen(state: &mut State, assignment: Assignment, wish: Wish, now: Timestamp) -> Touched {
    let uid = assignment.uid.clone();
    match (state.tasks.get_mut(&uid), wish) {
        (Some(run), wish) => run.wished(wish, now),
        // Ended, and nothing of it is here: a Task that waits for its owner to look at it.
        (None, Wish::Ended) => {}
        (None, Wish::Run) => {
            state.tasks.insert(uid.clone(), TaskRun::new(assignment));
        }
        (None, wish @ Wish::Stop { .. }) => {
            let mut run = TaskRun::new(assignment);
            run.wished(wish, now);
            state.tasks.insert(uid.clone(), run);
        }
    }
    Touched::One(uid)
}
