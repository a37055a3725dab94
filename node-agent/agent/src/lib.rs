//! The node agent: a controller whose world is this machine.
//!
//! `plan` decides, `execute` does, `report` tells.

pub mod agent;
pub mod alone;
pub mod assignment;
pub mod blocking;
pub mod conditions;
mod death;
pub mod disk;
mod ended_logs;
pub mod execute;
pub mod homes;
pub mod images;
pub mod journal;
pub mod lives;
pub mod logs;
pub mod machine;
pub mod membership;
pub mod news;
pub mod node_lock;
pub mod places;
pub mod plan;
pub mod port_holder;
pub mod probes;
pub mod recover;
pub mod remember;
pub mod report;
pub mod runtime_spec;
pub mod selftest;
pub mod shim;
#[cfg(test)]
mod silent_port;
pub mod simulate;
#[cfg(test)]
mod small_disk;
pub mod statuses;
pub mod sweep;
