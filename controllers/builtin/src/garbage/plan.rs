//! Which objects have to go, from everything that was seen.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use berth_failpoint::seeded_bug;
use berth_types::slack::Slack;
use berth_types::{NAMESPACE_FINALIZER, NODE_FINALIZER, Timestamp};

use super::ages::Ages;
use super::due::Due;
use super::observed::{Concern, Identity, Item, Kind, Owner};

/// How long things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The newest finished Tasks of an owner that are kept.
    pub finished_tasks: usize,
    /// How long a finished Task beyond them is kept: its App looks at it when it makes the next one.
    pub finished_at_least: Duration,
    /// How long any finished Task is kept.
    pub finished_at_most: Duration,
    /// How long an Event is kept.
    pub events_for: Duration,
    /// How long an Event is kept whose object is gone. Shorter than `events_for`, so that Events about thousands of deleted
    /// objects do not keep memory in use.
    pub events_of_gone_for: Duration,
    /// How many Events are kept.
    pub events: usize,
    /// How long an owner that was never seen may take to show up.
    pub owner_shows_up: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            finished_tasks: 5,
            finished_at_least: Duration::from_secs(120),
            finished_at_most: Duration::from_secs(24 * 3600),
            events_for: Duration::from_secs(3600),
            events_of_gone_for: Duration::from_secs(180),
            events: 10_000,
            owner_shows_up: Duration::from_secs(2),
        }
    }
}

/// What happens to the collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An object came to be or changed.
    Seen(Box<Item>),
    /// An object is gone.
    Gone(Identity),
    /// An object is gone, and another of its name is there.
    Replaced(Identity, Box<Item>),
    /// Every cache has shown its first whole state: what was not seen is not there.
    Synced,
    /// Time passed.
    Tick,
    /// An action was carried out.
    Done(Identity),
    /// An action turned out not to be called for: the server knows more.
    NotCalledFor(Identity),
    /// An action could not be carried out.
    Failed(Identity),
}

/// One thing to do; all are independent of each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// The object.
    pub object: Identity,
    /// The version that was decided on.
    pub version: String,
    /// What is done to it.
    pub removal: Removal,
}

/// What is done to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// Delete it, if the server too knows none of these any more.
    DeleteWithout(Vec<Identity>),
    /// The same of an object whose owners were missing when it named them: its user has to be told.
    DeleteStray(Vec<Identity>),
    /// Delete it.
    Delete(Why),
    /// Take a finalizer off and leave these.
    Release {
        /// The one to take off.
        finalizer: &'static str,
        /// The others.
        left: Vec<String>,
    },
}

/// Why an object is deleted whose owners may be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It is a Task at its end, and old.
    Finished,
    /// It is an Event, and old, one of too many, or about what is gone.
    Expired,
    /// Its Namespace goes.
    NamespaceGoes,
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub struct State {
    limits: Limits,
    synced: bool,
    items: HashMap<String, Item>,
    /// Items by what they hang on: the uids of their owners, of the Node that a Task is bound to, and of what an Event is
    /// about.
    hanging: HashMap<String, HashSet<String>>,
    /// Items by their Namespace.
    within: HashMap<String, HashSet<String>>,
    /// Finished Tasks by the uid of their first owner (empty without one), oldest first.
    finished: BTreeMap<String, BTreeSet<(Timestamp, String)>>,
    /// Events.
    events: Ages,
    /// When to look at an item again: once for each, and no more once it is gone.
    due: Due,
    /// Items on which an action was taken.
    asked: HashMap<String, Asked>,
    /// Items whose owners were missing when these were first named, until one shows up.
    strays: HashSet<String>,
}

/// When an item is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// It was never seen before, or not with these owners.
    First,
    /// It is one of all that is there at the start.
    Start,
    /// It, or something that it hangs on, changed; or its time came.
    Again,
}

/// What became of the action on an item.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    /// It is under way, after so many failures.
    UnderWay { version: String, failures: u32 },
    /// It was carried out on this version: the next one shows it.
    Done { version: String },
    /// It could not be carried out, so many times in a row.
    Failed { failures: u32 },
}

enum Judgement {
    Act(Removal),
    /// Its owners are missing since it names them, and have until then to show up.
    Stray(Timestamp),
    LookAgain(Timestamp),
    Fine,
}

