//! The history checker: reads what happened and says which promise was broken. It knows Berth only from outside: keys,
//! JSON and the design; nothing here uses a type of ours.
//!
//! [`log`] is what it reads, [`state`] replays it, each file of [`invariants`] protects one promise, [`judge`] runs
//! them over a whole run or as it goes on, and [`witness`] finds the fewest events that show what broke.

pub mod amounts;
pub mod answers;
pub mod changes;
pub mod chronicle;
pub mod content;
pub mod evidence;
pub mod generator;
pub mod invariants;
pub mod judge;
pub mod key;
pub mod log;
pub mod object;
pub mod rollout;
pub mod selector;
pub mod spec;
pub mod state;
pub mod story;
pub mod task;
pub mod text;
pub mod violation;
pub mod watched;
pub mod witness;

pub use evidence::{Fault, Run, Settled, Sighting};
pub use invariants::unsettled;
pub use judge::{Judge, judge};
pub use log::{Event, Header, Stored};
pub use object::Object;
pub use state::{Change, Revision, State};
pub use violation::{Breach, Violation};
pub use witness::Step;
