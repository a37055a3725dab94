//! A broken promise, and how a person reads of it.

use std::fmt;

use super::witness::Step;

/// What an invariant finds: a promise that a revision broke.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Breach {
    /// The revision that broke it; 0 when it is none of the store's.
    pub rev: i64,
    /// When, by the machine's monotonic clock; 0 is when the recorder saw the revision.
    pub at: u64,
    /// What is wrong, in words of the domain, with the numbers. The witness shows exactly this.
    pub what: String,
    /// The keys that it is about; their events are where its witness is looked for.
    pub keys: Vec<String>,
}

impl Breach {
    /// A revision broke a promise.
    pub fn new(rev: i64, what: String, keys: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { rev, at: 0, what, keys: keys.into_iter().map(Into::into).collect() }
    }
}

/// A broken promise with its witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The promise, as `I1 room`.
    pub invariant: &'static str,
    /// The revision that broke it; 0 when it is none of the store's.
    pub rev: i64,
    /// What is wrong, in words of the domain, with the numbers.
    pub what: String,
    /// The fewest events that show it.
    pub witness: Vec<Step>,
    /// The faults in force then, or last before.
    pub faults: Vec<String>,
    /// The seed of the run.
    pub seed: u64,
}

/// Of a long witness so many steps are told from its beginning, and so many from its end.
const SHOWN: usize = 10;

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at revision {}: {}", self.invariant, self.rev, self.what)?;
        let (first, rest) = self.witness.split_at(self.witness.len().min(SHOWN));
        // What came last broke it: of many, that is told too.
        let last = &rest[rest.len().saturating_sub(SHOWN)..];
        first.iter().try_for_each(|step| write!(f, "\n  {step}"))?;
        if rest.len() > last.len() {
            write!(f, "\n         ... {} more ...", rest.len() - last.len())?;
        }
        last.iter().try_for_each(|step| write!(f, "\n  {step}"))?;
        let faults = if self.faults.is_empty() { "none".into() } else { self.faults.join("; ") };
        write!(f, "\n  faults: {faults}, seed {}", self.seed)
    }
}
