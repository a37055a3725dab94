//! Every form of the store keeps every law.

use std::sync::Arc;

use berth_store::EmbeddedStore;

use crate::etcd::Etcd;
use crate::suite;

#[tokio::test]
async fn the_memory_store_keeps_the_laws() {
    suite::hold(Arc::new(EmbeddedStore::memory())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_keeps_the_laws() {
    let dir = tempfile::tempdir().unwrap();
    suite::hold(Arc::new(EmbeddedStore::open(dir.path()).unwrap())).await;
}

#[tokio::test]
async fn etcd_3_5_1_keeps_the_laws() {
    suite::hold(Arc::new(Etcd::start("3.5.1").store().await)).await;
}

#[tokio::test]
async fn etcd_3_4_23_keeps_the_laws() {
    suite::hold(Arc::new(Etcd::start("3.4.23").store().await)).await;
}
