//! Which Task makes room on a disk that is too full.

use std::collections::BTreeMap;

use berth_types::Timestamp;
use berth_types::availability::DISK_PRESSURE;

use super::course::{Course, TaskRun};
use super::{Ending, State};
use crate::assignment::TaskUid;

/// A Task is stopped only if it uses more than one part in so many of the disk. Below it, others fill the disk, and to
/// stop all Tasks one after another would not help.
const WORTH_STOPPING: u64 = 100;

impl State {
    /// The Task to stop for room on a disk of `room` bytes: of those that run, the one that uses most of it. None while
    /// another one is killed or removed, which makes room too; and none that uses next to nothing.
    pub fn to_relieve(
        &self,
        uses: &BTreeMap<TaskUid, u64>,
        room: u64,
        now: Timestamp,
    ) -> Option<(TaskUid, u64)> {
        if self.tasks.values().any(|run| run.makes_room(now)) {
            return None;
        }
        let stoppable = self.tasks.iter().filter(|(_, run)| run.holds_room());
        let using = stoppable.filter_map(|(uid, _)| Some((*uses.get(uid)?, uid)));
        let (bytes, uid) = using.max()?;
        (bytes > room / WORTH_STOPPING).then(|| (uid.clone(), bytes))
    }
}

impl TaskRun {
    fn holds_room(&self) -> bool {
        match self.course {
            Course::Running | Course::Draining { .. } | Course::Terminating { .. } => true,
            Course::Cleaning { .. } | Course::Done { .. } => false,
        }
    }

    /// Whether it is killed, or removed now; a removal that failed makes none until the next try.
    fn makes_room(&self, now: Timestamp) -> bool {
        match self.course {
            Course::Terminating { kill_at, .. } => kill_at <= now,
            Course::Cleaning { next, .. } => next.is_none(),
            Course::Running | Course::Draining { .. } | Course::Done { .. } => false,
        }
    }

    /// It is killed at once: whatever it still writes has no place.
    pub(super) fn fills_the_disk(&mut self, message: String, now: Timestamp) {
        let ending = Ending::Failed { reason: DISK_PRESSURE.into(), message };
        self.begin_stop(ending, std::time::Duration::ZERO, now);
    }
}
