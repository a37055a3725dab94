//! The client against small servers that do as they are told.

mod failover;
mod fake;
mod watches;