impl State {
    /// Nothing seen yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// When time alone leads to an action.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.next()
    }

    /// Takes an item in; of one that is known, only what changed moves in the indexes: most changes move nothing.
    fn put(&mut self, item: Item) {
        let old = self.items.remove(&item.uid);
        let was = old.as_ref().map(hangs_on).unwrap_or_default();
        let is = hangs_on(&item);
        for other in was.iter().filter(|other| !is.contains(other)) {
            drop_from(&mut self.hanging, other, &item.uid);
        }
        for other in is.into_iter().filter(|other| !was.contains(other)) {
            self.hanging.entry(other).or_default().insert(item.uid.clone());
        }
        if item.place.kind.namespaced() && old.is_none() {
            self.within.entry(item.place.namespace.clone()).or_default().insert(item.uid.clone());
        }
        if let Some(old) = &old {
            self.leave_ages(old);
        }
        match &item.concern {
            Concern::None | Concern::Bound(_) => {}
            Concern::Finished(at) => {
                self.finished.entry(first_owner(&item)).or_default().insert((*at, item.uid.clone()));
            }
            Concern::Seen { at, .. } => self.events.insert((*at, item.uid.clone()), self.limits.events),
        }
        self.items.insert(item.uid.clone(), item);
    }

    fn remove(&mut self, uid: &str) -> Option<Item> {
        let item = self.items.remove(uid)?;
        self.items.give_back();
        for other in hangs_on(&item) {
            drop_from(&mut self.hanging, other, uid);
        }
        drop_from(&mut self.within, &item.place.namespace, uid);
        self.leave_ages(&item);
        self.take_for_known(uid);
        self.due.forget(uid);
        Some(item)
    }

    /// Takes an item out of what is sorted by age.
    fn leave_ages(&mut self, item: &Item) {
        match &item.concern {
            Concern::None | Concern::Bound(_) => {}
            Concern::Finished(at) => {
                let owner = first_owner(item);
                if let Some(of_owner) = self.finished.get_mut(&owner) {
                    of_owner.remove(&(*at, item.uid.clone()));
                    if of_owner.is_empty() {
                        self.finished.remove(&owner);
                    }
                }
            }
            Concern::Seen { at, .. } => self.events.remove(&(*at, item.uid.clone()), self.limits.events),
        }
    }

    fn is_there(&self, identity: &Identity) -> bool {
        self.items.get(&identity.uid).is_some_and(|item| item.place == identity.place)
    }

    /// Whether any Namespace of that name is going.
    fn is_dying(&self, namespace: &str) -> bool {
        let objects = self.hanging.get(&dying(namespace));
        objects.is_some_and(|namespaces| !namespaces.is_empty())
    }

    fn judge(&self, item: &Item, sight: Sight, now: Timestamp) -> Judgement {
        if item.place.kind == Kind::Namespace {
            return self.judge_namespace(item);
        }
        if item.deleting {
            return self.judge_leaving(item);
        }
        if self.is_dying(&item.place.namespace) {
            return Judgement::Act(Removal::Delete(Why::NamespaceGoes));
        }
        if let Some(judgement) = self.judge_owners(item, sight, now) {
            return judgement;
        }
        match &item.concern {
            Concern::None => Judgement::Fine,
            Concern::Bound(node) if self.is_there(node) => Judgement::Fine,
            Concern::Bound(node) => Judgement::Act(Removal::DeleteWithout(vec![node.clone()])),
            Concern::Finished(at) => self.keep_until(self.finished_until(item, *at), Why::Finished, now),
            Concern::Seen { at, about } => {
                self.keep_until(self.event_until(item, *at, about.as_ref()), Why::Expired, now)
            }
        }
    }

    fn judge_namespace(&self, item: &Item) -> Judgement {
        let is_empty = self.within.get(&item.place.name).is_none_or(HashSet::is_empty);
        if item.deleting && is_empty && item.finalizers.iter().any(|one| one == NAMESPACE_FINALIZER) {
            return Judgement::Act(release(item, NAMESPACE_FINALIZER));
        }
        Judgement::Fine
    }

    /// An object on its way out waits for its finalizers; the one of a Node that is gone has nobody else.
    fn judge_leaving(&self, item: &Item) -> Judgement {
        match &item.concern {
            Concern::Bound(node)
                if !self.is_there(node) && item.finalizers.iter().any(|one| one == NODE_FINALIZER) =>
            {
                Judgement::Act(release(item, NODE_FINALIZER))
            }
            Concern::None | Concern::Bound(_) | Concern::Finished(_) | Concern::Seen { .. } => {
                Judgement::Fine
            }
        }
    }

    /// Something to do or wait for when all of its owners are gone.
    fn judge_owners(&self, item: &Item, sight: Sight, now: Timestamp) -> Option<Judgement> {
        let mut gone = Vec::new();
        for owner in &item.owners {
            match owner {
                Owner::Foreign => return None,
                Owner::Known(owner) if self.is_there(owner) && seeded_bug("one-owner-gone-is-enough") => {}
                Owner::Known(owner) if self.is_there(owner) => return None,
                Owner::Known(owner) => gone.push(owner.clone()),
            }
        }
        if gone.is_empty() {
            return None;
        }
        if seeded_bug("orphans-stay") {
            return Some(Judgement::Fine);
        }
        Some(match sight {
            // Caches of different kinds do not keep step: the owner may be just behind.
            Sight::First => Judgement::Stray(now.plus(self.limits.owner_shows_up)),
            Sight::Start => Judgement::Act(Removal::DeleteStray(gone)),
            Sight::Again if self.strays.contains(&item.uid) => Judgement::Act(Removal::DeleteStray(gone)),
            Sight::Again => Judgement::Act(Removal::DeleteWithout(gone)),
        })
    }

    fn keep_until(&self, until: Timestamp, why: Why, now: Timestamp) -> Judgement {
        if until <= now { Judgement::Act(Removal::Delete(why)) } else { Judgement::LookAgain(until) }
    }

    fn finished_until(&self, item: &Item, at: Timestamp) -> Timestamp {
        let of_owner = self.finished.get(&first_owner(item));
        let newer = of_owner.map_or(0, |all| all.range((at, item.uid.clone())..).count().saturating_sub(1));
        let kept = newer < self.limits.finished_tasks;
        at.plus(if kept { self.limits.finished_at_most } else { self.limits.finished_at_least })
    }

    fn event_until(&self, item: &Item, at: Timestamp, about: Option<&Identity>) -> Timestamp {
        let Limits { events_for, events_of_gone_for, .. } = self.limits;
        let is_surplus = self.events.is_surplus(&(at, item.uid.clone()));
        let is_of_gone = about.is_some_and(|about| !self.is_there(about));
        match (is_surplus, is_of_gone) {
            (true, _) => Timestamp::from_millis(0),
            (false, true) => at.plus(events_of_gone_for.min(events_for)),
            (false, false) => at.plus(events_for),
        }
    }

    /// The items whose fate may change when this one came, changed or went.
    fn concerned(&self, item: &Item) -> BTreeSet<String> {
        let mut concerned: BTreeSet<String> =
            self.hanging.get(&item.uid).into_iter().flatten().cloned().collect();
        if item.place.kind == Kind::Namespace {
            concerned.extend(self.within.get(&item.place.name).into_iter().flatten().cloned());
        } else {
            let dying = self.hanging.get(&dying(&item.place.namespace));
            concerned.extend(dying.into_iter().flatten().cloned());
        }
        match item.concern {
            // Which Events become surplus is known once the item is in its place.
            Concern::None | Concern::Bound(_) | Concern::Seen { .. } => {}
            Concern::Finished(_) => {
                let of_owner = self.finished.get(&first_owner(item)).into_iter().flatten();
                concerned.extend(of_owner.map(|(_, uid)| uid.clone()));
            }
        }
        concerned
    }

    /// Looks at an item, and says what to do to it.
    fn look(&mut self, uid: &str, sight: Sight, now: Timestamp) -> Option<Action> {
        let item = self.items.get(uid).filter(|_| self.synced)?;
        let failures = match self.asked.get(uid) {
            Some(Asked::UnderWay { .. }) => return None,
            Some(Asked::Done { version }) if *version == item.version => return None,
            Some(Asked::Done { .. }) | None => 0,
            Some(Asked::Failed { failures }) => *failures,
        };
        match self.judge(item, sight, now) {
            Judgement::Fine => {
                self.take_for_known(uid);
                None
            }
            Judgement::LookAgain(at) => {
                self.take_for_known(uid);
                self.due.set(uid, at);
                None
            }
            Judgement::Stray(at) => {
                self.strays.insert(uid.to_owned());
                self.due.set(uid, at);
                None
            }
            Judgement::Act(removal) => {
                if matches!(removal, Removal::DeleteStray(_)) {
                    self.strays.insert(uid.to_owned());
                }
                let action = Action { object: item.identity(), version: item.version.clone(), removal };
                self.asked
                    .insert(uid.to_owned(), Asked::UnderWay { version: item.version.clone(), failures });
                Some(action)
            }
        }
    }

    /// An action was carried out; the item may have changed already.
    fn done(&mut self, uid: &str, now: Timestamp) -> Option<Action> {
        if let Some(Asked::UnderWay { version, .. }) = self.asked.remove(uid) {
            self.asked.insert(uid.to_owned(), Asked::Done { version });
        }
        self.look(uid, Sight::Again, now)
    }

    /// An action could not be carried out: it is tried again, later and later.
    fn failed(&mut self, uid: String, now: Timestamp) {
        let Some(Asked::UnderWay { failures, .. }) = self.asked.remove(&uid) else { return };
        let pause = Duration::from_millis(100 << failures.min(9));
        self.asked.insert(uid.clone(), Asked::Failed { failures: failures.saturating_add(1) });
        self.due.set(&uid, now.plus(pause));
    }

    /// The server knows more than was seen: whatever shows next of the item is judged anew.
    fn not_called_for(&mut self, uid: String) {
        if self.items.contains_key(&uid) {
            self.asked.insert(uid, Asked::Failed { failures: 0 });
        } else {
            self.asked.remove(&uid);
        }
    }

    /// Its owners showed up, or it is gone.
    fn take_for_known(&mut self, uid: &str) {
        self.strays.remove(uid);
        self.strays.give_back();
    }

    fn seen(&mut self, item: Item, now: Timestamp) -> Vec<Action> {
        if let Some(known) = self.items.get_mut(&item.uid)
            && known.is_judged_like(&item)
        {
            // Only its version is new, as with most of what a Task's agent reports: nothing is judged by that but
            // what an action on the item still waits for.
            known.version = item.version;
            let waits = self.asked.contains_key(&item.uid);
            return waits.then(|| self.look(&item.uid, Sight::Again, now)).flatten().into_iter().collect();
        }
        let (uid, before) = (item.uid.clone(), self.items.get(&item.uid));
        let sight = match before {
            Some(old) if old.owners == item.owners => Sight::Again,
            Some(_) | None => Sight::First,
        };
        let mut concerned = before.map(|old| self.concerned(old)).unwrap_or_default();
        self.put(item);
        concerned.extend(self.items.get(&uid).map(|new| self.concerned(new)).unwrap_or_default());
        concerned.extend(self.events.take_demoted());
        concerned.remove(&uid);
        let own = self.look(&uid, sight, now);
        own.into_iter().chain(self.look_at(concerned, Sight::Again, now)).collect()
    }

    fn gone(&mut self, uid: &str, now: Timestamp) -> Vec<Action> {
        self.asked.remove(uid);
        self.asked.give_back();
        let Some(item) = self.remove(uid) else { return Vec::new() };
        let concerned = self.concerned(&item);
        self.look_at(concerned, Sight::Again, now)
    }

    fn synced(&mut self, now: Timestamp) -> Vec<Action> {
        self.synced = true;
        let mut all: Vec<String> = self.items.keys().cloned().collect();
        all.sort();
        self.look_at(all, Sight::Start, now)
    }

    fn look_at(
        &mut self,
        uids: impl IntoIterator<Item = String>,
        sight: Sight,
        now: Timestamp,
    ) -> Vec<Action> {
        uids.into_iter().filter_map(|uid| self.look(&uid, sight, now)).collect()
    }
}

