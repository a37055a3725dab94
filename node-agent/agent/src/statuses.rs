//! Telling the store how Tasks go: what differs is written in batches, again until the server has it.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use berth_client::{Atomicity, Client, Error, Write};
use berth_types::parcel::Parcel;
use berth_types::task::{Task, TaskStatus};
use berth_types::{Phase, Reason, Resource, Status, Timestamp};
use serde_json::{Value, json};

use crate::assignment::TaskUid;
use crate::news::Told;
use crate::plan::State;
use crate::report::report;

/// The most writes and bytes of one call, well below what a server takes in one message.
const BATCH: Parcel = Parcel::of(100, 1 << 20);
/// Before another try when no server takes the writes.
const PAUSE: Duration = Duration::from_millis(300);
/// Before a status that a server refused is sent again: at first, and at most; it doubles each time.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
const MOST_PAUSE: Duration = Duration::from_secs(60);

/// Fields of a status that are absent when empty: a patch must say so to clear them.
const CLEARABLE: &[&str] = &["reason", "message"];

/// What the store has of each Task here, and what is still to be told.
#[derive(Debug, Default)]
pub struct Statuses {
    objects: HashMap<TaskUid, Arc<Task>>,
    dirty: BTreeSet<TaskUid>,
    /// The Task that was looked at last: the next look goes on after it.
    last: Option<TaskUid>,
    writing: bool,
    /// The statuses of the last batch.
    sent: HashMap<TaskUid, Sent>,
    refused: HashMap<TaskUid, Refusal>,
}

#[derive(Debug, PartialEq)]
struct Sent {
    status: TaskStatus,
    /// The time it was made with, to make the same status again.
    at: Timestamp,
}

/// The last answer to a status that a server refused.
#[derive(Debug)]
struct Refusal {
    sent: Sent,
    why: Why,
    pause: Duration,
    /// When it is sent again. Another status of the Task does not wait for that.
    until: Timestamp,
    /// Whether the Task may have another status since.
    touched: bool,
}

/// Why a status is refused, without what differs each time, as its size does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// In a word.
    pub reason: Reason,
    fields: Vec<String>,
}

impl From<&Status> for Why {
    fn from(refused: &Status) -> Self {
        let fields = refused.details.causes.iter().map(|cause| cause.field.clone());
        Self { reason: refused.reason, fields: fields.collect() }
    }
}

impl Why {
    /// As an Event tells it.
    pub fn told(&self) -> Told {
        let message = match self.reason {
            Reason::RequestEntityTooLarge => {
                "with its status the Task is larger than the server stores: shorten its annotations or its spec".into()
            }
            reason if self.fields.is_empty() => format!("the server refuses the Task's status: {reason:?}"),
            reason => format!("the server refuses the Task's status: {reason:?}: {}", self.fields.join(", ")),
        };
        Told { reason: "StatusRefused".into(), message }
    }
}

/// What came of one write.
#[derive(Debug)]
pub enum Written {
    /// The store has it; the object as it is now.
    Stored(Box<Task>),
    /// Our view was old; the object as it is now.
    Newer(Box<Task>),
    /// The object is gone.
    Gone,
    /// The server refuses it.
    Refused(Box<Status>),
    /// Nobody took it.
    Later,
}

impl Statuses {
    /// The object as the store has it, if `task` is not older than what is known.
    pub fn observe(&mut self, uid: &TaskUid, task: Task) -> Arc<Task> {
        match self.objects.get(uid) {
            Some(known) if version(known) > version(&task) => known.clone(),
            Some(_) | None => {
                let task = Arc::new(task);
                self.objects.insert(uid.clone(), task.clone());
                self.touch(uid);
                task
            }
        }
    }

    /// The Task as the store has it.
    pub fn object(&self, uid: &TaskUid) -> Option<Arc<Task>> {
        self.objects.get(uid).cloned()
    }

    /// What runs here changed: its status may have to be written.
    pub fn touch(&mut self, uid: &TaskUid) {
        self.dirty.insert(uid.clone());
        if let Some(refusal) = self.refused.get_mut(uid) {
            refusal.touched = true;
        }
    }

