//! The API server.

pub mod apply;
