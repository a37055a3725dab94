//! The history checker: reads what happened and says which promise was broken. It knows Berth only from outside: keys,
//! JSON and the design; nothing here uses a type of ours.
//!
//! [`log`] is what it reads, [`state`] replays it, each file of [`invariants`] protects one promise, [`judge`] runs
//! them over a whole run or as it goes on.

pub mod evidence;
pub mod invariants;
pub mod judge;
pub mod log;
pub mod state;
pub mod violation;

pub use evidence::{Fault, Run, Sighting};
pub use judge::{Judge, judge};
pub use log::{Event, Header, Stored};
pub use state::{Change, Revision, State};
pub use violation::{Breach, Violation};
