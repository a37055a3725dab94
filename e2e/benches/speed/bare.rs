//! The reference: etcd-client alone against the same etcd, one transaction after the other.

use std::time::Instant;

use etcd_client::{Client, Compare, CompareOp, PutOptions, Txn, TxnOp, TxnOpResponse};

/// Bytes of a value.
pub const VALUE: usize = 1024;

/// Puts of 1 KiB in a second when `count` keys that must be absent are put, `together` in a transaction, each in a
/// transaction nested into it with its own outcome: what our store asks of etcd, and nothing around it.
pub async fn puts_per_second(url: &str, count: usize, together: usize) -> f64 {
    let mut client = Client::connect([url], None).await.expect("etcd answers");
    let run = uuid();
    let value = vec![b'x'; VALUE];
    let start = Instant::now();
    for first in (0..count).step_by(together) {
        let nested = (first..first + together).map(|n| {
            let key = format!("/bare/{run}/{n:09}");
            let absent = Compare::mod_revision(key.as_str(), CompareOp::Equal, 0);
            let put = TxnOp::put(key.as_str(), value.clone(), Some(PutOptions::new().with_lease(0)));
            TxnOp::txn(Txn::new().when([absent]).and_then([put]).or_else([TxnOp::get(key, None)]))
        });
        let done = client.txn(Txn::new().and_then(nested.collect::<Vec<_>>())).await.expect("etcd commits");
        let applied = |answer: &TxnOpResponse| matches!(answer, TxnOpResponse::Txn(txn) if txn.succeeded());
        assert!(done.op_responses().iter().all(applied), "the keys were absent");
    }
    count as f64 / start.elapsed().as_secs_f64()
}

/// A name that no other run has.
pub fn uuid() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!("{:x}", now.expect("the clock is past 1970").as_nanos())
}
