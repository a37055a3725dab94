//! I5 watches: from the version asked for, a stream tells every change of its selection: in order, once, all of a
//! revision together; who enters the selection is added, who leaves it is deleted. A bookmark comes only after all
//! events up to it. A stream that cannot go on says why. At the end of the run every open stream has reached its
//! head. Whether a stream is the first or goes on from another makes no difference.

mod stream;
#[cfg(test)]
mod tests;

use super::Invariant;
use crate::history::chronicle::Chronicle;
use crate::history::evidence::Run;
use crate::history::state::{Revision, State};
use crate::history::violation::Breach;
use crate::history::watched::Stream;

/// Judges the watch log.
pub struct Watches {
    streams: Vec<Stream>,
    chronicle: Chronicle,
}

impl Watches {
    /// For the streams of a run.
    pub fn of(run: &Run) -> Self {
        let chronicle = Chronicle::of(run.watches.iter().map(|stream| stream.folder.clone()));
        Self { streams: run.watches.clone(), chronicle }
    }
}

impl Invariant for Watches {
    fn name(&self) -> &'static str {
        "I5 watches"
    }

    fn on_revision(&mut self, seen: &Revision<'_>, _broken: &mut Vec<Breach>) {
        self.chronicle.take(seen);
    }

    fn finish(&mut self, _last: &State, broken: &mut Vec<Breach>) {
        broken.extend(self.streams.iter().filter_map(|stream| stream::judge(stream, &self.chronicle).err()));
    }
}