/// Takes `event` in, and says what to do about it.
pub fn step(state: &mut State, event: Event, now: Timestamp) -> Vec<Action> {
    match event {
        Event::Seen(item) => state.seen(*item, now),
        Event::Gone(identity) => state.gone(&identity.uid, now),
        Event::Replaced(gone, item) => {
            let mut actions = state.gone(&gone.uid, now);
            actions.extend(state.seen(*item, now));
            actions
        }
        Event::Synced => state.synced(now),
        Event::Tick => {
            let due = state.due.take_by(now);
            state.look_at(due, Sight::Again, now)
        }
        Event::Done(identity) => state.done(&identity.uid, now).into_iter().collect(),
        Event::NotCalledFor(identity) => {
            state.not_called_for(identity.uid);
            Vec::new()
        }
        Event::Failed(identity) => {
            state.failed(identity.uid, now);
            Vec::new()
        }
    }
}

fn release(item: &Item, finalizer: &'static str) -> Removal {
    let left = item.finalizers.iter().filter(|one| *one != finalizer).cloned().collect();
    Removal::Release { finalizer, left }
}

fn first_owner(item: &Item) -> String {
    let known = item.owners.iter().find_map(|owner| match owner {
        Owner::Known(owner) => Some(owner.uid.clone()),
        Owner::Foreign => None,
    });
    known.unwrap_or_default()
}

/// What the item hangs on, by uid; a Namespace that goes is found by its name.
fn hangs_on(item: &Item) -> Vec<String> {
    let owners = item.owners.iter().filter_map(|owner| match owner {
        Owner::Known(owner) => Some(owner.uid.clone()),
        Owner::Foreign => None,
    });
    let mut on: Vec<String> = owners.collect();
    match &item.concern {
        Concern::Bound(other) | Concern::Seen { about: Some(other), .. } => on.push(other.uid.clone()),
        Concern::None | Concern::Finished(_) | Concern::Seen { about: None, .. } => {}
    }
    if item.place.kind == Kind::Namespace && item.deleting {
        on.push(dying(&item.place.name));
    }
    on
}

fn dying(namespace: &str) -> String {
    format!("dying namespace {namespace}")
}

fn drop_from(sets: &mut HashMap<String, HashSet<String>>, key: impl AsRef<str>, uid: &str) {
    let Some(set) = sets.get_mut(key.as_ref()) else { return };
    set.remove(uid);
    set.give_back();
    if set.is_empty() {
        sets.remove(key.as_ref());
        sets.give_back();
    }
}

#[cfg(test)]
mod tests;
