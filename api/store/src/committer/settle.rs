//! How one call is brought to an end: sent, and sent again as long as its outcome is unknown.
//!
//! A group that asks for the absence of a key is guarded by the fence. After an unknown outcome three steps follow in
//! this order: the fence is raised, so that no earlier sending can be carried out any more; the history tells whether
//! one was carried out; if not, the group is sent again. Any other group is guarded by itself: once it was carried out,
//! or one of its conditions did not hold, its conditions can never hold again. It is simply sent again.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use berth_failpoint::seeded_bug;
use tokio::time::{Instant, timeout_at};

use super::fence::{self, Fence};
use super::past::{self, Part};
use super::queue::Sent;
use super::{CommitterOptions, Ended};
use crate::value::{Value, WriteId};
use crate::{At, Committed, Condition, Group, Kv, Must, Outcome, Rev, Store, StoreError, Urgency, Write};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The way to the store, and what is known of it.
pub(super) struct Line {
    store: Arc<dyn Store>,
    fence: Fence,
    /// The newest revision that an answer told.
    told: AtomicI64,
    settle_within: Duration,
}

/// An earlier sending of groups whose outcome is unknown.
struct Doubt {
    /// The fence's revision when they were sent.
    fence: Rev,
    /// They were not carried out in this revision or an earlier one.
    after: Rev,
}

/// Sends the call until every group has an answer or the time has passed.
pub(super) async fn settle(line: Arc<Line>, mut call: Vec<Sent>) {
    let give_up = Instant::now() + line.settle_within;
    let after = match line.before(&call).await {
        Ok(after) => after,
        Err(error) => return fail(call, &error),
    };
    while !call.is_empty() {
        let fence = line.fence.now();
        match line.send(&call, fence).await {
            Ok(committed) => call = line.answer_first(call, fence, committed),
            Err(StoreError::Unknown(why)) => {
                return line.resend(call, Doubt { fence, after }, why, give_up).await;
            }
            Err(StoreError::Unavailable(_)) if seeded_bug("unsent-is-acknowledged") => {
                let rev = line.store.current_rev().await.unwrap_or(0) + 1;
                let outcomes = call.iter().map(|_| Outcome::Applied).collect();
                call = line.answer_first(call, fence, Committed { rev, outcomes });
            }
            Err(full @ StoreError::Full(_)) => call = without_the_least_urgent(call, &full),
            Err(other) => return fail(call, &other),
        }
        if Instant::now() >= give_up {
            let why = "its conditions on the fence key failed again and again; try again";
            return fail(call, &StoreError::Unavailable(why.into()));
        }
    }
}

impl Line {
    pub(super) fn new(store: Arc<dyn Store>, options: &CommitterOptions) -> Self {
        let fence = Fence::of(options.origin);
        Self { store, fence, told: AtomicI64::new(0), settle_within: options.settle_within }
    }

    /// A revision before the call, where anybody may want to know it.
    async fn before(&self, call: &[Sent]) -> Result<Rev, StoreError> {
        if self.told.load(Ordering::SeqCst) == 0 && call.iter().any(|sent| sent.waiting.fenced) {
            self.told.fetch_max(self.store.current_rev().await?, Ordering::SeqCst);
        }
        Ok(self.told.load(Ordering::SeqCst))
    }

    async fn send(&self, call: &[Sent], fence: Rev) -> Result<Committed, StoreError> {
        let group = |sent: &Sent| {
            let group = sent.waiting.group.clone();
            if sent.waiting.fenced { fence::at(group, fence) } else { group }
        };
        let least = call.iter().map(|sent| sent.waiting.urgency).min().unwrap_or_default();
        let committed = commit(&*self.store, call.iter().map(group).collect(), least).await?;
        self.told.fetch_max(committed.rev, Ordering::SeqCst);
        Ok(committed)
    }

