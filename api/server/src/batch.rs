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

/// Carries a batch out; the outcomes are in the order of the writes.
pub async fn batch(writer: &Writer, batch: wire::BatchRequest) -> Answer<Vec<wire::Outcome>> {
    if batch.writes.len() > MOST {
        return Err(bad_request(format!(
            "batch has {} writes, at most {MOST} are carried out",
            batch.writes.len()
        )));
    }
    let mut answer = ANSWER;
    let requests: Vec<_> = batch
        .writes
        .into_iter()
        .map(|write| {
            let bytes = write.json.len();
            let request = Request::read(&writer.table, write, None)?;
            fits(&mut answer, writer, request.kind, &request.path, bytes)?;
            Ok(request)
        })
        .collect();
    if batch.atomic {
        return Ok(atomic(writer, requests).await);
    }
    let each = requests.into_iter().map(|request| async {
        match request {
            Ok(request) => outcome(writer.write(&request).await.map(in_full)),
            Err(refusal) => outcome(Err(refusal)),
        }
    });
    Ok(join_all(each).await)
}

/// Refuses what would be answered with more than one message carries, before anything is done.
pub fn fits(answer: &mut Parcel, writer: &Writer, kind: KindId, path: &str, adds: usize) -> Answer<()> {
    let bytes = writer.cache.get(kind, path).map_or(0, |entry| entry.weight());
    if answer.takes(bytes + adds) {
        return Ok(());
    }
    let message = "not carried out: the objects of this call are too many bytes for one answer; send it in a call of its own";
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