    /// Whether the store has everything that was to be written.
    pub fn are_written(&self) -> bool {
        !self.writing && self.dirty.is_empty()
    }

    /// The store has it no more.
    pub fn remove(&mut self, uid: &TaskUid) {
        self.objects.remove(uid);
        self.dirty.remove(uid);
        self.refused.remove(uid);
    }

    /// When a refused status is sent again.
    pub fn next_due(&self) -> Option<Timestamp> {
        let waiting = self.refused.iter().filter(|(uid, _)| !self.writing && self.dirty.contains(*uid));
        waiting.map(|(_, refusal)| refusal.until).min()
    }

    /// The writes that are due, while none is under way: at most a batch. They go round all Tasks, so that those whose
    /// status is refused again and again keep no other from being told.
    pub fn take_writes(&mut self, state: &State, address: &str, now: Timestamp) -> Vec<(TaskUid, Write)> {
        let mut writes = Vec::new();
        if self.writing {
            return writes;
        }
        self.sent.clear();
        let mut batch = BATCH;
        while let Some(uid) = self.next_dirty(now) {
            self.dirty.remove(&uid);
            let Some((object, sent)) = self.due_status(&uid, state, address, now) else { continue };
            if is_final(&sent.status) {
                berth_failpoint::reach("agent.acknowledge.before");
            }
            let write = write(&object, &sent.status);
            if !batch.takes(write.size()) {
                self.touch(&uid);
                break;
            }
            self.last = Some(uid.clone());
            self.sent.insert(uid.clone(), sent);
            writes.push((uid, write));
        }
        self.writing = !writes.is_empty();
        writes
    }

    /// The status to write, and the Task as it is based on; none if the store has it, or if it was refused and its pause is
    /// not over.
    fn due_status(
        &mut self,
        uid: &TaskUid,
        state: &State,
        address: &str,
        now: Timestamp,
    ) -> Option<(Arc<Task>, Sent)> {
        let (run, object) = (state.task(uid)?, self.objects.get(uid)?.clone());
        let made = |at| report(run, &object.status, address, at).map(|status| Sent { status, at });
        let mut again = None;
        if let Some(refusal) = self.refused.get_mut(uid) {
            refusal.touched = false;
            again = made(refusal.sent.at).filter(|sent| *sent == refusal.sent);
            if again.is_some() && refusal.until > now {
                self.dirty.insert(uid.clone());
                return None;
            }
        }
        let sent = again.or_else(|| made(now))?;
        (sent.status != object.status).then_some((object, sent))
    }

    fn next_dirty(&self, now: Timestamp) -> Option<TaskUid> {
        let is_due = |uid: &&TaskUid| {
            self.refused.get(*uid).is_none_or(|refusal| refusal.touched || refusal.until <= now)
        };
        let after = self.last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let later = self.dirty.range((after, Bound::Unbounded)).find(is_due);
        later.or_else(|| self.dirty.iter().find(is_due)).cloned()
    }

    /// Takes in what came of a batch; a Task that was removed meanwhile stays so. Returns the refusals that are new, with
    /// their reasons.
    pub fn written(&mut self, outcomes: Vec<(TaskUid, Written)>, now: Timestamp) -> Vec<(TaskUid, Why)> {
        self.writing = false;
        let mut refusals = Vec::new();
        let still_here: Vec<_> =
            outcomes.into_iter().filter(|(uid, _)| self.objects.contains_key(uid)).collect();
        for (uid, written) in still_here {
            match written {
                Written::Stored(task) => {
                    self.refused.remove(&uid);
                    self.observe(&uid, *task);
                }
                Written::Newer(task) => drop(self.observe(&uid, *task)),
                Written::Gone => self.remove(&uid),
                Written::Refused(refused) => {
                    let sent = self.sent.remove(&uid).expect("what is refused was sent in this batch");
                    let why = Why::from(&*refused);
                    if self.refuse(uid.clone(), sent, why.clone(), now) {
                        tracing::error!(task = %uid, error = %refused, "the server refuses a status");
                        refusals.push((uid, why));
                    }
                }
                Written::Later => self.touch(&uid),
            }
        }
        refusals
    }

