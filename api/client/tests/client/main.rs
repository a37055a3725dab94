//! The client against small servers that do as they are told.
#![allow(clippy::unwrap_used)]

mod failover;
mod fake;
mod watches;
