//! Many writes in one call: each with its own outcome, or all or none.

use berth_proto::v1::{self as wire, outcome::Result as Ended};
use berth_types::parcel::Parcel;
use berth_types::{Reason, Status};
use bytes::Bytes;
use futures::future::join_all;

use crate::refuse::{Answer, bad_request, because};
use crate::table::KindId;
use crate::write::{Refused, Request, Writer, Written};

/// The most writes of one batch.
const MOST: usize = 1000;
/// The most objects and bytes of the answer to one call, well below what a client takes in one message.
pub const ANSWER: Parcel = Parcel::of(MOST, 16 << 20);
/// What to do about a write that the answer has no room for.
pub const ANOTHER_CALL: &str = "send this write in another call";
/// The most bytes of warnings and changes in the answer to one call, beside its objects.
const BESIDE: usize = 8 << 20;

/// Carries a batch out; the outcomes are in the order of the writes.
pub async fn batch(writer: &Writer, batch: wire::BatchRequest) -> Answer<Vec<wire::Outcome>> {
    if batch.writes.len() > MOST {
        return Err(bad_request(format!(
            "batch has {} writes, at most {MOST} are carried out",
            batch.writes.len()
        )));
    }
    let mut answer = ANSWER;
    let remedy = if batch.atomic { "split the batch" } else { ANOTHER_CALL };
    let requests: Vec<_> = batch
        .writes
        .into_iter()
        .map(|write| {
            let bytes = write.json.len();
            let request = Request::read(&writer.table, write, None)?;
            take_room(&mut answer, writer, (request.kind, &request.path), bytes, remedy)?;
            Ok(request)
        })
        .collect();
    if batch.atomic {
        return Ok(bounded(atomic(writer, requests).await));
    }
    let each = requests.into_iter().map(|request| async {
        match request {
            Ok(request) => outcome(writer.write(&request).await.map(in_full)),
            Err(refusal) => outcome(Err(refusal)),
        }
    });
    Ok(bounded(join_all(each).await))
}

/// Cuts what the outcomes state beside their objects: by then everything is done.
fn bounded(mut outcomes: Vec<wire::Outcome>) -> Vec<wire::Outcome> {
    let mut left = BESIDE;
    for written in outcomes.iter_mut().filter_map(|outcome| outcome.written.as_mut()) {
        let change = |change: &wire::FieldChange| {
            change.field.len() + change.manager.len() + change.before.len() + change.after.len()
        };
        let bytes = written.changes.iter().map(change).chain(written.warnings.iter().map(String::len)).sum();
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => {
                written.changes.clear();
                written.warnings = vec![
                    "the answer is too large to list the warnings and changed fields of this write"
                        .to_owned(),
                ];
            }
        }
    }
    outcomes
}

/// Refuses what would be answered with more than one message carries, before anything is done.
pub fn take_room(
    answer: &mut Parcel,
    writer: &Writer,
    (kind, path): (KindId, &str),
    adds: usize,
    remedy: &str,
) -> Answer<()> {
    let bytes = writer.cache.get(kind, path).map_or(0, |entry| entry.weight());
    if answer.takes(bytes + adds) {
        return Ok(());
    }
    let message = format!("not written: the objects of this call are too large for one answer; {remedy}");
    Err(because(Reason::TooManyRequests, message))
}

async fn atomic(writer: &Writer, requests: Vec<Answer<Request>>) -> Vec<wire::Outcome> {
    let number = requests.len();
    if number == 0 {
        return Vec::new();
    }
    let read: Result<Vec<Request>, Refused> =
        requests.into_iter().enumerate().map(|(at, read)| read.map_err(|why| Refused { at, why })).collect();
    let ended = match read {
        Ok(requests) => match differing(&requests) {
            Some(refused) => Err(refused),
            None => writer.together(&requests).await,
        },
        Err(refused) => Err(refused),
    };
    match ended {
        Ok(written) => written.into_iter().map(|written| outcome(Ok(in_full(written)))).collect(),
        Err(refused) => (0..number).map(|at| outcome(Err(why_not(at, &refused)))).collect(),
    }
}

/// One group has one author, and is written or not: so its writes agree on both.
fn differing(requests: &[Request]) -> Option<Refused> {
    let first = &requests[0];
    let at = requests.iter().position(|r| r.author != first.author || r.dry_run != first.dry_run)?;
    let message = "writes of an atomic batch must have one field manager, one fence and one dry_run";
    Some(Refused { at, why: bad_request(message) })
}

fn why_not(at: usize, refused: &Refused) -> Box<Status> {
    if at == refused.at {
        return refused.why.clone();
    }
    let message =
        format!("not written, for write {} of the atomic batch was refused: {}", refused.at, refused.why);
    let reason = match refused.why.reason {
        Reason::Unavailable | Reason::Timeout | Reason::StorageFull | Reason::TooManyRequests => {
            refused.why.reason
        }
        _ => Reason::Conflict,
    };
    Box::new(Status::new(reason, message))
}

fn in_full(written: Written) -> (Bytes, Option<wire::Written>) {
    let (json, written) = written.wire();
    (json, Some(written))
}

/// The outcome of one item on the wire: the object, and what was done where the call says that.
pub fn outcome(ended: Answer<(Bytes, Option<wire::Written>)>) -> wire::Outcome {
    match ended {
        Ok((json, written)) => wire::Outcome { result: Some(Ended::Json(json)), written },
        Err(status) => {
            let status = serde_json::to_vec(&*status).expect("a Status is always JSON").into();
            wire::Outcome { result: Some(Ended::Status(status)), written: None }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stated_beside_the_objects_of_one_answer_is_bounded() {
        let change = wire::FieldChange { before: "x".repeat(900), ..wire::FieldChange::default() };
        let written = || wire::Written {
            changes: vec![change.clone(); 50],
            warnings: vec!["w".repeat(200); 66],
            ..wire::Written::default()
        };
        let outcomes: Vec<_> = (0..MOST).map(|_| outcome(Ok((Bytes::new(), Some(written()))))).collect();
        let bounded = bounded(outcomes);
        let written: Vec<&wire::Written> =
            bounded.iter().filter_map(|outcome| outcome.written.as_ref()).collect();
        assert_eq!(written.len(), MOST);
        let whole = written.iter().filter(|written| written.changes.len() == 50).count();
        assert_eq!(whole, BESIDE / (50 * 900 + 66 * 200));
        assert!(written[whole..].iter().all(|written| written.warnings.len() == 1), "each says so");
    }
}
