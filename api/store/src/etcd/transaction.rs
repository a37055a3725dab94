//! A call of `commit` as etcd carries it out: a transaction whose operations are transactions, one for each group.
//! etcd evaluates the compares of all of them before it writes anything.

use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp, TxnOpResponse, TxnResponse};

use super::pages::kv;
use crate::{Committed, Condition, Group, Kv, Must, Outcome, StoreError, Write};

/// The transaction for the groups.
pub(super) fn request(groups: &[Group]) -> Txn {
    Txn::new()
        .and_then(groups.iter().map(|group| TxnOp::txn(nested(group))).collect::<Vec<_>>())
        .or_else(cost(groups).into_iter().collect::<Vec<_>>())
}

/// An operation that never happens, for a transaction without compares does not fail. etcd 3.4 counts the puts of
/// nested transactions for nothing, and would let a full store be written on; this one it counts.
fn cost(groups: &[Group]) -> Option<TxnOp> {
    let mut writes = groups.iter().flat_map(|group| &group.writes);
    writes.find_map(|write| match write {
        Write::Put { key, .. } => Some(TxnOp::put(key.to_vec(), Vec::new(), None)),
        Write::Delete { .. } => None,
    })
}

fn nested(group: &Group) -> Txn {
    let asked = group.conditions.iter().map(|condition| TxnOp::get(condition.key.to_vec(), None));
    Txn::new()
        .when(group.conditions.iter().flat_map(compares).collect::<Vec<_>>())
        .and_then(group.writes.iter().map(operation).collect::<Vec<_>>())
        .or_else(asked.collect::<Vec<_>>())
}

fn compares(condition: &Condition) -> Vec<Compare> {
    let key = || condition.key.to_vec();
    match condition.must {
        Must::BeAbsent => vec![Compare::mod_revision(key(), CompareOp::Equal, 0)],
        Must::BeUnchangedSince(rev) => vec![Compare::mod_revision(key(), CompareOp::Equal, rev)],
        // A key that is not there has revision 0 and would pass the second one alone.
        Must::ExistNotWrittenAfter(rev) => vec![
            Compare::mod_revision(key(), CompareOp::Greater, 0),
            Compare::mod_revision(key(), CompareOp::Less, rev.saturating_add(1)),
        ],
    }
}

fn operation(write: &Write) -> TxnOp {
    match write {
        Write::Put { key, value, lease } => {
            TxnOp::put(key.to_vec(), value.to_vec(), Some(PutOptions::new().with_lease(*lease)))
        }
        Write::Delete { key } => TxnOp::delete(key.to_vec(), None),
    }
}

/// What the answer says of each group.
pub(super) fn committed(groups: &[Group], mut response: TxnResponse) -> Result<Committed, StoreError> {
    let odd = || StoreError::Damaged("etcd answered a transaction in a way that is none".into());
    let rev = response.take_header().ok_or_else(odd)?.revision();
    let answers = response.op_responses();
    if answers.len() != groups.len() {
        return Err(odd());
    }
    let outcomes = groups.iter().zip(answers).map(|(group, answer)| match answer {
        TxnOpResponse::Txn(nested) if nested.succeeded() => Ok(Outcome::Applied),
        TxnOpResponse::Txn(nested) => conflict(group, &nested).ok_or_else(odd),
        TxnOpResponse::Put(_) | TxnOpResponse::Get(_) | TxnOpResponse::Delete(_) => Err(odd()),
    });
    Ok(Committed { rev, outcomes: outcomes.collect::<Result<_, _>>()? })
}

fn conflict(group: &Group, nested: &TxnResponse) -> Option<Outcome> {
    let answers = nested.op_responses();
    if answers.len() != group.conditions.len() {
        return None;
    }
    let current = answers.into_iter().map(|answer| match answer {
        TxnOpResponse::Get(mut found) => Some(found.take_kvs().pop().map(kv)),
        TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_) => None,
    });
    current.collect::<Option<Vec<Option<Kv>>>>().map(|current| Outcome::Conflict { current })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn being_there_and_not_written_after_is_two_compares() {
        let condition = |must| Condition { key: Bytes::from_static(b"k"), must };
        let count = |must| compares(&condition(must)).len();
        assert_eq!(
            [Must::BeAbsent, Must::BeUnchangedSince(3), Must::ExistNotWrittenAfter(3)].map(count),
            [1, 1, 2]
        );
    }
}
