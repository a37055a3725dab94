//! The Tasks of an App by their fate, and which of them may stop.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use berth_failpoint::seeded_bug;
use berth_types::Timestamp;
use berth_types::revision::Revision;

use super::halt::is_halted;
use super::observed::{Life, Observed, Replica, Rollout};
use super::plan::{Action, StopReason, TaskRef};

/// Every Task of an App, each in exactly one list.
pub struct Fleet<'a> {
    seen: &'a Observed<'a>,
    /// The Revision that was available last, if it is not the one asked for and its template is still known.
    pub stable: Option<&'a str>,
    /// To be kept: on the Revision asked for. Least valuable first.
    pub current: Vec<&'a Replica>,
    /// To be replaced: on another Revision, or in a place that an older one has. Least valuable first.
    pub outdated: Vec<&'a Replica>,
    /// Told to stop, and still holding their room.
    pub stopping: Vec<&'a Replica>,
    /// Lost with their node and not yet told to stop.
    pub given_up: Vec<&'a Replica>,
    /// At their end, or written off with their node: nothing is left to do about them.
    pub over: Vec<&'a Replica>,
}

/// How much stopping a Task would cost; the weightiest first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Value {
    use_: Use,
    updated: Freshness,
    age: Reverse<Timestamp>,
    number: Reverse<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Freshness {
    Outdated,
    Current,
}

/// How near a living Task is to being of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    Unbound,
    Away,
    Starting,
    Settling,
    Available,
}

impl<'a> Fleet<'a> {
    /// Puts every Task into the list of its fate.
    pub fn sort(seen: &'a Observed<'a>) -> Self {
        let mut fleet = Self {
            seen,
            stable: None,
            current: Vec::new(),
            outdated: Vec::new(),
            stopping: Vec::new(),
            given_up: Vec::new(),
            over: Vec::new(),
        };
        for task in seen.tasks {
            match task.life {
                Life::Unbound | Life::Unreachable | Life::Starting | Life::Ready(_) => {
                    fleet.living(task).push(task);
                }
                Life::Stopping => fleet.stopping.push(task),
                Life::GivenUp => fleet.given_up.push(task),
                Life::WrittenOff | Life::Succeeded | Life::Failed(_) => fleet.over.push(task),
            }
        }
        fleet.set_doubles_apart();
        let value = |task: &&Replica| fleet_value(seen, task);
        fleet.current.sort_by_key(value);
        fleet.outdated.sort_by_key(value);
        fleet.stopping.sort_by_key(|task| task.number);
        fleet.given_up.sort_by_key(|task| task.number);
        fleet.stable = fleet.last_available();
        fleet
    }

