//! App: keeps as many ready Tasks as an App asks for, on the revision it asks for.
//! Reads App, its Tasks and Revisions. Writes Tasks (create, stop), Revisions and App status. Wakes on any of them.
//! Promises: never fewer available Tasks than replicas - maxUnavailable by its own doing. Safe to kill at any point.
//! Leaves alone: which node a Task runs on (scheduler), containers (node agent).

pub mod fleet;
pub mod history;
pub mod observed;
pub mod plan;
pub mod status;