    /// Answers groups of which no other sending is in doubt; those that only an old fence refused are left.
    fn answer_first(&self, call: Vec<Sent>, fence: Rev, committed: Committed) -> Vec<Sent> {
        let Committed { rev, outcomes } = committed;
        let mut overtaken = Vec::new();
        for (sent, outcome) in call.into_iter().zip(outcomes) {
            match self.without_fence(&sent, fence, outcome) {
                Answer::Applied => applied(sent, rev),
                Answer::Conflict(current) => answer(sent.waiting, Ok(Ended::Conflict { rev, current })),
                Answer::Overtaken => overtaken.push(sent),
            }
        }
        overtaken
    }

    /// The outcome of what the submitter asked for.
    fn without_fence(&self, sent: &Sent, fence: Rev, outcome: Outcome) -> Answer {
        let mut current = match outcome {
            Outcome::Applied => return Answer::Applied,
            Outcome::Conflict { current } => current,
        };
        if !sent.waiting.fenced {
            return Answer::Conflict(current);
        }
        let found = current.pop().flatten();
        self.fence.learn(fence, found.as_ref());
        let mut asked = sent.waiting.group.conditions.iter().zip(&current);
        if asked.all(|(condition, now)| condition.must.holds(now.as_ref())) {
            return Answer::Overtaken;
        }
        Answer::Conflict(current)
    }

    /// The outcome of an earlier sending is unknown: only groups that cannot happen twice go again.
    async fn resend(&self, call: Vec<Sent>, mut doubt: Doubt, mut why: String, give_up: Instant) {
        let (mut again, blind): (Vec<Sent>, Vec<Sent>) =
            call.into_iter().partition(|sent| happens_once(&sent.waiting.group));
        if seeded_bug("resent-without-conditions") {
            again.iter_mut().for_each(|sent| {
                sent.waiting.group.conditions.clear();
                sent.waiting.fenced = false;
            });
        }
        fail(blind, &StoreError::Unknown(why.clone()));
        let mut pause = FIRST_PAUSE;
        while !again.is_empty() && Instant::now() < give_up {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            let sorted_out = timeout_at(give_up, self.sort_out(&mut again, &doubt)).await;
            match sorted_out.unwrap_or_else(|_| Err(StoreError::Unknown("no answer".into()))) {
                Ok(()) => {}
                Err(error) => {
                    why = error.to_string();
                    continue;
                }
            }
            doubt.fence = self.fence.now();
            match self.send(&again, doubt.fence).await {
                Ok(committed) => again = self.answer_again(again, doubt.fence, committed).await,
                Err(error) => why = error.to_string(),
            }
        }
        fail(again, &StoreError::Unknown(why));
    }

    /// Makes sure that no earlier sending of a fenced group is carried out any more, and answers the groups of which
    /// one was.
    async fn sort_out(&self, call: &mut Vec<Sent>, doubt: &Doubt) -> Result<(), StoreError> {
        let wanted: HashSet<WriteId> =
            call.iter().filter(|sent| sent.waiting.fenced).map(|sent| sent.waiting.write_id).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let until = self.fence.raise(&*self.store, doubt.fence).await?;
        let puts = call.iter().filter(|sent| sent.waiting.fenced).filter_map(first_put);
        let keys = puts.chain([self.fence.key().clone()]).collect();
        let part = Part { keys, after: doubt.after, until };
        let found = past::find(&*self.store, part, &wanted).await?;
        for sent in std::mem::take(call) {
            match found.get(&sent.waiting.write_id) {
                Some(rev) => applied(sent, *rev),
                None => call.push(sent),
            }
        }
        Ok(())
    }

    /// Answers groups that were sent before; those that only an old fence refused are left.
    async fn answer_again(&self, call: Vec<Sent>, fence: Rev, committed: Committed) -> Vec<Sent> {
        let Committed { rev, outcomes } = committed;
        let mut overtaken = Vec::new();
        for (sent, outcome) in call.into_iter().zip(outcomes) {
            match self.without_fence(&sent, fence, outcome) {
                Answer::Applied => applied(sent, rev),
                // The history showed that no earlier sending was carried out.
                Answer::Conflict(current) if sent.waiting.fenced && first_put(&sent).is_some() => {
                    answer(sent.waiting, Ok(Ended::Conflict { rev, current }));
                }
                Answer::Conflict(current) => {
                    let ended = conflict_again(&*self.store, &sent, rev, current).await;
                    answer(sent.waiting, Ok(ended));
                }
                Answer::Overtaken => overtaken.push(sent),
            }
        }
        overtaken
    }
}