    /// Sends it again later, unless the Task has another status by then. Returns whether the reason is new.
    fn refuse(&mut self, uid: TaskUid, sent: Sent, why: Why, now: Timestamp) -> bool {
        let last = self.refused.remove(&uid);
        let same = last.as_ref().filter(|last| last.sent == sent);
        let pause = same.map_or(REFUSED_PAUSE, |last| (last.pause * 2).min(MOST_PAUSE));
        let is_new = last.is_none_or(|last| last.why != why);
        self.touch(&uid);
        // What happened since it was sent is not known here.
        let refusal = Refusal { sent, why, pause, until: now.plus(pause), touched: true };
        self.refused.insert(uid, refusal);
        is_new
    }
}

/// Whether the status is the agent's word that nothing of the Task is left here.
fn is_final(status: &TaskStatus) -> bool {
    Phase::try_from(status.phase.as_str()).is_ok_and(Phase::is_final)
}

/// Versions are ordered; one that is no number is older than all.
fn version(task: &Task) -> u64 {
    task.metadata.resource_version.parse().unwrap_or(0)
}

fn write(object: &Task, status: &TaskStatus) -> Write {
    let mut patch = serde_json::to_value(status).expect("a status is always JSON");
    if let Value::Object(fields) = &mut patch {
        for name in CLEARABLE {
            fields.entry(*name).or_insert(Value::Null);
        }
    }
    let meta = &object.metadata;
    Write::patch_status::<Task>(&meta.namespace, &meta.name, json!({ "status": patch }))
        .unchanged(object)
        .by("node-agent")
}

/// Sends a batch; a write that lost against another reads what is there now.
pub async fn send(client: &Client, writes: Vec<(TaskUid, Write)>) -> Vec<(TaskUid, Written)> {
    let (uids, calls): (Vec<TaskUid>, Vec<Write>) = writes.into_iter().unzip();
    berth_failpoint::reach("agent.status.before");
    let outcomes = match client.batch(&calls, Atomicity::Each).await {
        Ok(outcomes) => outcomes,
        Err(error) => {
            tracing::debug!(error = %error, "statuses were not written");
            tokio::time::sleep(PAUSE).await;
            return uids.into_iter().map(|uid| (uid, Written::Later)).collect();
        }
    };
    berth_failpoint::reach("agent.status.after");
    let mut written = Vec::new();
    for ((uid, call), outcome) in uids.into_iter().zip(calls).zip(outcomes) {
        let outcome = settle(client, &uid, &call, outcome.and_then(|object| object.read::<Task>())).await;
        written.push((uid, outcome));
    }
    if written.iter().any(|(_, outcome)| matches!(outcome, Written::Later)) {
        tokio::time::sleep(PAUSE).await;
    }
    written
}

