//! What is done to a cluster: every fault writes into the world's log while it is in force, and does not return before
//! it is, where that can be seen.

pub mod disk;
pub mod log;
pub mod network;
pub mod pause;
pub mod peers;
pub mod relay;
pub mod wall;

pub use disk::SmallDisk;
pub use log::{FaultLog, InForce};
pub use network::Network;
pub use pause::Paused;
pub use peers::Peers;
pub use relay::{Relay, Way};
pub use wall::Wall;
