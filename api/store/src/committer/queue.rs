//! Which groups travel together: in the order they came, a group that may not join a call waits for a later one,
//! and keeps those behind it that share its keys waiting with it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::settle::Line;
use super::{Ended, IN_FLIGHT, MOST_WATCH_BYTES, settle};
use crate::rules::Call;
use crate::value::{WriteId, stamp};
use crate::{Group, StoreError, Urgency, Write};

/// How far the queue is searched for groups that can join a call.
const SEARCHED: usize = 1024;

/// A group whose submitter waits.
pub(super) struct Waiting {
    pub(super) group: Group,
    /// Whether the group's last condition is the committer's fence.
    pub(super) fenced: bool,
    /// Bytes that watchers are told of it.
    pub(super) watch_bytes: usize,
    pub(super) urgency: Urgency,
    pub(super) write_id: WriteId,
    pub(super) since: Instant,
    pub(super) answer: oneshot::Sender<Result<Ended, StoreError>>,
}

/// A group under way.
pub(super) struct Sent {
    pub(super) waiting: Waiting,
    pub(super) positions: Vec<u16>,
}

/// Sends what arrives until all submitters are gone.
pub(super) async fn work(
    line: Arc<Line>,
    mut arriving: mpsc::UnboundedReceiver<Waiting>,
    wait_at_most: Duration,
) {
    let mut queue = VecDeque::new();
    let mut in_flight = JoinSet::new();
    loop {
        while let Ok(waiting) = arriving.try_recv() {
            queue.push_back(waiting);
        }
        give_up_on(&mut queue, Instant::now(), wait_at_most);
        if !queue.is_empty() && in_flight.len() < IN_FLIGHT {
            in_flight.spawn(settle::settle(line.clone(), next_call(&mut queue)));
            continue;
        }
        let late_at = queue.front().map(|waiting: &Waiting| waiting.since + wait_at_most);
        tokio::select! {
            Some(waiting) = arriving.recv() => queue.push_back(waiting),
            Some(_) = in_flight.join_next() => {}
            // A store that never answers wakes nobody.
            () = sleep_until(late_at.unwrap_or_else(Instant::now)), if late_at.is_some() => {}
            else => return,
        }
    }
}

/// Tells those at the head of the queue who waited too long that the store does not keep up.
fn give_up_on(queue: &mut VecDeque<Waiting>, now: Instant, wait_at_most: Duration) {
    let late = queue.iter().take_while(|waiting| now.duration_since(waiting.since) >= wait_at_most).count();
    for waiting in queue.drain(..late) {
        let why = "too many writes wait for it".to_owned();
        // A submitter that went away does not want its answer.
        drop(waiting.answer.send(Err(StoreError::Unavailable(why))));
    }
}

/// Takes the groups of the next call out of the queue and numbers their puts.
fn next_call(queue: &mut VecDeque<Waiting>) -> Vec<Sent> {
    let mut call = Call::default();
    let mut taken = Vec::new();
    let mut left = VecDeque::new();
    let mut puts = 0;
    let mut watch_bytes = 0;
    let mut searched = 0;
    while let Some(waiting) = queue.pop_front() {
        searched += 1;
        if watch_bytes + waiting.watch_bytes <= MOST_WATCH_BYTES && call.admit(&waiting.group).is_ok() {
            watch_bytes += waiting.watch_bytes;
            taken.push(number(waiting, &mut puts));
        } else {
            call.block(&waiting.group);
            left.push_back(waiting);
        }
        if call.full() || searched == SEARCHED {
            break;
        }
    }
    left.append(queue);
    *queue = left;
    taken
}

