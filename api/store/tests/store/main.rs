//! The store's laws, held against all its forms.
#![allow(missing_docs)]

mod conformance;
mod crash;
mod differential;
mod etcd;
mod reopened;
mod suite;
