//! Which faults were in force when.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::history::Fault;
use crate::{monotonic, soak};

/// The faults of one world, in the order in which they began. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct FaultLog(Arc<Mutex<Vec<Fault>>>);

/// A fault that is in force until this is dropped.
#[derive(Debug)]
pub struct InForce {
    log: FaultLog,
    index: usize,
}

impl FaultLog {
    /// A fault begins.
    pub fn begin(&self, what: impl Into<String>) -> InForce {
        let mut faults = self.faults();
        soak::tally(soak::Counted::Faults, 1);
        faults.push(Fault { what: what.into(), from: monotonic::now(), until: None });
        InForce { log: self.clone(), index: faults.len() - 1 }
    }

    /// A fault that is over when it happened, as a kill is.
    pub fn happened(&self, what: impl Into<String>) {
        drop(self.begin(what));
    }

    /// All of them up to now.
    pub fn all(&self) -> Vec<Fault> {
        self.faults().clone()
    }

    fn faults(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InForce {
    fn drop(&mut self) {
        self.log.faults()[self.index].until = Some(monotonic::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_in_force_until_it_is_dropped() {
        let log = FaultLog::default();
        let cut = log.begin("cut");
        log.happened("kill");
        let seen: Vec<_> = log.all().into_iter().map(|fault| (fault.what, fault.until.is_some())).collect();
        assert_eq!(seen, [("cut".to_owned(), false), ("kill".to_owned(), true)]);
        drop(cut);
        let [cut, kill] = &log.all()[..] else { panic!("two faults") };
        assert!(cut.from <= kill.from && kill.until <= cut.until);
    }
}
