//! Who is present, as a pure state: what the store shows of nodes, sessions and servers, and when it was seen.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use berth_store::Rev;
use tokio::time::Instant;

use super::keys::{ServerValue, SessionValue};

/// The nodes, sessions and servers in the store.
#[derive(Debug)]
pub struct Roll {
    judge_after: Duration,
    server_lost_grace: Duration,
    nodes: BTreeMap<String, Node>,
    sessions: BTreeMap<String, Session>,
    servers: BTreeMap<String, ServerValue>,
    /// Servers that sessions name and that have no key: since when.
    lost: BTreeMap<String, Instant>,
    troubles: BTreeSet<Trouble>,
    judges_from: Instant,
    start: Start,
}

/// What this server found when it began to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// Others may have been here: agents may be on their way to this server, unseen.
    AmongOthers,
    /// Nobody: nobody can be misjudged.
    First,
}

#[derive(Debug)]
struct Node {
    uid: String,
    /// When it was last seen to lose its session, or first seen without one.
    alone_since: Instant,
}

/// A session as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// What its key says.
    pub value: SessionValue,
    /// The revision in which it was put.
    pub rev: Rev,
}

/// Why this server may not judge at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// It does not see what happens in the store.
    View,
    /// It has no lease, or could not renew it.
    Lease,
    /// The store takes no writes: an agent that lost its session cannot open another, here or elsewhere.
    Full,
}

/// Whether a node is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// It has a session at a server that lives.
    Present,
    /// It has none since then.
    Absent(Instant),
}

/// All that the store shows at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Name and uid of each Node.
    pub nodes: BTreeMap<String, String>,
    /// The session of each node that has one.
    pub sessions: BTreeMap<String, Session>,
    /// Each server.
    pub servers: BTreeMap<String, ServerValue>,
}

impl Snapshot {
    /// Whether nobody was here before `me`: no node can be anywhere that is not seen.
    pub fn is_fresh(&self, me: Option<&str>) -> bool {
        let no_other = self.servers.keys().all(|id| Some(id.as_str()) == me);
        self.nodes.is_empty() && self.sessions.is_empty() && no_other
    }
}

impl Roll {
    /// Nothing is known, and nobody is judged.
    pub fn new(judge_after: Duration, server_lost_grace: Duration, now: Instant) -> Self {
        Self {
            judge_after,
            server_lost_grace,
            nodes: BTreeMap::new(),
            sessions: BTreeMap::new(),
            servers: BTreeMap::new(),
            lost: BTreeMap::new(),
            troubles: BTreeSet::from([Trouble::View, Trouble::Lease]),
            judges_from: now + judge_after,
            start: Start::AmongOthers,
        }
    }

    /// Takes over what the store shows, after it was not followed for a while.
    pub fn replace(&mut self, seen: Snapshot, now: Instant) {
        let gone: Vec<String> =
            self.nodes.keys().filter(|name| !seen.nodes.contains_key(*name)).cloned().collect();
        gone.iter().for_each(|name| self.node_gone(name));
        let closed: Vec<String> =
            self.sessions.keys().filter(|name| !seen.sessions.contains_key(*name)).cloned().collect();
        closed.iter().for_each(|name| self.session_gone(name, now));
        let ended: Vec<String> =
            self.servers.keys().filter(|id| !seen.servers.contains_key(*id)).cloned().collect();
        seen.servers.into_iter().for_each(|(id, value)| self.server_is(&id, value));
        ended.iter().for_each(|id| self.server_gone(id, now));
        seen.nodes.into_iter().for_each(|(name, uid)| self.node_is(&name, &uid, now));
        seen.sessions.into_iter().for_each(|(name, session)| self.session_is(&name, session, now));
    }

    /// There is a Node of this uid.
    pub fn node_is(&mut self, name: &str, uid: &str, now: Instant) {
        match self.nodes.get_mut(name) {
            Some(node) if node.uid == uid => {}
            Some(_) | None => {
                self.nodes.insert(name.into(), Node { uid: uid.into(), alone_since: now });
            }
        }
    }