    /// The Revision of which every replica was available last; of an App that never was, the newest with an available Task.
    fn last_available(&self) -> Option<&'a str> {
        let stored = |name: &str| {
            let kept = |revision: &&Revision| revision.metadata.name == name && !revision.metadata.deleting();
            self.seen.revisions.iter().find(kept)
        };
        let running = || {
            let available = self.outdated.iter().filter(|task| self.is_available(task));
            available.filter_map(|task| stored(&task.revision)).max_by_key(|revision| revision.spec.number)
        };
        let found = stored(&self.seen.app.status.stable_revision).or_else(running)?;
        let (asked, halted) = (&self.seen.app.revision, &self.seen.app.status.halted_revision);
        Some(found.metadata.name.as_str()).filter(|name| name != asked && name != halted)
    }

    /// Whether a Task of another Revision is one to count on: it is available, or may be again.
    fn is_kept(&self, task: &Replica) -> bool {
        self.stable == Some(task.revision.as_str()) || self.is_available(task)
    }

    /// How many Tasks to count on are lost: there should be as many as must be available and are not yet of the
    /// Revision asked for.
    pub fn missing_of_kept(&self) -> usize {
        let replaced = self.current.iter().filter(|task| self.is_available(task)).count();
        let kept = self.outdated.iter().filter(|task| self.is_kept(task)).count();
        self.seen.app.rollout.keep().saturating_sub(replaced + kept)
    }

    /// Of two Tasks with one ordinal the younger must go, and the App gets one with an ordinal of its own: that is what
    /// becomes of a Task of another Revision, too.
    fn set_doubles_apart(&mut self) {
        if seeded_bug("app-gives-a-place-twice") {
            return;
        }
        let mut oldest: BTreeMap<u32, (u64, &str)> = BTreeMap::new();
        for task in &self.current {
            let holder = oldest.entry(task.ordinal).or_insert((task.number, &task.name));
            *holder = (*holder).min((task.number, &task.name));
        }
        let holds = |task: &&Replica| oldest[&task.ordinal] == (task.number, task.name.as_str());
        let (own, doubles): (Vec<_>, Vec<_>) = self.current.iter().copied().partition(holds);
        self.current = own;
        self.outdated.extend(doubles);
    }

    fn living(&mut self, task: &Replica) -> &mut Vec<&'a Replica> {
        if task.revision == self.seen.app.revision { &mut self.current } else { &mut self.outdated }
    }

    /// The Tasks to stop now, and on which others each of them counts.
    pub fn stops(&self) -> Vec<Action> {
        let mut doomed = Doomed::new(self);
        if is_halted(self.seen) {
            let unplaced = self.current.iter().copied().filter(|task| task.life == Life::Unbound);
            unplaced.for_each(|task| doomed.stop_if_safe(task, StopReason::Halted));
        }
        if let Rollout::Rolling { most, .. } = self.seen.app.rollout {
            doomed.stop_beyond(self.living_by_value(), most as usize, StopReason::Surplus);
        }
        doomed.stop_beyond(self.current.clone(), self.seen.app.replicas as usize, StopReason::Surplus);
        doomed.stop_outdated();
        let mut stops = doomed.actions();
        stops.extend(self.given_up.iter().map(|task| stop(task, Vec::new(), StopReason::GivenUp)));
        stops
    }

    /// The App goes: all of its Tasks stop.
    pub fn stop_everything(&self) -> Vec<Action> {
        let all = self.living_by_value().into_iter().chain(self.given_up.iter().copied());
        all.map(|task| stop(task, Vec::new(), StopReason::AppDeleted)).collect()
    }

    /// The Tasks that are alive and may stay so, least valuable first.
    pub fn living_by_value(&self) -> Vec<&'a Replica> {
        let mut living: Vec<&Replica> = self.current.iter().chain(&self.outdated).copied().collect();
        living.sort_by_key(|task| fleet_value(self.seen, task));
        living
    }

    /// Whether the Task is Ready for long enough.
    pub fn is_available(&self, task: &Replica) -> bool {
        use_of(self.seen, task) == Use::Available
    }

    /// Whether a Task of another Revision still holds its room.
    pub fn holds_outdated(&self) -> bool {
        let old = |task: &&&Replica| task.revision != self.seen.app.revision;
        !self.outdated.is_empty() || self.stopping.iter().filter(old).count() > 0
    }

    /// When time alone makes the next Task available.
    pub fn next_available(&self) -> Option<Timestamp> {
        let living = self.current.iter().chain(&self.outdated);
        let from = living.filter_map(|task| task.available_from(self.seen.app.min_ready));
        from.filter(|at| *at > self.seen.now).min()
    }

    /// Ordinals without a Task of another Revision to count on; those that nobody holds first.
    pub fn ordinals_without_kept(&self) -> Vec<u32> {
        let kept: BTreeSet<u32> =
            self.outdated.iter().filter(|task| self.is_kept(task)).map(|task| task.ordinal).collect();
        let others = [&self.stopping, &self.outdated, &self.current].into_iter().flatten();
        let held: BTreeSet<u32> = others.map(|task| task.ordinal).collect();
        let mut free: Vec<u32> =
            (0..self.seen.app.replicas).filter(|ordinal| !kept.contains(ordinal)).collect();
        free.sort_by_key(|ordinal| (held.contains(ordinal), *ordinal));
        free
    }

    /// Ordinals without a Task of the Revision asked for; those that nobody holds first.
    pub fn free_ordinals(&self) -> Vec<u32> {
        let mut held: BTreeMap<u32, u8> = BTreeMap::new();
        let holders = [(&self.stopping, 1), (&self.outdated, 2), (&self.current, 3)];
        for (tasks, weight) in holders {
            for task in tasks {
                let at = held.entry(task.ordinal).or_default();
                *at = weight.max(*at);
            }
        }
        let weight = |ordinal: &u32| held.get(ordinal).copied().unwrap_or(0);
        let mut free: Vec<u32> = (0..self.seen.app.replicas).filter(|ordinal| weight(ordinal) < 3).collect();
        free.sort_by_key(|ordinal| (weight(ordinal), *ordinal));
        free
    }
}

fn fleet_value(seen: &Observed, task: &Replica) -> Value {
    let updated = task.revision == seen.app.revision;
    Value {
        use_: use_of(seen, task),
        updated: if updated { Freshness::Current } else { Freshness::Outdated },
        age: Reverse(task.created),
        number: Reverse(task.number),
    }
}

