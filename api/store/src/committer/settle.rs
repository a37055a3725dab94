//! How one call is brought to an end: sent, and sent again unchanged as long as its outcome is unknown.

use std::sync::Arc;
use std::time::Duration;

use berth_failpoint::seeded_bug;
use tokio::time::Instant;

use super::Ended;
use super::queue::Sent;
use crate::value::Value;
use crate::{At, Committed, Condition, Group, Kv, Must, Outcome, Rev, Store, StoreError, Write};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Sends the call until every group has an answer or `within` has passed.
pub(super) async fn settle(store: Arc<dyn Store>, call: Vec<Sent>, within: Duration) {
    match commit(&*store, &call).await {
        Ok(committed) => answer_first(call, committed.rev, committed.outcomes),
        Err(StoreError::Unknown(why)) => resend(&*store, call, why, within).await,
        Err(StoreError::Unavailable(_)) if seeded_bug("unsent-is-acknowledged") => {
            let next = store.current_rev().await.unwrap_or(0) + 1;
            let applied = call.iter().map(|_| Outcome::Applied).collect();
            answer_first(call, next, applied);
        }
        Err(other) => fail(call, &other),
    }
}

/// The outcome of an earlier sending is unknown: only groups that cannot happen twice go again.
async fn resend(store: &dyn Store, call: Vec<Sent>, mut why: String, within: Duration) {
    let (mut again, blind): (Vec<Sent>, Vec<Sent>) =
        call.into_iter().partition(|sent| happens_once(&sent.waiting.group));
    if seeded_bug("resent-without-conditions") {
        again.iter_mut().for_each(|sent| sent.waiting.group.conditions.clear());
    }
    fail(blind, &StoreError::Unknown(why.clone()));
    let give_up = Instant::now() + within;
    let mut pause = FIRST_PAUSE;
    while !again.is_empty() && Instant::now() < give_up {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        match commit(store, &again).await {
            Ok(committed) => return answer_again(store, again, committed.rev, committed.outcomes).await,
            Err(error) => why = error.to_string(),
        }
    }
    fail(again, &StoreError::Unknown(why));
}

async fn commit(store: &dyn Store, call: &[Sent]) -> Result<Committed, StoreError> {
    if berth_failpoint::fails("store.commit.send") {
        return Err(StoreError::Unavailable("the call was not sent, as a test asked for".into()));
    }
    let committed = store.commit(call.iter().map(|sent| sent.waiting.group.clone()).collect()).await;
    if berth_failpoint::fails("store.commit.answer") {
        return Err(StoreError::Unknown("the answer was lost, as a test asked for".into()));
    }
    committed
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

fn answer_first(call: Vec<Sent>, rev: Rev, outcomes: Vec<Outcome>) {
    for (sent, outcome) in call.into_iter().zip(outcomes) {
        let ended = match outcome {
            Outcome::Applied => Ended::Applied { rev, positions: sent.positions },
            Outcome::Conflict { current } => Ended::Conflict { rev, current },
        };
        answer(sent.waiting.answer, Ok(ended));
    }
}

async fn answer_again(store: &dyn Store, call: Vec<Sent>, rev: Rev, outcomes: Vec<Outcome>) {
    for (sent, outcome) in call.into_iter().zip(outcomes) {
        let ended = match outcome {
            Outcome::Applied => Ended::Applied { rev, positions: sent.positions },
            Outcome::Conflict { current } => conflict_again(store, &sent, rev, current).await,
        };
        answer(sent.waiting.answer, Ok(ended));
    }
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

fn fail(call: Vec<Sent>, error: &StoreError) {
    for sent in call {
        answer(sent.waiting.answer, Err(error.clone()));
    }
}

/// A submitter that went away does not want its answer.
fn answer(to: tokio::sync::oneshot::Sender<Result<Ended, StoreError>>, ended: Result<Ended, StoreError>) {
    drop(to.send(ended));
}