    /// There is no Node of this name.
    pub fn node_gone(&mut self, name: &str) {
        self.nodes.remove(name);
    }

    /// The node's session is this one.
    pub fn session_is(&mut self, node: &str, session: Session, now: Instant) {
        let server = &session.value.server;
        if !self.servers.contains_key(server) {
            self.lost.entry(server.clone()).or_insert(now);
        }
        self.sessions.insert(node.into(), session);
    }

    /// The node has no session.
    pub fn session_gone(&mut self, node: &str, now: Instant) {
        let ended = self.sessions.remove(node);
        if let (Some(_), Some(node)) = (ended, self.nodes.get_mut(node)) {
            node.alone_since = now;
        }
    }

    /// The server's key is there.
    pub fn server_is(&mut self, id: &str, value: ServerValue) {
        self.lost.remove(id);
        self.servers.insert(id.into(), value);
    }

    /// The server's key is gone.
    pub fn server_gone(&mut self, id: &str, now: Instant) {
        self.servers.remove(id);
        let named = &self.sessions;
        self.lost.retain(|lost, _| named.values().any(|session| session.value.server == *lost));
        if named.values().any(|session| session.value.server == id) {
            self.lost.insert(id.into(), now);
        }
    }

    /// This server is in trouble: it judges nobody. Whether that is news.
    pub fn trouble(&mut self, trouble: Trouble) -> bool {
        self.troubles.insert(trouble)
    }

    /// A trouble is over; with the last one begins the time after which it judges again.
    pub fn recovered(&mut self, trouble: Trouble, now: Instant) {
        if !self.troubles.remove(&trouble) || !self.troubles.is_empty() {
            return;
        }
        self.judges_from = match std::mem::replace(&mut self.start, Start::AmongOthers) {
            Start::AmongOthers => now + self.judge_after,
            Start::First => now,
        };
    }

    /// The cluster was empty when this server began to look: it judges as soon as it sees.
    pub fn nobody_was_here(&mut self) {
        self.start = Start::First;
    }

    /// Whether it shows what the store has.
    pub fn sees(&self) -> bool {
        !self.troubles.contains(&Trouble::View)
    }

    /// Whether this server may be judged by.
    pub fn believed(&self, now: Instant) -> bool {
        self.troubles.is_empty() && now >= self.judges_from
    }

    /// Whether each node is there: name, uid, sight.
    pub fn sights(&self, now: Instant) -> impl Iterator<Item = (&str, &str, Sight)> {
        self.nodes
            .iter()
            .map(move |(name, node)| (name.as_str(), node.uid.as_str(), self.sight(name, node, now)))
    }

    /// When the passing of time alone changes something next.
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        let grace_ends = self.lost.values().map(|since| *since + self.server_lost_grace);
        grace_ends.chain([self.judges_from]).filter(|due| *due > now).min()
    }

    /// The session of a node.
    pub fn session(&self, node: &str) -> Option<&Session> {
        self.sessions.get(node)
    }

    /// Sessions that name this server.
    pub fn sessions_of<'a>(&'a self, server: &'a str) -> impl Iterator<Item = (&'a str, &'a Session)> {
        let sessions = self.sessions.iter().map(|(name, session)| (name.as_str(), session));
        sessions.filter(move |(_, session)| session.value.server == server)
    }

    /// Where a server can be reached; none when it has no key.
    pub fn endpoints(&self, server: &str) -> Option<&[String]> {
        self.servers.get(server).map(|value| value.endpoints.as_slice())
    }

    /// The uid of a Node.
    pub fn node_uid(&self, name: &str) -> Option<&str> {
        self.nodes.get(name).map(|node| node.uid.as_str())
    }

    fn sight(&self, name: &str, node: &Node, now: Instant) -> Sight {
        let Some(session) = self.sessions.get(name).filter(|session| session.value.node_uid == node.uid)
        else {
            return Sight::Absent(node.alone_since);
        };
        match self.lost.get(&session.value.server).map(|since| *since + self.server_lost_grace) {
            Some(ended) if now >= ended => Sight::Absent(ended),
            Some(_) | None => Sight::Present,
        }
    }
}
