//! The refusals of the server: one function for each way to say no, so that the same refusal reads the same everywhere.

use berth_store::StoreError;
use berth_types::fault::Rule;
use berth_types::status::{ANOTHER_HISTORY, Cause, NAMESPACE_TERMINATING};
use berth_types::{Fault, Reason, Status};

/// The answer of a call, or why it was refused.
pub type Answer<T> = Result<T, Box<Status>>;

/// A refusal without an object.
pub fn because(reason: Reason, message: impl Into<String>) -> Box<Status> {
    Box::new(Status::new(reason, message))
}

/// A request that cannot be understood.
pub fn bad_request(message: impl Into<String>) -> Box<Status> {
    because(Reason::BadRequest, message)
}

/// No such object.
pub fn not_found(kind: &str, name: &str) -> Box<Status> {
    about(Reason::NotFound, kind, name, format!("{kind} `{name}` was not found"))
}

/// A refusal about one object.
pub fn about(reason: Reason, kind: &str, name: &str, message: impl Into<String>) -> Box<Status> {
    Box::new(Status::new(reason, message).about(kind, name))
}

/// The object changed since the caller read it.
pub fn conflict(kind: &str, name: &str, why: impl AsRef<str>) -> Box<Status> {
    let message = format!("{kind} `{name}` {}; read it again and decide anew", why.as_ref());
    about(Reason::Conflict, kind, name, message)
}

/// Nothing is created in a Namespace that is being deleted; the reason and the cause are those of Kubernetes.
pub fn terminating(namespace: &str) -> Box<Status> {
    let message = format!("Namespace `{namespace}` is being deleted and takes nothing new");
    let mut status = about(Reason::Forbidden, "Namespace", namespace, message.clone());
    status.details.causes =
        vec![Cause { reason: NAMESPACE_TERMINATING.into(), message, field: "metadata.namespace".into() }];
    status
}

/// The object breaks rules.
pub fn invalid(kind: &str, name: &str, faults: &[Fault]) -> Box<Status> {
    Box::new(Status::invalid(kind, name, faults))
}

/// A field may not be set or changed by this call.
pub fn forbidden_field(path: &str, message: impl Into<String>) -> Fault {
    Fault::new(path, Rule::Forbidden, message)
}

/// The version asked for is no longer known, or not yet.
pub fn expired(message: impl Into<String>) -> Box<Status> {
    because(Reason::Expired, message)
}

/// The version asked for is of a past that the store does not have.
pub fn of_another_history(ours: &str, told: &str) -> Box<Status> {
    let message = format!(
        "the store was restored or replaced: its history is {ours}, asked for was {told}; list again"
    );
    let mut status = expired(message.clone());
    status.details.causes = vec![Cause { reason: ANOTHER_HISTORY.into(), message, field: "history".into() }];
    status
}

/// One field of a request cannot be understood.
pub fn bad_field(field: &str, message: impl Into<String>) -> Box<Status> {
    let message = message.into();
    let mut status = Status::new(Reason::BadRequest, format!("{field}: {message}"));
    status.details.causes =
        vec![Cause { reason: Rule::Invalid.reason().into(), message, field: field.into() }];
    Box::new(status)
}

/// What a failure of the store means to a caller of the API.
pub fn store(error: &StoreError) -> Box<Status> {
    let (reason, remedy) = match error {
        StoreError::Compacted { .. } | StoreError::Future { .. } | StoreError::Lagged => {
            (Reason::Expired, "list again")
        }
        StoreError::Full(_) => (Reason::StorageFull, "reads go on"),
        StoreError::Unavailable(_) => (Reason::Unavailable, "try again"),
        StoreError::Replaced(_) => (Reason::Unavailable, "this server starts anew"),
        StoreError::Unknown(_) => (Reason::Timeout, "read the object to see whether it happened"),
        StoreError::BadCall(_) => {
            (Reason::RequestEntityTooLarge, "send fewer or smaller objects in one call")
        }
        StoreError::NoLease(_) | StoreError::Damaged(_) => {
            (Reason::InternalError, "look at the server's log")
        }
    };
    let mut status = Status::new(reason, format!("{error}; {remedy}"));
    if reason == Reason::Unavailable {
        status.details.retry_after_seconds = 1;
    }
    Box::new(status)
}
