//! The store's laws, held against all its forms.
#![allow(missing_docs, clippy::unwrap_used)]

mod committer;
mod conformance;
mod crash;
mod differential;
mod etcd;
mod failover;
mod faults;
mod late;
mod relay;
mod reopened;
mod soak;
mod suite;
