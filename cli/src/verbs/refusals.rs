//! Several objects, each for itself: one that is refused keeps no other from being dealt with.

use crate::failure::{Exit, Failure};
use crate::output::print;

/// What was refused so far. The first refusal gives the exit code of the run.
#[derive(Debug, Default)]
pub struct Refusals {
    first: Option<Exit>,
}

impl Refusals {
    /// What an object's outcome is worth, if it was not refused. A refusal is reported and noted.
    ///
    /// # Errors
    /// No server answers: then none will for the next object.
    pub fn note<T>(&mut self, outcome: Result<T, Failure>) -> Result<Option<T>, Failure> {
        match outcome {
            Ok(done) => Ok(Some(done)),
            Err(failure) if failure.exit == Exit::Unreachable => Err(failure),
            Err(failure) => {
                print::message(&failure.to_string());
                self.first.get_or_insert(failure.exit);
                Ok(None)
            }
        }
    }

    /// The outcome of the run, whose last step ended like `last`.
    pub fn end(self, last: Result<(), Failure>) -> Result<(), Failure> {
        let Some(exit) = self.first else { return last };
        if let Err(failure) = last {
            print::message(&failure.to_string());
        }
        Err(Failure::said(exit))
    }
}
