//! What was known when: a revision that anybody was told of had happened by then, and one that was only asked for
//! later had not.

use crate::history::answers::{Asked, Operation, Told};
use crate::history::content::{rev_of, version};
use crate::history::evidence::Run;

/// Revisions by the times at which they were known.
pub(super) struct Known {
    /// Time of an answer, and the newest revision that anybody was told of until then; ascending in both.
    told: Vec<(u64, i64)>,
    /// Time of a request, and the oldest revision that any write asked for then or later was made in; ascending.
    asked: Vec<(u64, i64)>,
}

impl Known {
    /// What answers and watches tell.
    pub(super) fn of(run: &Run) -> Self {
        let messages = run.watches.iter().flat_map(|stream| &stream.got);
        let watched = messages.filter(|message| message.version > 0);
        let mut told: Vec<(u64, i64)> = watched
            .map(|message| (message.at, rev_of(message.version)))
            .chain(run.answers.iter().filter_map(|done| Some((done.returned, newest(done)?))))
            .collect();
        told.sort_unstable();
        let mut newest_so_far = 0;
        for (_, rev) in &mut told {
            newest_so_far = newest_so_far.max(*rev);
            *rev = newest_so_far;
        }
        let mut asked: Vec<(u64, i64)> =
            run.answers.iter().filter_map(|done| Some((done.invoked, made_in(done)?))).collect();
        asked.sort_unstable();
        let mut oldest_from_here = i64::MAX;
        for (_, rev) in asked.iter_mut().rev() {
            oldest_from_here = oldest_from_here.min(*rev);
            *rev = oldest_from_here;
        }
        Self { told, asked }
    }

    /// A revision that had happened at `time`, the newest that is sure.
    pub(super) fn happened(&self, time: u64) -> i64 {
        let until = self.told.partition_point(|(at, _)| *at < time);
        self.told[..until].last().map_or(0, |(_, rev)| *rev)
    }

    /// A revision that had not happened at `time`, the oldest that is sure.
    pub(super) fn to_come(&self, time: u64) -> i64 {
        let from = self.asked.partition_point(|(at, _)| *at <= time);
        self.asked.get(from).map_or(i64::MAX, |(_, rev)| *rev)
    }
}

/// The newest revision that an answer shows.
fn newest(operation: &Operation) -> Option<i64> {
    let shown = match &operation.told {
        Told::Object(object) => version(object),
        Told::Pages(pages, _) => pages.iter().map(|page| page.version).max(),
        Told::Refused(..) | Told::Unknown(_) => None,
    };
    shown.map(rev_of)
}

/// The revision that a write was made in, if it is known to have made one.
fn made_in(operation: &Operation) -> Option<i64> {
    let Asked::Write(write) = &operation.asked else { return None };
    newest(operation).filter(|_| write.changes())
}
