//! The reference: etcd-client alone against the same etcd, one transaction after the other.

use std::time::Instant;

use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp};

/// Bytes of a value.
pub const VALUE: usize = 1024;

/// Puts of 1 KiB in a second when `count` keys that must be absent are put, `together` in a transaction.
pub async fn puts_per_second(url: &str, count: usize, together: usize) -> f64 {
    let mut client = Client::connect([url], None).await.expect("etcd answers");
    let run = uuid();
    let value = vec![b'x'; VALUE];
    let start = Instant::now();
    for first in (0..count).step_by(together) {
        let keys: Vec<String> = (first..first + together).map(|n| format!("/bare/{run}/{n:09}")).collect();
        let absent = |key: &String| Compare::version(key.as_str(), CompareOp::Equal, 0);
        let conditions: Vec<Compare> = keys.iter().map(absent).collect();
        let puts: Vec<TxnOp> = keys.iter().map(|key| TxnOp::put(key.as_str(), value.clone(), None)).collect();
        let done = client.txn(Txn::new().when(conditions).and_then(puts)).await.expect("etcd commits");
        assert!(done.succeeded(), "the keys were absent");
    }
    count as f64 / start.elapsed().as_secs_f64()
}

/// A name that no other run has.
pub fn uuid() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!("{:x}", now.expect("the clock is past 1970").as_nanos())
}
