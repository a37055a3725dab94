//! What the agent and a shim say to each other.
//!
//! One shim holds the containers of one Task and outlives the agent. The agent writes a [`TaskBundle`] into the
//! Task's directory, starts the shim from a sealed copy of its binary ([`SealedShim`]) and talks to it over a unix
//! socket in JSON lines ([`Client`], or [`message`] for a client of one's own).
//!
//! What outlives even the shim is on disk: a container's end is a durable [`ExitRecord`] before anybody hears of it,
//! its output is in log files of [`LogEntry`] lines. A container whose shim was killed goes on (its parent is pid 1,
//! its mount namespace is its own); nobody can learn its exit code any more. Who finds it alive without a shim kills
//! its cgroup and removes it ([`cgroup`]), removes its directory under the state root, and reports the end as unknown.

mod bundle;
pub mod cgroup;
mod client;
mod exit;
mod launch;
mod log_entry;
pub mod message;
mod process;

pub use bundle::{Access, BundleError, LogRotation, Mount, TaskBundle, TaskContainer};
pub use client::{Client, ClientError};
pub use exit::{End, ExitRecord};
pub use launch::{LaunchError, SealedShim};
pub use log_entry::{Completeness, LogEntry, LogStamp, LogStream, rotated_name};
pub use message::VERSION;
pub use process::ProcessId;
