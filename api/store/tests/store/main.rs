//! The store's laws, held against all its forms.
#![allow(missing_docs)]

mod conformance;
mod differential;
mod etcd;
mod suite;
