//! A member of etcd that hung carries a call out long after its sender gave up and settled it by another way.

use std::sync::Arc;
use std::time::Duration;

use berth_store::{
    At, Author, Committer, CommitterOptions, Condition, Ended, EtcdOptions, EtcdStore, Group, Store,
    StoreError, Unsupported, Write,
};

use crate::etcd::Etcd;
use crate::relay::Relay;

const MARK: &str = "the late one";

/// Submits a group over two ways to etcd, the first of which holds it back; removes its key, and lets the first way
/// deliver. How it ended for the submitter, and whether the key is there then.
async fn delivered_late(version: &str, conditions: Vec<Condition>) -> (Result<Ended, StoreError>, bool) {
    let etcd = Etcd::start(version);
    let direct = etcd.store().await;
    let relay = Relay::before(&etcd.urls()[0]).await;
    let options = EtcdOptions {
        unsupported: Unsupported::Allow,
        deadline: Duration::from_secs(5),
        patience: Duration::from_secs(1),
    };
    let ways = [relay.url(), etcd.urls().remove(0)];
    let store = EtcdStore::connect(&ways, options).await.unwrap();
    let committer = Committer::new(Arc::new(store), CommitterOptions::of(7));
    let author = Author::default();
    let first = Group { conditions: vec![], writes: vec![Write::put("/first", "{}")] };
    committer.submit(first, &author).await.unwrap();
    relay.hold(MARK);
    let group = Group { conditions, writes: vec![Write::put("/a", format!("\"{MARK}\""))] };
    let ended = committer.submit(group, &author).await;
    let removed = Group { conditions: vec![], writes: vec![Write::delete("/a")] };
    direct.commit(vec![removed]).await.unwrap();
    relay.release().await;
    (ended, direct.get(b"/a", At::Latest).await.unwrap().1.is_some())
}

#[tokio::test]
async fn a_create_that_a_hung_member_carries_out_late_does_nothing() {
    for version in ["3.5.1", "3.4.23"] {
        let (ended, is_there) = delivered_late(version, vec![Condition::absent("/a")]).await;
        assert!(matches!(ended, Ok(Ended::Applied { .. })), "{version}: {ended:?}");
        assert!(!is_there, "{version}: it was created again");
    }
}

/// What is sent once has an unknown outcome, and this is why.
#[tokio::test]
async fn a_put_without_conditions_may_be_carried_out_late() {
    let (ended, is_there) = delivered_late("3.5.1", vec![]).await;
    assert!(matches!(ended, Err(StoreError::Unknown(_))), "{ended:?}");
    assert!(is_there, "the relay delivers what it held back");
}
