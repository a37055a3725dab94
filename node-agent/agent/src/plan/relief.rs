//! Which Task makes room on a disk that is too full.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_types::Timestamp;
use berth_types::availability::DISK_PRESSURE;

use super::course::{Course, TaskRun};
use super::{Ending, Event, State};
use crate::assignment::TaskUid;

/// A Task is stopped only if it uses more than one part in so many of the disk. Below it, others fill the disk, and to
/// stop all Tasks one after another would not help.
const WORTH_STOPPING: u64 = 100;
/// A Task that lives on for this long after KILL makes no room soon, and keeps no other from being stopped.
const DEATH: Duration = Duration::from_secs(10);
/// After a Task that was stopped for room is removed, no other one is chosen for this long: until then a look at the disk
/// may have begun before there was room.
const SETTLED: Duration = Duration::from_secs(5);

/// The Task that was stopped for room last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Relief {
    /// Until it is removed.
    stopped: Option<TaskUid>,
    /// When it was removed.
    removed: Option<Timestamp>,
}

impl Relief {
    /// Takes in what happened at `now`.
    pub(super) fn observe(&mut self, event: &Event, now: Timestamp) {
        if let Event::FillsDisk { task, .. } = event {
            self.stopped = Some(task.clone());
        }
        if let Event::Cleaned { task, outcome: Ok(()) } = event
            && self.stopped.as_ref() == Some(task)
        {
            *self = Self { stopped: None, removed: Some(now) };
        }
    }

    /// Whether the last look at the disk may be older than the room that it made.
    fn is_recent(&self, now: Timestamp) -> bool {
        self.removed.is_some_and(|at| now < at.plus(SETTLED))
    }
}

impl State {
    /// The Task to stop for room on a disk of `room` bytes: of those that run, the one that uses most of it. None while
    /// another one is killed or removed, which makes room too, or just after the one that was stopped for room last was
    /// removed; and none that uses next to nothing. Nor one that KILL was sent to already.
    pub fn to_relieve(
        &self,
        uses: &BTreeMap<TaskUid, u64>,
        room: u64,
        now: Timestamp,
    ) -> Option<(TaskUid, u64)> {
        if self.relief.is_recent(now) || self.tasks.values().any(|run| run.makes_room(now)) {
            return None;
        }
        let stoppable = self.tasks.iter().filter(|(_, run)| run.holds_room(now));
        let using = stoppable.filter_map(|(uid, _)| Some((*uses.get(uid)?, uid)));
        let (bytes, uid) = using.max()?;
        (bytes > room / WORTH_STOPPING).then(|| (uid.clone(), bytes))
    }
}

impl TaskRun {
    fn holds_room(&self, now: Timestamp) -> bool {
        match self.course {
            Course::Running | Course::Draining { .. } => true,
            Course::Terminating { kill_at, .. } => now < kill_at,
            Course::Cleaning { .. } | Course::Done { .. } => false,
        }
    }

    /// Whether it is killed, or removed now; a removal that failed makes none until the next try.
    fn makes_room(&self, now: Timestamp) -> bool {
        match self.course {
            Course::Terminating { kill_at, .. } => kill_at <= now && now < kill_at.plus(DEATH),
            Course::Cleaning { next, .. } => next.is_none(),
            Course::Running | Course::Draining { .. } | Course::Done { .. } => false,
        }
    }

    /// It is killed at once: whatever it still writes has no place.
    pub(super) fn fills_the_disk(&mut self, message: String, now: Timestamp) {
        let ending = Ending::Failed { reason: DISK_PRESSURE.into(), message };
        self.begin_stop(ending, Duration::ZERO, now);
    }
}
