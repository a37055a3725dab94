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
        Err(Failure::reported(exit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(exit: Exit) -> Result<(), Failure> {
        Err(Failure::reported(exit))
    }

    /// Notes the outcomes in their order; the exit code of the run, and how many objects were dealt with well.
    fn ends(outcomes: &[Result<(), Failure>], last: Result<(), Failure>) -> (Option<Exit>, usize) {
        let mut refusals = Refusals::default();
        let mut well = 0;
        for outcome in outcomes {
            match refusals.note(outcome.clone()) {
                Ok(done) => well += usize::from(done.is_some()),
                Err(failure) => return (Some(failure.exit), well),
            }
        }
        (refusals.end(last).err().map(|failure| failure.exit), well)
    }

    #[test]
    fn the_first_refusal_gives_the_code_wherever_it_stands() {
        let (ok, failed_1, conflict) = (Ok(()), failed(Exit::Failed), failed(Exit::Conflict));
        for (outcomes, code, well) in [
            (vec![&ok, &ok, &ok], None, 3),
            (vec![&failed_1, &ok, &ok], Some(Exit::Failed), 2),
            (vec![&ok, &failed_1, &ok], Some(Exit::Failed), 2),
            (vec![&ok, &ok, &failed_1], Some(Exit::Failed), 2),
            (vec![&ok, &conflict, &failed_1], Some(Exit::Conflict), 1),
            (vec![&failed_1, &conflict, &ok], Some(Exit::Failed), 1),
        ] {
            let outcomes: Vec<_> = outcomes.into_iter().cloned().collect();
            assert_eq!(ends(&outcomes, Ok(())), (code, well), "{outcomes:?}");
            let last = code.unwrap_or(Exit::TimedOut);
            assert_eq!(ends(&outcomes, failed(Exit::TimedOut)), (Some(last), well), "{outcomes:?}");
        }
    }

    #[test]
    fn without_a_server_no_further_object_is_tried() {
        let outcomes = [failed(Exit::Failed), failed(Exit::Unreachable), Ok(())];
        assert_eq!(ends(&outcomes, Ok(())), (Some(Exit::Unreachable), 0));
    }
}
