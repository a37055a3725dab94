//! A shim and real containers: what a Task's life needs. Needs root and /bin/busybox.
#![allow(clippy::unwrap_used)]

mod agents;
mod cgroups;
mod ends;
mod hardening;
mod logs;
mod removal;
mod starts;
mod world;