/// How a sending of a group ended, apart from the fence.
enum Answer {
    Applied,
    /// The keys of the submitter's conditions.
    Conflict(Vec<Option<Kv>>),
    /// Nothing but the fence was in the way, and nothing was written.
    Overtaken,
}

/// One call to the store.
pub(super) async fn commit(
    store: &dyn Store,
    groups: Vec<Group>,
    urgency: Urgency,
) -> Result<Committed, StoreError> {
    if berth_failpoint::fails("store.commit.send") {
        return Err(StoreError::Unavailable("the call was not sent, as a test asked for".into()));
    }
    let committed = store.commit_urgent(groups, urgency).await;
    if berth_failpoint::fails("store.commit.answer") {
        return Err(StoreError::Unknown("the answer was lost, as a test asked for".into()));
    }
    committed
}

/// A full store refuses a call for the least urgent of its groups; the others go again. A store without a reserve
/// refuses a call for any put in it, so of the same urgency a group without puts goes again.
fn without_the_least_urgent(call: Vec<Sent>, full: &StoreError) -> Vec<Sent> {
    let rank = |sent: &Sent| (sent.waiting.urgency, sent.waiting.group.puts_nothing());
    let least = call.iter().map(rank).min();
    let (again, refused) = call.into_iter().partition(|sent| Some(rank(sent)) > least);
    fail(refused, full);
    again
}

/// Whether the group's own success makes one of its conditions fail.
fn happens_once(group: &Group) -> bool {
    group.writes.is_empty() || group.conditions.iter().any(|condition| ends(&group.writes, condition))
}

fn ends(writes: &[Write], condition: &Condition) -> bool {
    writes.iter().filter(|write| *write.key() == condition.key).any(|write| match write {
        Write::Put { .. } => true,
        Write::Delete { .. } => condition.must != Must::BeAbsent,
    })
}

fn first_put(sent: &Sent) -> Option<bytes::Bytes> {
    sent.waiting.group.writes.iter().find_map(|write| match write {
        Write::Put { key, .. } => Some(key.clone()),
        Write::Delete { .. } => None,
    })
}

/// A group that was sent before conflicts: with its own work, with another's, or nobody can tell.
async fn conflict_again(store: &dyn Store, sent: &Sent, rev: Rev, current: Vec<Option<Kv>>) -> Ended {
    let mine =
        |kv: &Kv| Value::parse(kv.value.clone()).is_ok_and(|value| value.write_id() == sent.waiting.write_id);
    if let Some(own) = current.iter().flatten().find(|kv| mine(kv)) {
        return Ended::Applied { rev: own.mod_rev, positions: sent.positions.clone() };
    }
    if sent.waiting.group.writes.is_empty() {
        return Ended::Conflict { rev, current };
    }
    for write in &sent.waiting.group.writes {
        match write {
            Write::Put { key, .. } => {
                let Ok((_, now)) = store.get(key, At::Latest).await else { continue };
                if let Some(own) = now.filter(mine) {
                    return Ended::Applied { rev: own.mod_rev, positions: sent.positions.clone() };
                }
            }
            Write::Delete { .. } => {}
        }
    }
    Ended::Unclear { rev, write_id: sent.waiting.write_id, current }
}

fn applied(sent: Sent, rev: Rev) {
    answer(sent.waiting, Ok(Ended::Applied { rev, positions: sent.positions }));
}

fn fail(call: Vec<Sent>, error: &StoreError) {
    for sent in call {
        answer(sent.waiting, Err(error.clone()));
    }
}

/// A submitter that went away does not want its answer.
fn answer(waiting: super::queue::Waiting, ended: Result<Ended, StoreError>) {
    drop(waiting.answer.send(ended));
}
