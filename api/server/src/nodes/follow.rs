//! Keeps the roll as the store shows it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use berth_store::{At, Changes, Kv, Rev, StoreError, WatchStream, prefix_end};
use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::select_all;
use tokio::time::Instant;

use super::Shared;
use super::keys::{self, NODES, NodeValue, SERVERS, SESSIONS, ServerValue, SessionValue, read};
use super::roll::{Roll, Session, Snapshot, Trouble};

/// Keys per read.
const PAGE: usize = 500;
/// Pause before the store is looked at anew.
const AFTER_BREAK: Duration = Duration::from_millis(500);

/// Follows the store for ever; while it cannot, the roll is in trouble.
pub(super) async fn follow(shared: Arc<Shared>) {
    let mut look = Look::First;
    loop {
        if let Err(error) = follow_once(&shared, &mut look).await {
            tracing::warn!(%error, "sessions are not followed");
        }
        shared.with_roll(|roll| roll.trouble(Trouble::View));
        tokio::time::sleep(AFTER_BREAK).await;
    }
}

enum Look {
    First,
    Later,
}

async fn follow_once(shared: &Shared, look: &mut Look) -> Result<(), StoreError> {
    let (nodes_rev, nodes) = all(shared, NODES).await?;
    let (sessions_rev, sessions) = all(shared, SESSIONS).await?;
    let (servers_rev, servers) = all(shared, SERVERS).await?;
    let mut changes = select_all([
        watch(shared, NODES, nodes_rev).await?,
        watch(shared, SESSIONS, sessions_rev).await?,
        watch(shared, SERVERS, servers_rev).await?,
    ]);
    let seen = snapshot(&nodes, &sessions, &servers);
    let me = shared.standing.borrow().as_ref().map(|standing| standing.id.clone());
    shared.with_roll(|roll| {
        let now = Instant::now();
        if matches!(look, Look::First) && seen.is_fresh(me.as_deref()) {
            roll.nobody_was_here();
        }
        roll.replace(seen, now);
        roll.recovered(Trouble::View, now);
    });
    *look = Look::Later;
    while let Some(changes) = changes.next().await {
        let changes = changes?;
        shared.with_roll(|roll| take(roll, &changes, Instant::now()));
        let nodes = changes.changes.iter().filter_map(|change| change.key.strip_prefix(SESSIONS.as_bytes()));
        let roll = shared.roll();
        let mut sessions = shared.sessions();
        nodes
            .filter_map(|node| std::str::from_utf8(node).ok())
            .for_each(|node| sessions.drop_replaced(node, &roll));
    }
    Ok(())
}

/// All keys of a folder, as they were at the revision that is given with them.
async fn all(shared: &Shared, folder: &str) -> Result<(Rev, Vec<Kv>), StoreError> {
    let end = prefix_end(folder.as_bytes());
    let first = shared.store.range(folder.as_bytes(), &end, PAGE, At::Latest).await?;
    let (rev, mut kvs, mut more) = (first.rev, first.kvs, first.more);
    while let (true, Some(last)) = (more, kvs.last()) {
        let page = shared.store.range(&after(&last.key), &end, PAGE, At::Rev(rev)).await?;
        kvs.extend(page.kvs);
        more = page.more;
    }
    Ok((rev, kvs))
}

fn after(key: &[u8]) -> Bytes {
    let mut next = BytesMut::with_capacity(key.len() + 1);
    next.put_slice(key);
    next.put_u8(0);
    next.freeze()
}

async fn watch(shared: &Shared, folder: &str, seen: Rev) -> Result<WatchStream, StoreError> {
    shared.store.watch(folder.as_bytes(), &prefix_end(folder.as_bytes()), seen + 1).await
}

fn snapshot(nodes: &[Kv], sessions: &[Kv], servers: &[Kv]) -> Snapshot {
    let uids = nodes.iter().filter_map(|kv| Some((name(kv, NODES)?, read::<NodeValue>(kv)?.metadata.uid)));
    let sessions = sessions.iter().filter_map(|kv| Some((name(kv, SESSIONS)?, session(kv)?)));
    let servers = servers.iter().filter_map(|kv| Some((name(kv, SERVERS)?, read::<ServerValue>(kv)?)));
    Snapshot {
        nodes: uids.collect::<BTreeMap<_, _>>(),
        sessions: sessions.collect(),
        servers: servers.collect(),
    }
}

fn take(roll: &mut Roll, changes: &Changes, now: Instant) {
    for change in &changes.changes {
        let key = String::from_utf8_lossy(&change.key).into_owned();
        if let Some(node) = key.strip_prefix(NODES) {
            match change.now.as_ref().map(read::<NodeValue>) {
                Some(Some(value)) => roll.node_is(node, &value.metadata.uid, now),
                Some(None) => {}
                None => roll.node_gone(node),
            }
        } else if let Some(node) = key.strip_prefix(SESSIONS) {
            match change.now.as_ref().map(session) {
                Some(Some(session)) => roll.session_is(node, session, now),
                Some(None) => {}
                None => roll.session_gone(node, now),
            }
        } else if let Some(id) = key.strip_prefix(SERVERS) {
            match change.now.as_ref().map(read::<ServerValue>) {
                Some(Some(value)) => roll.server_is(id, value),
                Some(None) => {}
                None => roll.server_gone(id, now),
            }
        }
    }
}

fn session(kv: &Kv) -> Option<Session> {
    Some(Session { value: read::<SessionValue>(kv)?, rev: kv.mod_rev })
}

fn name(kv: &Kv, folder: &str) -> Option<String> {
    let key = std::str::from_utf8(&kv.key).ok()?;
    key.strip_prefix(folder).map(str::to_owned)
}

/// What the store has at `key` now.
pub(super) async fn get(shared: &Shared, key: &Bytes) -> Result<Option<Kv>, StoreError> {
    Ok(shared.store.get(key, At::Latest).await?.1)
}

/// The uid of a Node as the store has it now.
pub(super) async fn node_uid(shared: &Shared, node: &str) -> Result<Option<String>, StoreError> {
    let kv = get(shared, &keys::node(node)).await?;
    Ok(kv.as_ref().and_then(read::<NodeValue>).map(|value| value.metadata.uid))
}
