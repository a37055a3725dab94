//! The cluster on this machine as `ctl up` and `ctl down` see it: folders, processes, cgroups and mounts.

pub mod cgroups;
pub mod folders;
pub mod lock;
pub mod machine;
pub mod mounts;
pub mod node_locks;
pub mod owned;
pub mod parts;
pub mod processes;
