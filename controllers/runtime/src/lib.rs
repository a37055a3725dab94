//! What every controller is made of, and no kind of object: a cache that follows the API, a queue of keys, leading by
//! a Lease, waves of writes, and two drivers that put them together.
//!
//! A controller with a key (one App, one Node) implements [`Reconciler`] and is run by a [`Controller`]. One that looks
//! at everything at once (scheduler, garbage) implements [`Stepper`] and is run by a [`StepController`]. Both act only
//! while they lead, once their caches have reached their epoch; each write carries the epoch.
//! `examples/` holds a whole controller under 100 lines.

mod cache;
mod controller;
mod deed;
mod key;
mod leader;
mod lease;
mod notes;
mod queue;
mod stepper;
mod writer;

pub use cache::{Cache, Changed, Delta, Index, Indexes, owner_uids};
pub use controller::{Controller, ControllerOptions, Reconciler};
pub use deed::{Deed, Wave, Work};
pub use key::{Key, ResourceVersion};
pub use leader::{Leader, LeaseTerms, Term};
pub use lease::{Candidate, Move, Seen, Timing};
pub use notes::{Note, Notes, Weight, reference};
pub use queue::{Queue, Retry};
pub use stepper::{Execute, StepController, Stepper};
pub use writer::{Outcome, Writer};
