//! The same seeded history on two stores: every answer must be the same text. The memory store is the model; etcd
//! and the embedded store, which is closed and opened between steps, are held against it.
//!
//! `BERTH_DIFFERENTIAL_SEEDS` says how many histories of 300 operations (default 52), `BERTH_DIFFERENTIAL_FIRST_SEED`
//! where to begin (default `BERTH_SEED`). `.ci/soak` asks for a million operations, in parts.

mod history;
mod side;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use berth_store::{EmbeddedStore, Store};

use crate::etcd::Etcd;
use crate::soak::{compared, number, seed};
use history::{STEPS, Step, history};
use side::Side;

/// Histories that run at a time, each on an etcd of its own: they mostly wait for it.
const BESIDE: usize = 3;

#[tokio::test]
async fn etcd_3_5_1_differs_in_nothing_from_the_model() {
    against_etcd("3.5.1").await;
}

#[tokio::test]
async fn etcd_3_4_23_differs_in_nothing_from_the_model() {
    against_etcd("3.4.23").await;
}

async fn against_etcd(version: &str) {
    let began = Instant::now();
    futures::future::join_all((0..BESIDE).map(|part| part_against_etcd(version, part))).await;
    let operations = seeds().count() * STEPS;
    eprintln!("etcd {version}: {operations} operations in {:?}, no difference", began.elapsed());
}

async fn part_against_etcd(version: &str, part: usize) {
    let etcd = Etcd::start(version);
    let store: Arc<dyn Store> = Arc::new(etcd.store().await);
    for seed in seeds().skip(part).step_by(BESIDE) {
        let model = Side::new(Arc::new(EmbeddedStore::memory()), seed).await;
        let other = Side::new(store.clone(), seed).await;
        compare(seed, model, other, None).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_differs_in_nothing_though_it_is_opened_anew() {
    for seed in seeds().take(10) {
        let dir = tempfile::tempdir().unwrap();
        let model = Side::new(Arc::new(EmbeddedStore::memory()), seed).await;
        let other = Side::new(Arc::new(EmbeddedStore::open(dir.path()).unwrap()), seed).await;
        compare(seed, model, other, Some(dir.path())).await;
    }
}

fn seeds() -> std::ops::Range<u64> {
    let first = number("BERTH_DIFFERENTIAL_FIRST_SEED", seed());
    first..first + number("BERTH_DIFFERENTIAL_SEEDS", 52)
}

/// Runs the seed's history on both; `reopen` is the data folder of the other side, if it has one.
async fn compare(seed: u64, mut model: Side, mut other: Side, reopen: Option<&Path>) {
    for (number, step) in history(seed).iter().enumerate() {
        if let (Step::Reopen, Some(dir)) = (step, reopen) {
            other.reopen(|| Arc::new(EmbeddedStore::open(dir).unwrap()));
        }
        let expected = model.carry_out(step).await;
        let answer = other.carry_out(step).await;
        assert_eq!(
            answer, expected,
            "seed {seed}, step {number}: {step:?}\n(again: BERTH_DIFFERENTIAL_FIRST_SEED={seed} BERTH_DIFFERENTIAL_SEEDS=1)"
        );
    }
    assert_eq!(other.whole_story().await, model.whole_story().await, "seed {seed}, at the end");
    compared(history(seed).len());
}
