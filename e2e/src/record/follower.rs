//! The store as the tape tells it, while it is still told.

use super::tape::Tape;
use crate::history::State;

/// Follows a tape.
#[derive(Debug, Default)]
pub struct Follower {
    era: usize,
    read: usize,
    state: State,
    rev: i64,
}

impl Follower {
    /// Takes in what was told since.
    pub fn follow(&mut self, tape: &Tape) {
        let (era, events) = tape.since(self.era, self.read);
        if era != self.era {
            *self = Self { era, ..Self::default() };
        }
        self.read += events.len();
        for event in events {
            self.rev = event.rev;
            self.state.learn(event);
        }
    }

    /// The store at [`Follower::rev`].
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The last revision that was told.
    pub fn rev(&self) -> i64 {
        self.rev
    }
}
