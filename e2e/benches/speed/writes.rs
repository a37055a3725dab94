//! What was written to the store since a revision, counted from the store's own history after Berth has ended.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_e2e::World;
use berth_store::{EmbeddedStore, EtcdOptions, EtcdStore, Group, Rev, Store, Unsupported, Write, prefix_end};
use futures::StreamExt;
use tokio::time::timeout;

/// For one event of a history that is already there.
const LIMIT: Duration = Duration::from_secs(60);
const ALL: &[u8] = b"/berth/";
/// Written when the count begins: all that is to be counted comes before it.
const END: &[u8] = b"/berth/-/counted";

/// What was written.
#[derive(Debug, Default)]
pub struct Writes {
    /// Revisions: calls that wrote anything.
    pub revisions: usize,
    /// Puts and deletes.
    pub writes: usize,
    /// The same by what was written: `tasks`, `nodes`, or the system's own.
    pub by_kind: BTreeMap<String, usize>,
}

/// Counts what `world`'s store has after revision `rev`. The embedded store must be closed.
pub async fn since(world: &World, rev: Rev) -> Writes {
    match world.etcd_url() {
        Some(url) => {
            let options = EtcdOptions { unsupported: Unsupported::Allow, ..EtcdOptions::default() };
            count(&EtcdStore::connect(&[url], options).await.expect("etcd answers"), rev).await
        }
        None => {
            let store = EmbeddedStore::open(&world.data().join("store")).expect("the journal can be read");
            count(&store, rev).await
        }
    }
}

async fn count(store: &dyn Store, rev: Rev) -> Writes {
    let end = Group { conditions: vec![], writes: vec![Write::put(END, "")] };
    store.commit(vec![end]).await.expect("the store takes a write");
    let mut history = store.watch(ALL, &prefix_end(ALL), rev + 1).await.expect("nothing is compacted yet");
    let mut writes = Writes::default();
    loop {
        let next = timeout(LIMIT, history.next()).await.expect("the history goes on to its end");
        let changes = next.expect("a watch does not end").expect("nothing is compacted yet").changes;
        if changes.iter().any(|change| &*change.key == END) {
            return writes;
        }
        writes.revisions += 1;
        for change in changes {
            writes.writes += 1;
            *writes.by_kind.entry(kind(&change.key)).or_default() += 1;
        }
    }
}

/// `/berth/<group>/<plural>/...`, or `/berth/-/<what>/...` of the system.
fn kind(key: &[u8]) -> String {
    let text = String::from_utf8_lossy(key);
    let mut parts = text.split('/').skip(2);
    let (group, plural) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if group == "-" { format!("-/{plural}") } else { plural.to_string() }
}
