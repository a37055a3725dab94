//! An API error (`metav1.Status`) as a gRPC status and back: the Status travels as JSON in the details.
//!
//! Both travel in the trailers. Peers take 16 KiB of those by default and break the connection over more; gRPC's core
//! (C++, Python) refuses some beyond 8 KiB. So long texts and lists of causes are cut, and say how many more there are.

use berth_types::status::{Cause, Reason, Status};
use tonic::Code;

/// The most bytes of a text as JSON.
const TEXT: usize = 1500;
/// The most bytes of the object's name, kind or group as JSON. Valid ones are shorter, but a request may contain any text.
const NAME: usize = 253;
/// The most bytes of the causes as JSON.
const CAUSES: usize = 3500;
/// The most bytes of the message that is beside the details.
const PLAIN: usize = 200;

/// The gRPC form of an API error.
pub fn to_grpc(status: &Status) -> tonic::Status {
    let mut bounded = status.clone();
    bounded.message = cut(&status.message, TEXT);
    let details = &mut bounded.details;
    for word in [&mut details.name, &mut details.kind, &mut details.group] {
        *word = cut(word, NAME);
    }
    bounded.details.causes = bounded_causes(&status.details.causes);
    let details = serde_json::to_vec(&bounded).expect("a Status is always JSON");
    tonic::Status::with_details(code_of(status.reason), cut(&status.message, PLAIN), details.into())
}

fn bounded_causes(causes: &[Cause]) -> Vec<Cause> {
    let mut room = CAUSES;
    let mut kept = Vec::new();
    for cause in causes {
        let cause =
            Cause { message: cut(&cause.message, TEXT), field: cut(&cause.field, TEXT), ..cause.clone() };
        let size = length(&cause.reason) + length(&cause.message) + length(&cause.field) + 40;
        if size > room {
            let more = format!("and {} more", causes.len() - kept.len());
            kept.push(Cause { reason: cause.reason, message: more, field: String::new() });
            return kept;
        }
        room -= size;
        kept.push(cause);
    }
    kept
}

/// As much of a text as has at most `most` bytes in JSON.
fn cut(text: &str, most: usize) -> String {
    let mut room = most;
    let over = text.char_indices().find(|(_, char)| match room.checked_sub(escaped(*char)) {
        Some(left) => {
            room = left;
            false
        }
        None => true,
    });
    over.map_or_else(|| text.to_owned(), |(end, _)| format!("{} ...", &text[..end]))
}

/// Bytes of a text in JSON.
fn length(text: &str) -> usize {
    text.chars().map(escaped).sum()
}

fn escaped(char: char) -> usize {
    match char {
        '"' | '\\' => 2,
        // As \u001f.
        '\0'..='\x1f' => 6,
        _ => char.len_utf8(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_refusal_comes_through_whole() {
        let mut status = Status::new(Reason::Invalid, "App `web` is invalid").about("App", "web");
        status.details.causes.push(Cause { reason: "r".into(), message: "m".into(), field: "f".into() });
        assert_eq!(from_grpc(&to_grpc(&status)), status);
    }

    #[test]
    fn a_refusal_with_any_number_of_causes_fits_the_trailers() {
        for (message, field) in [("ü", "x"), ("\u{1}", "\""), ("\"", "\u{1}"), ("m", "ü")] {
            let (kind, name) = (field.repeat(50_000), message.repeat(50_000));
            let mut status = Status::new(Reason::Invalid, message.repeat(50_000)).about(&kind, &name);
            let cause = |n: usize| Cause {
                reason: "FieldValueTypeInvalid".into(),
                message: message.repeat(n),
                field: format!("spec.{field}{n}"),
            };
            status.details.causes = (0..3000).map(cause).collect();
            let grpc = to_grpc(&status);
            let trailers = grpc.details().len() * 4 / 3 + grpc.message().len() * 3;
            assert!(trailers < 8 << 10, "{trailers} bytes with {message:?} and {field:?}");
            let read = from_grpc(&grpc);
            let last = &read.details.causes.last().unwrap().message;
            assert_eq!(
                read.details.causes.len() - 1 + last[4..last.len() - 5].parse::<usize>().unwrap(),
                3000
            );
        }
    }
}
