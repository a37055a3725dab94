//! What an App's status says: counts, and the one reason for which it waits.

use std::time::Duration;

use berth_failpoint::seeded_bug;
use berth_types::app::AppStatus;
use berth_types::{Condition, ConditionStatus, Timestamp};

use super::fleet::Fleet;
use super::halt::{self, is_halted};
use super::holder;
use super::observed::{Life, Observed, Replica, Rollout, Trouble};
use super::plan::Births;

/// How long a Task must be ready before it counts as progress, once Tasks of its Revision failed.
const LIVED: Duration = Duration::from_secs(5);

/// The reason of `Progressing` while there is nothing to do.
pub const COMPLETE: &str = "Complete";
/// The reason of `Progressing` while there is.
const ROLLING_OUT: &str = "RollingOut";
/// The reason of `Progressing` when nothing moved for too long.
pub const EXCEEDED: &str = "ProgressDeadlineExceeded";

/// The status as it should read, and when time alone changes it.
pub fn describe(seen: &Observed, fleet: &Fleet, births: &Births) -> (AppStatus, Option<Timestamp>) {
    let mut status = counts(seen, fleet);
    let trial = Trial::of(seen, fleet);
    let waits_for = waits_for(seen, fleet, births, &status).or_else(|| trial.waits_for());
    let (progressing, deadline) = progressing(seen, fleet, trial, waits_for.as_deref());
    let available = available(seen, &status, waits_for.as_deref());
    put(&mut status.conditions, available);
    put(&mut status.conditions, progressing);
    if waits_for.is_none() {
        // Without replicas no Revision is known to work.
        let is_available = seen.app.replicas > 0;
        status.stable_revision = if is_available { seen.app.revision.clone() } else { String::new() };
    }
    (status, [deadline, trial.ends()].into_iter().flatten().min())
}

/// Whether what the Tasks of the Revision asked for do counts as progress.
#[derive(Debug, Clone, Copy)]
enum Trial {
    /// It does: none failed, or one of them has been ready for as long as [`lived`] says.
    Over,
    /// Tasks failed, and none is ready.
    NoneReady,
    /// Tasks failed, and the one that is ready for longest must be so until then.
    Until(Timestamp),
}

impl Trial {
    fn of(seen: &Observed, fleet: &Fleet) -> Self {
        let failed = |task: &&Replica| {
            let itself = failed_before(task) || matches!(task.life, Life::Failed(_));
            itself && task.revision == seen.app.revision
        };
        if !seen.tasks.iter().any(|task| failed(&task)) {
            return Self::Over;
        }
        match fleet.current.iter().filter_map(|task| task.available_from(lived(seen))).min() {
            None => Self::NoneReady,
            Some(at) if at <= seen.now => Self::Over,
            Some(at) => Self::Until(at),
        }
    }

    fn waits_for(self) -> Option<String> {
        self.ends()
            .map(|at| format!("earlier replicas failed; the new ones count from {at} if they stay ready"))
    }

    fn ends(self) -> Option<Timestamp> {
        match self {
            Self::Until(at) => Some(at),
            Self::Over | Self::NoneReady => None,
        }
    }
}

/// Whether an earlier attempt of it, or a Task that it replaces, failed since the Revision began.
fn failed_before(task: &Replica) -> bool {
    task.restarted || task.failed_before > 0
}

/// How long a Task that failed before must be ready to count.
fn lived(seen: &Observed) -> Duration {
    LIVED.max(seen.app.min_ready)
}

/// Every count of the status, from one look at the fleet.
fn counts(seen: &Observed, fleet: &Fleet) -> AppStatus {
    let living = || fleet.current.iter().chain(&fleet.outdated);
    let there = || living().chain(&fleet.stopping);
    let current = |task: &&&Replica| task.revision == seen.app.revision;
    AppStatus {
        observed_generation: seen.app.generation + i64::from(seeded_bug("generation-seen-before-it-is")),
        replicas: number(there().count()),
        updated_replicas: number(there().filter(current).count()),
        ready_replicas: number(living().filter(|task| matches!(task.life, Life::Ready(_))).count()),
        available_replicas: number(living().filter(|task| fleet.is_available(task)).count()),
        current_revision: seen.app.revision.clone(),
        halted_revision: halted_revision(seen),
        ..seen.app.status.clone()
    }
}

