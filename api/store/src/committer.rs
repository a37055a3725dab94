//! The one writer of a process: many submit groups, few calls carry them. A call takes what waits, as far as the
//! rules of `commit` allow, and is sent at once; while all places in flight are taken the queue grows and calls fill.
//! Numbers the puts of a call, and settles unknown outcomes by sending the same groups again, where that is safe.

mod fence;
mod past;
mod queue;
mod settle;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::value::{Header, WriteId};
use crate::{Group, Kv, Rev, Store, StoreError, Urgency, Write, rules};
pub use fence::FENCES;
use queue::Waiting;
use settle::Line;

/// Bytes that watchers are told of one revision: it is one message to each, and one that resumes begins with a whole
/// revision again.
pub const MOST_WATCH_BYTES: usize = 8 << 20;

/// Calls in flight at a time.
const IN_FLIGHT: usize = 4;

/// Who writes; stands in the header of every put.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Author {
    /// Who it is.
    pub name: String,
    /// The epoch in which it leads; 0 when it does not lead.
    pub epoch: Rev,
}

/// A group, and what the store cannot see in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Submission {
    /// What is to be carried out.
    pub group: Group,
    /// Bytes that watchers are told of it: for each object its states before and after. A delete carries the last state
    /// of its object, which the group does not.
    pub watch_bytes: usize,
    /// What it may use of a store that is full.
    pub urgency: Urgency,
}

/// How a submitted group ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It happened; or, without writes, its conditions held.
    Applied {
        /// The revision of its writes; without writes one at which the conditions held.
        rev: Rev,
        /// The position of each of its puts, in the order of the group's writes.
        positions: Vec<u16>,
    },
    /// A condition did not hold and nothing was written.
    Conflict {
        /// A revision at which that was so.
        rev: Rev,
        /// The keys of the conditions, in their order.
        current: Vec<Option<Kv>>,
    },
    /// A condition does not hold, but an earlier sending of the group may have happened: no key shows it any more.
    /// The history tells, by the write id in the values of that time.
    Unclear {
        /// A revision at which a condition did not hold.
        rev: Rev,
        /// What its puts carry if it happened.
        write_id: WriteId,
        /// The keys of the conditions, in their order.
        current: Vec<Option<Kv>>,
    },
}

/// How the committer works.
#[derive(Debug, Clone, Copy)]
pub struct CommitterOptions {
    /// The high half of all write ids: a number no other committer of the same store has, ever. Draw it by chance.
    pub origin: u64,
    /// How long an unknown outcome is pursued before the submitter is told `Unknown`.
    pub settle_within: Duration,
    /// How long a group may wait for its call before the submitter is told `Unavailable`.
    pub wait_at_most: Duration,
}

impl CommitterOptions {
    /// The defaults, for a committer with this origin.
    pub fn of(origin: u64) -> Self {
        Self { origin, settle_within: Duration::from_secs(10), wait_at_most: Duration::from_secs(10) }
    }
}

/// Cheap to clone; the work stops with the last clone.
#[derive(Clone)]
pub struct Committer {
    waiting: mpsc::UnboundedSender<Waiting>,
    shared: Arc<Shared>,
}

struct Shared {
    origin: u64,
    groups: AtomicU64,
    _worker: JoinSet<()>,
}

impl Committer {
    /// A committer over the store; needs a tokio runtime.
    pub fn new(store: Arc<dyn Store>, options: CommitterOptions) -> Self {
        let (waiting, queue) = mpsc::unbounded_channel();
        let mut worker = JoinSet::new();
        let line = Arc::new(Line::new(store, &options));
        worker.spawn(queue::work(line, queue, options.wait_at_most));
        let shared = Shared { origin: options.origin, groups: AtomicU64::new(0), _worker: worker };
        Self { waiting, shared: Arc::new(shared) }
    }

    /// Carries the group out; the values of its puts are JSON, the committer puts the header before them.
    ///
    /// `Unknown` means that the outcome stayed unknown; every other error that nothing of the group was done.
    /// After an unknown outcome the group is sent again only if a condition names a key that it writes.
    /// Dropping the future does not take the group back.
    pub async fn submit(&self, group: Group, author: &Author) -> Result<Ended, StoreError> {
        self.carry_out(Submission { group, ..Submission::default() }, author).await
    }

    /// As `submit`, for a group of which more is known.
    pub async fn carry_out(&self, submission: Submission, author: &Author) -> Result<Ended, StoreError> {
        let Submission { group, watch_bytes, urgency } = submission;
        let urgency = group.urgency(urgency);
        let number = self.shared.groups.fetch_add(1, Ordering::Relaxed);
        let write_id = WriteId(u128::from(self.shared.origin) << 64 | u128::from(number));
        let mut group = with_headers(group, write_id, author);
        let fenced = fence::is_needed(&group);
        if fenced {
            fence::put_up(&mut group, self.shared.origin);
        }
        rules::check_alone(&group)?;
        check_watch_bytes(watch_bytes)?;
        let (answer, answered) = oneshot::channel();
        let stopped = || StoreError::Unknown("the committer was stopped".into());
        self.waiting
            .send(Waiting { group, fenced, watch_bytes, urgency, write_id, answer, since: Instant::now() })
            .map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

fn check_watch_bytes(watch_bytes: usize) -> Result<(), StoreError> {
    if watch_bytes > MOST_WATCH_BYTES {
        let why = format!(
            "its objects are {watch_bytes} bytes before and after it, at most {MOST_WATCH_BYTES} are allowed"
        );
        return Err(StoreError::BadCall(why));
    }
    Ok(())
}

fn with_headers(mut group: Group, write_id: WriteId, author: &Author) -> Group {
    for write in &mut group.writes {
        match write {
            Write::Put { value, .. } => {
                let header =
                    Header { position: 0, write_id, epoch: author.epoch, writer: author.name.clone() };
                *value = header.before(value).freeze();
            }
            Write::Delete { .. } => {}
        }
    }
    group
}
