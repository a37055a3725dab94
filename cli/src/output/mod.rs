//! What `ctl` prints: results to stdout, everything else to stderr.

pub mod age;
pub mod columns;
pub mod escape;
pub mod pieces;
pub mod print;
pub mod progress;
pub mod table;
pub mod yaml;