/// Gives the group's puts the next positions.
fn number(mut waiting: Waiting, puts: &mut u16) -> Sent {
    let mut positions = Vec::new();
    for write in &mut waiting.group.writes {
        match write {
            Write::Put { value, .. } => {
                let mut stored = BytesMut::from(std::mem::take(value));
                stamp(&mut stored, *puts);
                *value = stored.freeze();
                positions.push(*puts);
                *puts += 1;
            }
            Write::Delete { .. } => {}
        }
    }
    Sent { waiting, positions }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Header, Value};
    use crate::{Condition, LIMITS};

    fn waiting(asks: &[&str], puts: &[&str]) -> Waiting {
        let header = Header { position: 0, write_id: WriteId(1), epoch: 0, writer: String::new() };
        let put = |key: &&str| Write::put(key.as_bytes().to_vec(), header.before(b"{}"));
        let ask = |key: &&str| Condition::absent(key.as_bytes().to_vec());
        let group =
            Group { conditions: asks.iter().map(ask).collect(), writes: puts.iter().map(put).collect() };
        let answer = oneshot::channel().0;
        let urgency = Urgency::Ordinary;
        Waiting {
            group,
            fenced: false,
            watch_bytes: 0,
            urgency,
            write_id: WriteId(1),
            since: Instant::now(),
            answer,
        }
    }

    fn shown(call: &[Sent]) -> Vec<String> {
        let put = |write: &Write| match write {
            Write::Put { key, value, .. } => {
                let position = Value::parse(value.clone()).unwrap().position();
                format!("{}@{position}", key.escape_ascii())
            }
            Write::Delete { key } => key.escape_ascii().to_string(),
        };
        call.iter()
            .map(|sent| sent.waiting.group.writes.iter().map(put).collect::<Vec<_>>().join(" "))
            .collect()
    }

    #[test]
    fn groups_of_one_key_travel_in_their_order_one_call_each() {
        let mut queue: VecDeque<Waiting> = [
            waiting(&["a"], &["a", "b"]),
            waiting(&["a"], &["c"]),
            waiting(&[], &["c"]),
            waiting(&[], &["d"]),
        ]
        .into();
        assert_eq!(shown(&next_call(&mut queue)), ["a@0 b@1", "d@2"]);
        assert_eq!(shown(&next_call(&mut queue)), ["c@0"]);
        assert_eq!(shown(&next_call(&mut queue)), ["c@0"]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_call_is_filled_to_the_limit_and_no_further() {
        let keys: Vec<String> = (0..200).map(|n| format!("k{n}")).collect();
        let mut queue: VecDeque<Waiting> = keys.iter().map(|key| waiting(&[], &[key])).collect();
        assert_eq!(next_call(&mut queue).len(), LIMITS.operations - 1);
        assert_eq!(next_call(&mut queue).len(), 200 - (LIMITS.operations - 1));
    }

    #[test]
    fn a_call_tells_watchers_no_more_than_they_take() {
        let weighing = |key: &str, watch_bytes| Waiting { watch_bytes, ..waiting(&[], &[key]) };
        let mut queue: VecDeque<Waiting> = [
            weighing("a", MOST_WATCH_BYTES - 2),
            weighing("b", 3),
            weighing("c", 2),
            weighing("d", MOST_WATCH_BYTES),
        ]
        .into();
        assert_eq!(shown(&next_call(&mut queue)), ["a@0", "c@1"]);
        assert_eq!(shown(&next_call(&mut queue)), ["b@0"]);
        assert_eq!(shown(&next_call(&mut queue)), ["d@0"]);
    }

    #[test]
    fn who_waits_too_long_is_told_so() {
        const AT_MOST: Duration = Duration::from_secs(10);
        let (answer, mut answered) = oneshot::channel();
        let old = Waiting { answer, ..waiting(&[], &["a"]) };
        let now = old.since + AT_MOST + Duration::from_secs(1);
        let mut queue: VecDeque<Waiting> = [old, Waiting { since: now, ..waiting(&[], &["b"]) }].into();
        give_up_on(&mut queue, now, AT_MOST);
        assert_eq!(shown(&next_call(&mut queue)), ["b@0"]);
        assert!(matches!(answered.try_recv(), Ok(Err(StoreError::Unavailable(_)))));
    }
}
