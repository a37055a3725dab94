//! The controllers of Berth's own kinds: App, Node, and the collector of garbage.

pub mod app;
pub mod caches;
pub mod garbage;
pub mod node;
