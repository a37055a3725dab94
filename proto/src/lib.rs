//! The wire contract of Berth: generated from `berth.proto`, and what carries an API error over gRPC.

mod error;

pub use error::{from_grpc, to_grpc};

/// Messages and services as generated.
#[allow(missing_docs, clippy::all, clippy::unwrap_used)]
pub mod v1 {
    tonic::include_proto!("berth.v1");
}
