//! What brings an App from what is seen to what is asked: rollout arithmetic after Kubernetes' Deployments, with
//! Tasks that stop counted as surge, and Tasks lost with their node not.

use std::collections::BTreeSet;
use std::time::Duration;

use berth_failpoint::seeded_bug;
use berth_types::Timestamp;
use berth_types::app::AppStatus;

use super::fleet::Fleet;
use super::halt::is_halted;
use super::history::keep_history;
use super::observed::{Failures, Life, Observed, Rollout};
use super::status::describe;

/// The most Tasks made by one Batch, so that it fits one call of the store; [`super::fit`] cuts it by bytes too.
pub const MOST_CREATED: usize = 100;

/// The longest time that a replacement of a failing Task waits.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// One thing to do; the actions of a wave are independent of each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make the Revision of the present template.
    SaveRevision {
        /// Its computed name.
        name: String,
        /// Its place in the history.
        number: i64,
    },
    /// An old template is asked for again, or the newest in other words: put its Revision at the end of the history, with
    /// the template as the App has it.
    RaiseRevision {
        /// Its name.
        name: String,
        /// Its new place.
        number: i64,
    },
    /// Forget an old Revision.
    DropRevision {
        /// Its name.
        name: String,
    },
    /// Make Tasks and raise the App's counter, all or nothing.
    Create {
        /// `status.tasksCreated` from then on.
        counter: i64,
        /// At most [`MOST_CREATED`].
        tasks: Vec<NewTask>,
    },
    /// Stop one Task.
    Stop {
        /// Which.
        task: TaskRef,
        /// The available Tasks that make up for it; they must be unchanged when it is told to stop.
        counting_on: Vec<TaskRef>,
        /// Why.
        why: StopReason,
    },
}

/// A Task to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTask {
    /// `<app>-<n>`.
    pub name: String,
    /// Name of the Revision that it is made from.
    pub revision: String,
    /// Position among the replicas.
    pub ordinal: u32,
    /// Tasks of its ordinal and Revision that failed in a row before it.
    pub failed_before: u32,
    /// Restarts in place of these.
    pub restarts_before: u32,
}

/// A Task as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRef {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The version seen.
    pub resource_version: String,
}

/// Why a Task is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// More Tasks than asked for.
    Surplus,
    /// Not on the Revision asked for.
    Outdated,
    /// An older one of its Revision has its ordinal.
    Doubled,
    /// Its Revision took down the agents of several nodes, and it has no node yet.
    Halted,
    /// Lost with its node.
    GivenUp,
    /// Its App goes.
    AppDeleted,
}

/// What to do now, what to say, and when to look again.
#[derive(Debug)]
pub struct Plan {
    /// Independent actions; none at the goal.
    pub wave: Vec<Action>,
    /// The status as it should read; a Create carries it along.
    pub status: AppStatus,
    /// When time alone changes the plan.
    pub wake: Option<Timestamp>,
}

impl Plan {
    /// Whether a stop counts on more available Tasks than `most`, so that they cannot all be named in one write.
    pub fn counts_on_more_than(&self, most: usize) -> bool {
        let beyond =
            |action: &Action| matches!(action, Action::Stop { counting_on, .. } if counting_on.len() > most);
        self.wave.iter().any(beyond)
    }

    /// Leaves out the stops that count on others.
    pub fn put_stops_off(&mut self) {
        let counts =
            |action: &Action| matches!(action, Action::Stop { counting_on, .. } if !counting_on.is_empty());
        self.wave.retain(|action| !counts(action));
    }
}

/// What brings the App from what is seen to what is asked.
pub fn plan(seen: &Observed) -> Plan {
    let fleet = Fleet::sort(seen);
    if seen.app.deleting {
        return Plan { wave: fleet.stop_everything(), status: seen.app.status.clone(), wake: None };
    }
    let births = Births::allowed(seen, &fleet);
    let mut wave = keep_history(seen);
    wave.extend(births.action(seen));
    wave.extend(fleet.stops());
    let (status, deadline) = describe(seen, &fleet, &births);
    let wake = [deadline, births.next, fleet.next_available()].into_iter().flatten().min();
    Plan { wave, status, wake }
}

/// The Tasks that may be made now.
#[derive(Debug, Default)]
pub struct Births<'a> {
    tasks: Vec<Birth<'a>>,
    /// When the next one may be made, if a failing one has to wait.
    pub next: Option<Timestamp>,
    /// Failures in a row of the one that waits longest.
    pub failed: u32,
    /// Tasks that are missing, made now or not.
    pub missing: usize,
}