fn use_of(seen: &Observed, task: &Replica) -> Use {
    match task.life {
        Life::Ready(since) if since.plus(seen.app.min_ready) <= seen.now => Use::Available,
        Life::Ready(_) => Use::Settling,
        Life::Starting if seeded_bug("rollout-counts-the-unready") => Use::Available,
        Life::Starting => Use::Starting,
        Life::Unreachable => Use::Away,
        Life::Unbound
        | Life::Stopping
        | Life::GivenUp
        | Life::WrittenOff
        | Life::Succeeded
        | Life::Failed(_) => Use::Unbound,
    }
}

/// The Tasks chosen to stop so far. However many of them do stop, `keep` available ones are left.
struct Doomed<'f, 'a> {
    fleet: &'f Fleet<'a>,
    chosen: BTreeMap<&'a str, (&'a Replica, StopReason)>,
    available: usize,
}

impl<'f, 'a> Doomed<'f, 'a> {
    fn new(fleet: &'f Fleet<'a>) -> Self {
        let living = fleet.current.iter().chain(&fleet.outdated);
        let available = living.filter(|task| fleet.is_available(task)).count();
        Self { fleet, chosen: BTreeMap::new(), available }
    }

    fn keep(&self) -> usize {
        self.fleet.seen.app.rollout.keep()
    }

    /// Chooses the least valuable of `tasks` until `most` are left.
    fn stop_beyond(&mut self, tasks: Vec<&'a Replica>, most: usize, why: StopReason) {
        let left: Vec<&Replica> = tasks.into_iter().filter(|task| !self.has(task)).collect();
        let surplus = left.len().saturating_sub(most);
        for task in left.into_iter().take(surplus) {
            self.stop_if_safe(task, why);
        }
    }

    /// Chooses outdated Tasks, first those that nobody counts on. Those that are not ready count as if they might be
    /// again: were they not to, a new Revision that never gets ready could use up everything that is left of the old one.
    fn stop_outdated(&mut self) {
        let mut left: Vec<&Replica> =
            self.fleet.outdated.iter().copied().filter(|task| !self.has(task)).collect();
        left.sort_by_key(|task| self.fleet.is_kept(task));
        let kept = self.fleet.current.iter().filter(|task| !self.has(task));
        let replaced = kept.filter(|task| self.fleet.is_available(task)).count();
        let spare = (left.len() + replaced).saturating_sub(self.keep());
        for task in left.into_iter().take(spare) {
            let is_double = task.revision == self.fleet.seen.app.revision;
            self.stop_if_safe(task, if is_double { StopReason::Doubled } else { StopReason::Outdated });
        }
    }

    fn has(&self, task: &Replica) -> bool {
        self.chosen.contains_key(task.name.as_str())
    }

    /// A Task that is ready may be available by the time that it stops, so it needs what an available one needs.
    fn stop_if_safe(&mut self, task: &'a Replica, why: StopReason) {
        let left = match use_of(self.fleet.seen, task) {
            Use::Unbound | Use::Away | Use::Starting => {
                self.chosen.insert(&task.name, (task, why));
                return;
            }
            Use::Settling => self.available,
            Use::Available => self.available.saturating_sub(1),
        };
        if left >= self.keep() {
            self.available = left;
            self.chosen.insert(&task.name, (task, why));
        }
    }

    fn actions(&self) -> Vec<Action> {
        let living = self.fleet.living_by_value();
        let staying =
            living.into_iter().rev().filter(|task| self.fleet.is_available(task) && !self.has(task));
        let counted_on: Vec<TaskRef> = staying.take(self.keep()).map(reference).collect();
        let mut chosen: Vec<&(&Replica, StopReason)> = self.chosen.values().collect();
        chosen.sort_by_key(|(task, _)| task.number);
        let each = chosen.into_iter().map(|(task, why)| match task.life {
            Life::Ready(_) => stop(task, counted_on.clone(), *why),
            Life::Unbound
            | Life::Unreachable
            | Life::Starting
            | Life::Stopping
            | Life::GivenUp
            | Life::WrittenOff
            | Life::Succeeded
            | Life::Failed(_) => stop(task, Vec::new(), *why),
        });
        each.collect()
    }
}

fn stop(task: &Replica, counting_on: Vec<TaskRef>, why: StopReason) -> Action {
    Action::Stop { task: reference(task), counting_on, why }
}

fn reference(task: &Replica) -> TaskRef {
    TaskRef {
        name: task.name.clone(),
        uid: task.uid.clone(),
        resource_version: task.resource_version.clone(),
    }
}
