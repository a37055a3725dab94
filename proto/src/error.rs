//! An API error (`metav1.Status`) as a gRPC status and back: the Status travels as JSON in the details.

use berth_types::status::{Reason, Status};
use tonic::Code;

/// The gRPC form of an API error.
pub fn to_grpc(status: &Status) -> tonic::Status {
    let details = serde_json::to_vec(status).expect("a Status is always JSON");
    tonic::Status::with_details(code_of(status.reason), status.message.clone(), details.into())
}

/// The API error that a gRPC status carries; one made of its code when it carries none (a transport failure).
pub fn from_grpc(grpc: &tonic::Status) -> Status {
    if let Ok(status) = serde_json::from_slice::<Status>(grpc.details()) {
        return status;
    }
    Status::new(reason_of(grpc.code()), grpc.message())
}

fn code_of(reason: Reason) -> Code {
    match reason {
        Reason::NotFound => Code::NotFound,
        Reason::AlreadyExists => Code::AlreadyExists,
        Reason::Conflict => Code::Aborted,
        Reason::Invalid | Reason::BadRequest => Code::InvalidArgument,
        Reason::Forbidden => Code::PermissionDenied,
        Reason::Unauthorized => Code::Unauthenticated,
        Reason::Expired => Code::OutOfRange,
        Reason::TooManyRequests | Reason::StorageFull | Reason::RequestEntityTooLarge => {
            Code::ResourceExhausted
        }
        Reason::Timeout => Code::DeadlineExceeded,
        Reason::Unavailable => Code::Unavailable,
        Reason::MethodNotAllowed => Code::Unimplemented,
        Reason::InternalError => Code::Internal,
    }
}

fn reason_of(code: Code) -> Reason {
    match code {
        Code::NotFound => Reason::NotFound,
        Code::AlreadyExists => Reason::AlreadyExists,
        Code::Aborted | Code::FailedPrecondition => Reason::Conflict,
        Code::InvalidArgument => Reason::BadRequest,
        Code::PermissionDenied => Reason::Forbidden,
        Code::Unauthenticated => Reason::Unauthorized,
        Code::OutOfRange => Reason::Expired,
        Code::ResourceExhausted => Reason::TooManyRequests,
        Code::DeadlineExceeded => Reason::Timeout,
        Code::Unimplemented => Reason::MethodNotAllowed,
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Ok => Reason::Unavailable,
        Code::Internal | Code::DataLoss => Reason::InternalError,
    }
}
