//! Ends the sessions of agents that fell silent, of Nodes that are gone, and of a server id that was lost.

use std::sync::Arc;
use std::time::Duration;

use berth_store::committer::Ended;
use berth_store::{Condition, Group, Must, Rev, Write};
use berth_types::{Reason, Status};
use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::Shared;
use super::follow::node_uid;
use super::keys;
use super::session::{Open, no_such_node};
use super::standing::author;

/// One session that is to end.
struct Ending {
    node: String,
    rev: Rev,
    why: Status,
}

/// Looks after all sessions, for ever.
pub(super) async fn sweep(shared: Arc<Shared>) {
    let mut last = Instant::now();
    loop {
        sleep(shared.timing.tick).await;
        let now = Instant::now();
        let late = now.duration_since(last).saturating_sub(shared.timing.tick);
        last = now;
        if late >= shared.timing.late {
            count_anew(&shared, late, now);
        }
        drop_replaced(&shared);
        adopt(&shared, now);
        close_those_of_a_lost_id(&shared);
        let mut ending = silent(&shared, now);
        ending.extend(homeless(&shared).await);
        join_all(ending.into_iter().map(|ending| end(&shared, ending))).await;
    }
}

/// This process stood still: what the agents sent meanwhile is not read yet.
fn count_anew(shared: &Shared, late: Duration, now: Instant) {
    tracing::warn!(?late, "server stood still; silence of agents is counted anew");
    shared.sessions().iter_mut().for_each(|(_, open)| open.heard = now);
}

/// A session may be replaced elsewhere before it is noted here.
fn drop_replaced(shared: &Shared) {
    let roll = shared.roll();
    let mut sessions = shared.sessions();
    let nodes: Vec<String> = sessions.iter_mut().map(|(node, _)| node.clone()).collect();
    nodes.iter().for_each(|node| sessions.drop_replaced(node, &roll));
}

/// Sessions in the store that name this server and that it does not know: a put whose outcome stayed unknown. They
/// fall silent like any other.
fn adopt(shared: &Shared, now: Instant) {
    let Some(standing) = shared.standing.borrow().clone() else { return };
    let roll = shared.roll();
    let mut sessions = shared.sessions();
    for (node, session) in roll.sessions_of(&standing.id) {
        if sessions.get(node).is_none_or(|open| open.rev < session.rev) {
            let open = Open {
                rev: session.rev,
                server: standing.id.clone(),
                node_uid: session.value.node_uid.clone(),
                heard: now,
                agent: None,
            };
            sessions.insert(node, open);
        }
    }
}

/// Their keys name a server whose key is gone: no deletion, their nodes have the time that any lost server's have.
fn close_those_of_a_lost_id(shared: &Shared) {
    let id = shared.standing.borrow().as_ref().map(|standing| standing.id.clone());
    let why = Status::new(Reason::Unavailable, "this server lost its key in the store");
    let mut sessions = shared.sessions();
    let lost: Vec<(String, Rev)> = sessions
        .iter_mut()
        .filter(|(_, open)| Some(&open.server) != id.as_ref())
        .map(|(node, open)| (node.clone(), open.rev))
        .collect();
    lost.iter().for_each(|(node, rev)| sessions.close(node, *rev, &why));
}

fn silent(shared: &Shared, now: Instant) -> Vec<Ending> {
    let limit = shared.timing.silence;
    let mut sessions = shared.sessions();
    let silent = sessions.iter_mut().filter(|(_, open)| now.duration_since(open.heard) >= limit);
    silent
        .map(|(node, open)| Ending {
            node: node.clone(),
            rev: open.rev,
            why: Status::new(Reason::Unavailable, format!("node `{node}` was silent for {limit:?}")),
        })
        .collect()
}

/// Sessions whose Node is gone. The roll may lag behind a Node that was just made, so the store has the last word.
async fn homeless(shared: &Shared) -> Vec<Ending> {
    let suspects: Vec<(String, Rev, String)> = {
        let roll = shared.roll();
        if !roll.sees() {
            return Vec::new();
        }
        let mut sessions = shared.sessions();
        let homeless = sessions.iter_mut().filter(|(node, open)| roll.node_uid(node) != Some(&open.node_uid));
        homeless.map(|(node, open)| (node.clone(), open.rev, open.node_uid.clone())).collect()
    };
    let mut ending = Vec::new();
    for (node, rev, uid) in suspects {
        // Without an answer of the store the session stays: the next tick asks again.
        let Ok(there) = node_uid(shared, &node).await else { continue };
        if there.as_ref() != Some(&uid) {
            ending.push(Ending { why: no_such_node(&node, &uid), node, rev });
        }
    }
    ending
}

/// Deletes the session's key if it still is the one that this server put, and closes the stream. When the store does
/// not answer, the next tick tries again: until then the node counts as present.
async fn end(shared: &Shared, ending: Ending) {
    let key = keys::session(&ending.node);
    let group = Group {
        conditions: vec![Condition { key: key.clone(), must: Must::BeUnchangedSince(ending.rev) }],
        writes: vec![Write::Delete { key }],
    };
    berth_failpoint::reach("server.session.ending");
    match shared.committer.submit(group, &author()).await {
        Ok(Ended::Applied { .. } | Ended::Conflict { .. } | Ended::Unclear { .. }) => {
            tracing::info!(node = ending.node, why = ending.why.message, "session ended");
            shared.sessions().close(&ending.node, ending.rev, &ending.why);
        }
        Err(error) => tracing::warn!(node = ending.node, %error, "session could not be ended"),
    }
}
