//! The objects of Berth and the words they are made of: kinds, names, quantities, selectors, conditions,
//! validation and time. No I/O and no async: everything here is a value or a pure function.

mod amount_slip;
pub mod app;
pub mod availability;
pub mod clock;
pub mod core;
pub mod defaults;
pub mod demand;
pub mod expand;
pub mod fault;
pub mod image;
pub mod kinds;
pub mod lease;
mod meaning;
pub mod meta;
pub mod misfit;
pub mod name;
pub mod node;
pub mod parcel;
pub mod path;
pub mod phase;
pub mod portion;
pub mod quantity;
pub mod resource;
pub mod revision;
mod rules;
mod scalar;
pub mod selector;
pub mod shape;
pub mod slack;
mod spelling;
mod stand_in;
pub mod status;
pub mod task;
pub mod walk;

pub use availability::Reach;
pub use clock::{Clock, SteadyClock, SystemClock, Timestamp};
pub use demand::Room;
pub use fault::Fault;
pub use kinds::Kind;
pub use meta::{Condition, ConditionStatus, ObjectMeta, OwnerReference};
pub use phase::Phase;
pub use quantity::Quantity;
pub use resource::Resource;
pub use scalar::short;
pub use selector::Selector;
pub use status::{Reason, Status};

/// `apiVersion` of Berth's own kinds.
pub const BERTH_V1: &str = "berth.dev/v1";

/// The finalizer that `Bind` puts on a Task: only its agent's acknowledgement or its Node's deletion takes it off.
pub const NODE_FINALIZER: &str = "berth.dev/node";

/// The finalizer that every Namespace has from the start: whoever emptied a dying Namespace takes it off.
pub const NAMESPACE_FINALIZER: &str = "berth.dev/namespace";