/// A Task that may be made now.
#[derive(Debug, Clone, Copy)]
struct Birth<'a> {
    revision: &'a str,
    ordinal: u32,
    failed_before: u32,
    restarts_before: u32,
}

impl<'a> Births<'a> {
    /// First what is missing of the Revision that was available last, then what the rest of the room holds of the one
    /// asked for: while new Tasks fail, lost ones come back, and an App that grows grows on both Revisions.
    fn allowed(seen: &'a Observed<'a>, fleet: &Fleet<'a>) -> Self {
        let missing = (seen.app.replicas as usize).saturating_sub(fleet.current.len());
        let mut room = room(seen.app.rollout, seen.app.replicas as usize, fleet);
        let mut births = Self { missing, ..Self::default() };
        if let Some(stable) = fleet.stable {
            let lost = fleet.missing_of_kept().min(room);
            births.add(seen, stable, fleet.ordinals_without_kept().into_iter().take(lost));
            // A lost Task that waits for its next try keeps its room.
            room -= lost;
        }
        let most = births.tasks.len() + room;
        let free = if is_halted(seen) { Vec::new() } else { fleet.free_ordinals() };
        births.add(seen, &seen.app.revision, free.into_iter().take(missing));
        if seeded_bug("app-forgets-the-last") && births.tasks.len() == missing {
            births.tasks.pop();
        }
        births.tasks.truncate(most.min(MOST_CREATED));
        births
    }

    /// A Task of this Revision for each of these ordinals whose last one did not fail just now.
    fn add(&mut self, seen: &Observed, revision: &'a str, ordinals: impl Iterator<Item = u32>) {
        for ordinal in ordinals {
            let failures = last_failure(seen, revision, ordinal);
            let ready_at = failures.map(|row| row.at.plus(delay(row.tasks)));
            let (failed_before, restarts_before) = failures.map_or((0, 0), |row| (row.tasks, row.restarts));
            match ready_at.filter(|at| *at > seen.now) {
                Some(at) => {
                    self.next = Some(self.next.map_or(at, |next| next.min(at)));
                    self.failed = self.failed.max(failed_before);
                }
                None => {
                    let ordinal = if seeded_bug("app-gives-a-place-twice") { 0 } else { ordinal };
                    self.tasks.push(Birth { revision, ordinal, failed_before, restarts_before });
                }
            }
        }
    }

    fn action(&self, seen: &Observed) -> Option<Action> {
        let mut number = seen.app.status.tasks_created.max(0);
        let own: BTreeSet<&str> = seen.tasks.iter().map(|task| task.name.as_str()).collect();
        let mut tasks = Vec::new();
        for Birth { revision, ordinal, failed_before, restarts_before } in self.tasks.iter().copied() {
            let mut name = format!("{}-{number}", seen.app.name);
            while own.contains(name.as_str()) || (seen.held)(&name) {
                number += 1;
                name = format!("{}-{number}", seen.app.name);
            }
            number += 1;
            let revision = revision.to_owned();
            tasks.push(NewTask { name, revision, ordinal, failed_before, restarts_before });
        }
        (!tasks.is_empty()).then_some(Action::Create { counter: number, tasks })
    }
}

/// How many Tasks may be made before one has to end.
fn room(rollout: Rollout, replicas: usize, fleet: &Fleet) -> usize {
    let stopping = if seeded_bug("surge-without-the-stopping") { 0 } else { fleet.stopping.len() };
    let (most, there) = (replicas, fleet.current.len() + fleet.outdated.len() + stopping);
    match rollout {
        Rollout::Rolling { most, .. } => (most as usize).saturating_sub(there),
        Rollout::Recreate if fleet.holds_outdated() => 0,
        Rollout::Recreate => most.saturating_sub(there),
    }
}

/// How the newest Task of this ordinal and Revision failed, if it did, and those before it in a row.
fn last_failure(seen: &Observed, revision: &str, ordinal: u32) -> Option<Failures> {
    let same = seen.tasks.iter().filter(|task| task.ordinal == ordinal && task.revision == revision);
    let ended = same.filter(|task| matches!(task.life, Life::Succeeded | Life::Failed(_)));
    ended.max_by_key(|task| task.number)?.failures()
}

/// How long after the `row`th failure in a row the next Task is made: at once, then 1 s, 2 s, 4 s, ...
fn delay(row: u32) -> Duration {
    match row {
        0 | 1 => Duration::ZERO,
        more => Duration::from_secs(1 << (more - 2).min(10)).min(LONGEST_DELAY),
    }
}

#[cfg(test)]
mod tests;