async fn settle(client: &Client, uid: &TaskUid, call: &Write, outcome: Result<Task, Error>) -> Written {
    match outcome {
        Ok(task) => Written::Stored(Box::new(task)),
        Err(Error::NotFound(_)) => Written::Gone,
        Err(Error::Conflict(_) | Error::AlreadyExists(_) | Error::Unknown(_) | Error::Broken(_)) => {
            let key = call.key();
            match client.get_as::<Task>(&key.namespace, &key.name).await {
                Ok(task) if task.meta().uid == uid.as_str() => Written::Newer(Box::new(task)),
                Ok(_) | Err(Error::NotFound(_)) => Written::Gone,
                Err(_) => Written::Later,
            }
        }
        Err(error @ (Error::Invalid(_) | Error::Refused(_))) => {
            Written::Refused(Box::new(error.status().clone()))
        }
        Err(Error::Expired(_) | Error::Unavailable(_)) => Written::Later,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_types::fault::Rule;
    use berth_types::parcel::MOST_TEXT;
    use berth_types::task::Container;
    use berth_types::{Condition, ConditionStatus, Fault};

    use crate::assignment::Assignment;
    use crate::plan::{Event, Wish, step};

    /// A refusal of a status that is this many bytes too large, or has a fault in this field.
    fn refused(field: Option<&str>, bytes: usize) -> Written {
        Written::Refused(Box::new(match field {
            Some(field) => {
                let fault =
                    Fault { path: field.into(), rule: Rule::Invalid, message: format!("is {bytes} bytes") };
                Status::invalid("Task", "t-0", &[fault])
            }
            None => Status::new(Reason::RequestEntityTooLarge, format!("it is {bytes} bytes too large")),
        }))
    }

    fn uid(n: usize) -> TaskUid {
        TaskUid::parse(&format!("{n:032x}")).unwrap()
    }

    /// Tasks that cannot be run, for a reason of some megabytes; a condition of somebody else is of so many bytes.
    fn unfit(tasks: usize, condition: usize) -> (State, Statuses) {
        let (mut state, mut statuses) = (State::default(), Statuses::default());
        for n in 0..tasks {
            let mut task = Task::default();
            task.metadata.uid = uid(n).to_string();
            task.metadata.name = format!("t-{n}");
            let (status, message) = (ConditionStatus::True, "x".repeat(condition));
            let other = Condition::new("Other", status, "", message, Timestamp::from_millis(0));
            task.status.conditions = vec![other];
            statuses.observe(&uid(n), task);
            let why = "y".repeat(2_000_000);
            step(&mut state, Event::Unfit { task: uid(n), why }, Timestamp::from_millis(0));
        }
        (state, statuses)
    }

    fn take(state: &State, statuses: &mut Statuses) -> Vec<TaskUid> {
        take_at(state, statuses, 0)
    }

    fn take_at(state: &State, statuses: &mut Statuses, millis: i64) -> Vec<TaskUid> {
        let writes = statuses.take_writes(state, "10.0.0.1", Timestamp::from_millis(millis));
        let bytes: usize = writes.iter().map(|(_, write)| write.size()).sum();
        assert!(writes.len() == 1 || bytes <= 1 << 20, "{} writes of {bytes} bytes", writes.len());
        writes.into_iter().map(|(uid, _)| uid).collect()
    }

    #[test]
    fn a_batch_of_statuses_is_bounded_by_count_and_by_bytes() {
        for (tasks, condition, expected) in
            [(250, 0, 100..=100), (250, 20_000, 40..=52), (3, 2_000_000, 1..=1)]
        {
            let (state, mut statuses) = unfit(tasks, condition);
            let taken = take(&state, &mut statuses).len();
            assert!(expected.contains(&taken), "{taken}");
        }
    }

    #[test]
    fn statuses_that_nobody_takes_keep_no_other_from_being_told() {
        let (state, mut statuses) = unfit(250, 0);
        let mut seen = BTreeSet::new();
        for _ in 0..3 {
            let taken = take(&state, &mut statuses);
            seen.extend(taken.iter().cloned());
            let outcomes = taken.into_iter().map(|uid| (uid, Written::Later)).collect();
            statuses.written(outcomes, Timestamp::from_millis(0));
        }
        assert_eq!(seen.len(), 250);
    }

    #[test]
    fn a_refused_status_is_sent_again_after_pauses_that_double_up_to_a_minute() {
        let (state, mut statuses) = unfit(2, 0);
        let (mut now, mut pauses) = (0, Vec::new());
        assert_eq!(take_at(&state, &mut statuses, now), [uid(0), uid(1)]);
        statuses.written(vec![(uid(1), Written::Later)], Timestamp::from_millis(now));
        for n in 0..8 {
            // Numbers in the text are not another reason.
            let outcome = refused([Some("status.phase"), Some("status.message"), None, None][n / 2], n);
            let refusals = statuses.written(vec![(uid(0), outcome)], Timestamp::from_millis(now));
            let told: Vec<String> = refusals.into_iter().map(|(_, why)| why.told().message).collect();
            let new: &[&str] = match n {
                0 => &["the server refuses the Task's status: Invalid: status.phase"],
                2 => &["the server refuses the Task's status: Invalid: status.message"],
                4 => &[
                    "with its status the Task is larger than the server stores: shorten its annotations or its spec",
                ],
                _ => &[],
            };
            assert_eq!(told, new, "{n}");
            // The other one does not wait for it.
            assert_eq!(take_at(&state, &mut statuses, now), [uid(1)]);
            statuses.written(vec![(uid(1), Written::Later)], Timestamp::from_millis(now));
            let due = statuses.next_due().expect("it is sent again").millis();
            assert!(!take_at(&state, &mut statuses, due - 1).contains(&uid(0)));
            statuses.written(vec![(uid(1), Written::Later)], Timestamp::from_millis(due));
            assert!(take_at(&state, &mut statuses, due).contains(&uid(0)));
            statuses.written(vec![(uid(1), Written::Later)], Timestamp::from_millis(due));
            pauses.push((due - now) / 1000);
            now = due;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn a_task_that_is_removed_before_its_write_is_answered_stays_removed() {
        let stored = || Written::Stored(Box::default());
        let newer = || Written::Newer(Box::default());
        for outcome in [stored(), newer(), refused(None, 1), Written::Later] {
            let (state, mut statuses) = unfit(1, 0);
            assert_eq!(take(&state, &mut statuses), [uid(0)]);
            statuses.remove(&uid(0));
            assert_eq!(statuses.written(vec![(uid(0), outcome)], Timestamp::from_millis(0)), []);
            assert!(
                statuses.object(&uid(0)).is_none() && statuses.refused.is_empty() && statuses.are_written()
            );
        }
    }

    #[test]
    fn another_status_is_sent_at_once_after_a_refusal_and_has_a_pause_of_its_own() {
        let (ended, mut statuses) = unfit(1, 0);
        let mut running = State::default();
        let mut task = Task::default();
        (task.metadata.uid, task.metadata.name) = (uid(0).to_string(), "t-0".into());
        let command = vec!["true".into()];
        task.spec.containers = vec![Container { name: "main".into(), command, ..Container::default() }];
        let assignment = Assignment::try_from(&task).unwrap();
        step(&mut running, Event::Seen { assignment, wish: Wish::Run }, Timestamp::from_millis(0));
        let refuse = |statuses: &mut Statuses, millis| {
            let outcome = refused(Some("status.phase"), 1);
            statuses.written(vec![(uid(0), outcome)], Timestamp::from_millis(millis));
            statuses.next_due().map(Timestamp::millis)
        };
        let mut due = 0;
        for _ in 0..8 {
            assert_eq!(take_at(&running, &mut statuses, due), [uid(0)]);
            due = refuse(&mut statuses, due).unwrap();
        }
        // It is looked at again, and is the same.
        statuses.touch(&uid(0));
        assert!(take_at(&running, &mut statuses, due - 50_000).is_empty());
        statuses.touch(&uid(0));
        assert_eq!(take_at(&ended, &mut statuses, due - 50_000), [uid(0)]);
        assert_eq!(refuse(&mut statuses, due - 50_000), Some(due - 49_000));
        // Another one that came while the first was on its way.
        assert_eq!(take_at(&ended, &mut statuses, due - 49_000), [uid(0)]);
        statuses.touch(&uid(0));
        refuse(&mut statuses, due - 49_000);
        assert_eq!(take_at(&running, &mut statuses, due - 49_000), [uid(0)]);
    }

    #[test]
    fn a_reason_of_any_length_is_cut_before_it_enters_a_status() {
        let (state, _) = unfit(1, 0);
        let status =
            report(state.task(&uid(0)).unwrap(), &TaskStatus::default(), "", Timestamp::from_millis(0));
        let message = status.unwrap().message;
        assert!(message.len() <= MOST_TEXT && message.ends_with("..."), "{}", message.len());
    }
}
