//! The node agent: a controller whose world is this machine.
//!
//! `plan` decides, `execute` does, `report` tells.

pub mod assignment;
pub mod plan;
