//! The API server: an untyped core of handlers over a table of kinds, and its gRPC face. It is the only thing that
//! opens a store.
//!
//! - `table`, `hooks`: everything that is known of a kind. Handlers name none.
//! - `cache`: every object at a known revision, fed by one watch; reads and watches are answered from it.
//! - `write`: decides on the cache's view, submits with the conditions of that decision, decides again when it was stale.
//! - `nodes`: sessions of agents, who is present, logs.
//! - `watching`, `read`, `batch`: the verbs. `grpc`: the face. `server`: one of everything.

pub mod apply;
mod batch;
mod bind;
mod cache;
mod compaction;
mod encoded;
mod grpc;
mod hooks;
mod keys;
pub mod listen;
mod nodes;
mod read;
mod refuse;
mod room;
mod selection;
mod server;
mod table;
mod tree;
mod version;
mod warden;
mod watching;
mod write;

#[cfg(test)]
mod tests;

pub use grpc::ResourcesFace;
pub use nodes::{Nodes, Timing};
pub use server::{Options, Server, StartError};