/// One of an older template stays: it names no Revision that is asked for, until it is asked for again.
fn halted_revision(seen: &Observed) -> String {
    if is_halted(seen) { seen.app.revision.clone() } else { seen.app.status.halted_revision.clone() }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The one reason for which the App is not as asked; none when it is.
fn waits_for(seen: &Observed, fleet: &Fleet, births: &Births, status: &AppStatus) -> Option<String> {
    let replicas = seen.app.replicas;
    if is_halted(seen) && births.missing > 0 {
        return Some(format!("{} of {replicas} replicas not created: {}", births.missing, halt::why(seen)));
    }
    let pending = || fleet.current.iter().filter(|task| !fleet.is_available(task));
    if let Some(worst) = pending().max_by_key(|task| (&task.trouble, std::cmp::Reverse(task.number))) {
        let (count, (what, why)) = (pending().count(), trouble(seen, worst));
        let held = holder::held_by_own(seen, fleet, worst).unwrap_or_default();
        return Some(format!("{count} of {replicas} replicas not {what}: {} {why}{held}", worst.name));
    }
    if let Some(at) = births.next {
        let (missing, failed) = (births.missing, births.failed);
        return Some(format!("{missing} of {replicas} replicas failed {failed} times, next try {at}"));
    }
    if births.missing > 0 {
        let missing = format!("{} of {replicas} replicas not created yet", births.missing);
        return Some(match fleet.stopping.first() {
            Some(task) => format!("{missing}: {} must come to its end first", task.name),
            None => missing,
        });
    }
    if let Some(old) = fleet.outdated.first() {
        let (many, name) = (many(&fleet.outdated), &old.name);
        let is_double = old.revision == seen.app.revision;
        let which = if is_double { "in the place of another" } else { "of older revisions" };
        return Some(format!("{many} {which} to be stopped: {name} is next"));
    }
    if let Some(stopping) = fleet.stopping.first() {
        return Some(format!("{} stopping: {}", many(&fleet.stopping), stopping.name));
    }
    (status.replicas > replicas).then(|| format!("{} replicas instead of {replicas}", status.replicas))
}

fn many(tasks: &[&Replica]) -> String {
    match tasks.len() {
        1 => "1 replica".into(),
        count => format!("{count} replicas"),
    }
}

/// What a Task that is not available lacks, and why.
fn trouble(seen: &Observed, task: &Replica) -> (&'static str, String) {
    if let Some(at) = task.available_from(seen.app.min_ready) {
        return ("available", format!("is ready, and counts as available from {at}"));
    }
    match &task.trouble {
        Trouble::None => ("ready", "is not running".into()),
        Trouble::OnItsWay(text)
        | Trouble::NodeAway(text)
        | Trouble::Unplaced(text)
        | Trouble::Container(text) => ("ready", text.clone()),
    }
}

fn available(seen: &Observed, status: &AppStatus, waits_for: Option<&str>) -> Condition {
    let replicas = seen.app.replicas;
    let enough = match seen.app.rollout {
        Rollout::Rolling { keep, .. } => keep,
        Rollout::Recreate => replicas,
    };
    let count = format!("{} of {replicas} replicas available", status.available_replicas);
    let (value, reason, message) = if status.available_replicas >= enough {
        (ConditionStatus::True, "EnoughAvailable", count)
    } else {
        (ConditionStatus::False, "TooFewAvailable", waits_for.map_or(count, str::to_owned))
    };
    let before = Condition::find(&seen.app.status.conditions, "Available");
    let since = before.filter(|old| old.status == value).map_or(seen.now, |old| old.last_transition_time);
    condition(seen, "Available", value, since, reason, message)
}

/// `Progressing` holds from when there is something to do until it is done, or nothing moved for too long.
fn progressing(
    seen: &Observed,
    fleet: &Fleet,
    trial: Trial,
    waits_for: Option<&str>,
) -> (Condition, Option<Timestamp>) {
    let before = Condition::find(&seen.app.status.conditions, "Progressing");
    let Some(why) = waits_for else {
        let since =
            before.filter(|old| old.reason == COMPLETE).map_or(seen.now, |old| old.last_transition_time);
        let text = format!("all replicas are on revision {}", seen.app.revision);
        return (condition(seen, "Progressing", ConditionStatus::False, since, COMPLETE, text), None);
    };
    // A new spec starts the clock anew.
    let same_spec = seen.app.status.observed_generation == seen.app.generation;
    let before = before.filter(|old| same_spec && old.reason != COMPLETE);
    let (moved, moves_next) = match trial {
        Trial::Over => progress(seen, fleet),
        Trial::NoneReady | Trial::Until(_) => (None, None),
    };
    let stuck = before.filter(|old| old.reason == EXCEEDED).map(|old| old.last_transition_time);
    if let Some(since) = stuck.filter(|since| moved.is_none_or(|at| at <= *since)) {
        let text = why.to_owned();
        return (condition(seen, "Progressing", ConditionStatus::False, since, EXCEEDED, text), moves_next);
    }
    let started =
        before.filter(|old| old.reason == ROLLING_OUT).map_or(seen.now, |old| old.last_transition_time);
    let deadline = moved.map_or(started, |at| at.max(started)).plus(seen.app.deadline);
    if deadline <= seen.now {
        let text = why.to_owned();
        let exceeded = condition(seen, "Progressing", ConditionStatus::False, seen.now, EXCEEDED, text);
        return (exceeded, moves_next);
    }
    let rolling = condition(seen, "Progressing", ConditionStatus::True, started, ROLLING_OUT, why.to_owned());
    (rolling, Some(deadline))
}

/// The time of the latest progress, and the next time at which a ready Task will count as progress. A Task becoming ready
/// is progress. One that failed before counts only after it was ready for as long as [`lived`] says: it may be ready for a
/// moment of each attempt.
fn progress(seen: &Observed, fleet: &Fleet) -> (Option<Timestamp>, Option<Timestamp>) {
    let (failed, others): (Vec<&Replica>, Vec<&Replica>) =
        fleet.current.iter().copied().partition(|task| failed_before(task));
    let ready = others.iter().filter_map(|task| task.available_from(Duration::ZERO));
    let lived = failed.iter().filter_map(|task| task.available_from(lived(seen)));
    let (lived, will_have): (Vec<Timestamp>, Vec<Timestamp>) = lived.partition(|at| *at <= seen.now);
    (ready.chain(lived).max(), will_have.into_iter().min())
}

fn condition(
    seen: &Observed,
    type_: &str,
    status: ConditionStatus,
    since: Timestamp,
    reason: &str,
    message: String,
) -> Condition {
    Condition::new(type_, status, reason, message, since).of_generation(seen.app.generation)
}

fn put(conditions: &mut Vec<Condition>, condition: Condition) {
    match conditions.iter_mut().find(|old| old.type_ == condition.type_) {
        Some(old) => *old = condition,
        None => conditions.push(condition),
    }
}
