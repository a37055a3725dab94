//! The store through its trait: conditional puts of 1 KiB, a hundred in a commit and single ones; and what the condition
//! on the fence key adds, which the committer puts into every group that asks for the absence of a key.

use std::sync::Arc;
use std::time::Instant;

use berth_e2e::etcd::Etcd;
use berth_store::{
    Condition, EmbeddedStore, EtcdOptions, EtcdStore, Group, Outcome, Store, Unsupported, Write,
};

use crate::bare;
use crate::report::{Figure, Report};

/// Puts of each series, by how many go in one commit.
const SERIES: [(usize, usize); 2] = [(100, 10_000), (1, 500)];
/// Each series is run so often, the sides in turn: what the disk does to one it does to the others.
const ROUNDS: usize = 5;

/// Measures both forms and the reference.
pub fn measure(report: &mut Report) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = tempfile::Builder::new().prefix("berth-").tempdir().expect("a temporary folder");
    let etcd = Etcd::start("3.5.1", folder.path());
    runtime.block_on(async {
        let options = EtcdOptions { unsupported: Unsupported::Allow, ..EtcdOptions::default() };
        let ours = EtcdStore::connect(&[etcd.url()], options).await.expect("etcd answers");
        let embedded = EmbeddedStore::open(&folder.path().join("store")).expect("an empty folder");
        let forms: [(&'static str, Arc<dyn Store>); 2] =
            [("etcd", Arc::new(ours)), ("embedded", Arc::new(embedded))];
        for (together, count) in SERIES {
            let mut bare = Vec::new();
            let mut rates = [Vec::new(), Vec::new()];
            let mut fenced = [Vec::new(), Vec::new()];
            for _ in 0..ROUNDS {
                bare.push(bare::puts_per_second(&etcd.url(), count, together).await);
                for ((_, store), (rates, fenced)) in forms.iter().zip(rates.iter_mut().zip(&mut fenced)) {
                    rates.push(puts_per_second(&**store, count, together, Fence::Without).await);
                    fenced.push(puts_per_second(&**store, count, together, Fence::With).await);
                }
            }
            let what = format!("store: conditional puts, {together} per commit");
            let bare = median(bare);
            for ((form, _), (rates, fenced)) in forms.iter().zip(rates.into_iter().zip(fenced)) {
                let rate = median(rates);
                let figure = Figure::new(&what, rate, "1/s").on(form).of(ROUNDS);
                report.add(&figure.beside("bare etcd-client", bare));
                let what = format!("store: the same with the fence, {together} per commit");
                report.add(
                    &Figure::new(what, median(fenced), "1/s").on(form).of(ROUNDS).beside("without", rate),
                );
            }
        }
    });
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Whether each group also asks for the state of the fence key.
#[derive(Clone, Copy)]
enum Fence {
    With,
    Without,
}

/// Each put is a group of its own, as the objects of a batch are.
async fn puts_per_second(store: &dyn Store, count: usize, together: usize, fence: Fence) -> f64 {
    let run = bare::uuid();
    let value = bytes::Bytes::from(vec![b'x'; bare::VALUE]);
    let start = Instant::now();
    for first in (0..count).step_by(together) {
        let group = |n: usize| {
            let key = format!("/bench/{run}/{n:09}");
            let mut conditions = vec![Condition::absent(key.clone())];
            match fence {
                Fence::With => conditions.push(Condition::absent("/bench/fence")),
                Fence::Without => {}
            }
            Group { conditions, writes: vec![Write::put(key, value.clone())] }
        };
        let done = store.commit((first..first + together).map(group).collect()).await.expect("it commits");
        assert!(done.outcomes.iter().all(|outcome| *outcome == Outcome::Applied), "the keys were absent");
    }
    count as f64 / start.elapsed().as_secs_f64()
}
