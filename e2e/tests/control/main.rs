//! The control plane without containers: several apiservers over one store in this process, clients and controllers
//! over their sockets.
#![allow(clippy::unwrap_used)]

mod agents;
mod cluster;
mod controllers;
mod epochs;
mod etcds;
mod failover;
mod plane;
mod recorded;
mod severed;
mod watches;
