//! Why a call failed, by what the caller can do about it.

use berth_types::status::{Reason, Status};
use tonic::Code;

/// A failed call; always with the [`Status`] that says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such object: create it, or take it as gone.
    #[error("{0}")]
    NotFound(Status),
    /// The name is taken.
    #[error("{0}")]
    AlreadyExists(Status),
    /// A precondition does not hold or a newer leader writes: the caller's view was old. Read and decide again.
    /// After a resend (see [`crate::Resend`]) it may be the caller's own write that the view lacks.
    #[error("{0}")]
    Conflict(Status),
    /// The request itself is wrong: change it. The causes name the fields.
    #[error("{0}")]
    Invalid(Status),
    /// The server will not do it, now or later, for this caller.
    #[error("{0}")]
    Refused(Status),
    /// The version asked for is no longer known: list again.
    #[error("{0}")]
    Expired(Status),
    /// Nothing was carried out; it may be tried again later.
    #[error("{0}")]
    Unavailable(Status),
    /// A write may or may not have happened: read before deciding.
    #[error("{0}")]
    Unknown(Status),
    /// An answer could not be read, or the server failed inside.
    #[error("{0}")]
    Broken(Status),
}

impl Error {
    /// What the server (or the transport) said.
    pub fn status(&self) -> &Status {
        match self {
            Self::NotFound(status)
            | Self::AlreadyExists(status)
            | Self::Conflict(status)
            | Self::Invalid(status)
            | Self::Refused(status)
            | Self::Expired(status)
            | Self::Unavailable(status)
            | Self::Unknown(status)
            | Self::Broken(status) => status,
        }
    }

    /// Whether the same call may succeed later without anybody changing the request.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Unknown(_) | Self::Broken(_) | Self::Expired(_) => true,
            Self::NotFound(_)
            | Self::AlreadyExists(_)
            | Self::Conflict(_)
            | Self::Invalid(_)
            | Self::Refused(_) => false,
        }
    }

    pub(crate) fn unreadable(what: &str, why: &serde_json::Error) -> Self {
        Self::Broken(Status::new(Reason::InternalError, format!("could not read {what}: {why}")))
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        match status.reason {
            Reason::NotFound => Self::NotFound(status),
            Reason::AlreadyExists => Self::AlreadyExists(status),
            Reason::Conflict => Self::Conflict(status),
            Reason::Invalid | Reason::BadRequest | Reason::RequestEntityTooLarge => Self::Invalid(status),
            Reason::Forbidden | Reason::Unauthorized | Reason::MethodNotAllowed => Self::Refused(status),
            Reason::Expired => Self::Expired(status),
            Reason::Unavailable | Reason::TooManyRequests | Reason::StorageFull => Self::Unavailable(status),
            Reason::Timeout => Self::Unknown(status),
            Reason::InternalError => Self::Broken(status),
        }
    }
}

/// How one attempt at one endpoint failed.
pub(crate) enum Failure {
    /// The server answered: trying elsewhere changes nothing.
    Answered(Status),
    /// The server answered that it did not carry the call out and may later.
    Declined(Status),
    /// The call never left: no connection.
    NotSent(Status),
    /// The call may have been carried out.
    Unsure(Status),
}

impl Failure {
    pub(crate) fn of(grpc: &tonic::Status, endpoint: &str) -> Self {
        if let Ok(status) = serde_json::from_slice::<Status>(grpc.details()) {
            return match status.reason {
                Reason::Unavailable | Reason::TooManyRequests => Self::Declined(status),
                Reason::Timeout => Self::Unsure(status),
                Reason::BadRequest
                | Reason::Unauthorized
                | Reason::Forbidden
                | Reason::NotFound
                | Reason::MethodNotAllowed
                | Reason::AlreadyExists
                | Reason::Conflict
                | Reason::Expired
                | Reason::RequestEntityTooLarge
                | Reason::Invalid
                | Reason::InternalError
                | Reason::StorageFull => Self::Answered(status),
            };
        }
        if never_connected(grpc) {
            let message = format!("could not connect to {endpoint}: {}", root_cause(grpc));
            return Self::NotSent(Status::new(Reason::Unavailable, message));
        }
        match grpc.code() {
            Code::Unknown | Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded | Code::Internal => {
                let message = format!("connection to {endpoint} broke: {}", root_cause(grpc));
                Self::Unsure(Status::new(Reason::Timeout, message))
            }
            // A server that speaks for itself sends its Status; this is its transport's bound on a message.
            Code::OutOfRange => Self::Answered(Status::new(Reason::RequestEntityTooLarge, grpc.message())),
            _ => Self::Answered(berth_proto::from_grpc(grpc)),
        }
    }

    pub(crate) fn timed_out(endpoint: &str) -> Self {
        Self::Unsure(Status::new(Reason::Timeout, format!("{endpoint} did not answer in time")))
    }

    pub(crate) fn into_status(self) -> Status {
        match self {
            Self::Answered(status)
            | Self::Declined(status)
            | Self::NotSent(status)
            | Self::Unsure(status) => status,
        }
    }

    /// For calls that change nothing: whether another endpoint may answer.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Answered(_) => false,
            Self::Declined(_) | Self::NotSent(_) | Self::Unsure(_) => true,
        }
    }
}

fn never_connected(grpc: &tonic::Status) -> bool {
    causes(grpc).any(|cause| cause.is::<tonic::ConnectError>())
}

fn root_cause(grpc: &tonic::Status) -> String {
    causes(grpc).last().map_or_else(|| grpc.message().to_owned(), ToString::to_string)
}

fn causes(grpc: &tonic::Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(grpc), |cause| cause.source())
}
