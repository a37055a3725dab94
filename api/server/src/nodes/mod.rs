//! Who is there: the sessions of node agents, presence, and the logs that come back through the sessions.
//!
//! A node is present while `session/<node>` names a server whose `server/<id>` key lives. Only the server keys are
//! under a store lease, so a heartbeat costs no write: it is answered while the session is this server's own and the
//! server's lease is surely valid for a while; silence removes the session; a server that vanishes takes its key
//! along, and its nodes have some seconds to open a session elsewhere.

mod follow;
mod fullness;
mod keys;
mod logs;
mod presence;
mod roll;
mod service;
mod session;
mod standing;
mod sweep;
#[cfg(test)]
mod tests;
mod timing;
mod tunnels;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_proto::v1::nodes_server::NodesServer;
use berth_store::committer::Committer;
use berth_store::{Store, StoreError};
use berth_types::{Reason, Status};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use timing::Timing;

use roll::Roll;
use session::Sessions;
use standing::Standing;
use tunnels::Tunnels;

/// The part of a server that knows which agents are there. Clones share it; its tasks end with the last clone.
#[derive(Clone)]
pub struct Nodes {
    shared: Arc<Shared>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

/// What the tasks and the calls share.
struct Shared {
    store: Arc<dyn Store>,
    committer: Committer,
    timing: Timing,
    cluster_uid: String,
    /// Where other servers and clients reach this one.
    endpoints: Vec<String>,
    roll: Mutex<Roll>,
    /// Raised when the roll changed.
    changed: watch::Sender<u64>,
    standing: watch::Sender<Option<Standing>>,
    sessions: Mutex<Sessions>,
    tunnels: Tunnels,
    /// Turns true when the server stops: what streams for ever ends then.
    stopped: watch::Sender<bool>,
}

impl Nodes {
    /// Makes this server known in the store and begins to follow who is there. `endpoints` are the addresses
    /// (`unix:PATH`, `http://HOST:PORT`) under which the other servers reach this one. Needs a tokio runtime.
    pub fn start(
        store: Arc<dyn Store>,
        committer: Committer,
        cluster_uid: &str,
        endpoints: Vec<String>,
        timing: Timing,
    ) -> Self {
        let shared = Arc::new(Shared {
            store,
            committer,
            timing,
            cluster_uid: cluster_uid.into(),
            endpoints,
            roll: Mutex::new(Roll::new(timing.judge_after, timing.server_lost_grace, Instant::now())),
            changed: watch::Sender::new(0),
            standing: watch::Sender::new(None),
            sessions: Mutex::new(Sessions::default()),
            tunnels: Tunnels::default(),
            stopped: watch::Sender::new(false),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(standing::keep(shared.clone()));
        tasks.spawn(follow::follow(shared.clone()));
        tasks.spawn(sweep::sweep(shared.clone()));
        tasks.spawn(fullness::attend(shared.clone()));
        Self { shared, tasks: Arc::new(Mutex::new(tasks)) }
    }

    /// The gRPC service.
    pub fn service(&self) -> NodesServer<Self> {
        NodesServer::new(self.clone())
    }

    /// This server's id in the store; new with every start and after every lost lease, none while it has none.
    pub fn server_id(&self) -> Option<String> {
        self.shared.standing.borrow().as_ref().map(|standing| standing.id.clone())
    }

    /// Ends every session and takes this server's key back, so that its agents go elsewhere at once.
    pub async fn stop(&self) -> Result<(), StoreError> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        let standing = self.shared.standing.send_replace(None);
        self.shared.stopped.send_replace(true);
        self.shared.sessions().close_all("the server stops");
        match standing {
            Some(standing) => self.shared.store.lease_revoke(standing.lease).await,
            None => Ok(()),
        }
    }
}

impl Shared {
    fn roll(&self) -> MutexGuard<'_, Roll> {
        self.roll.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the roll and wakes who follows it.
    fn with_roll<T>(&self, change: impl FnOnce(&mut Roll) -> T) -> T {
        let answer = change(&mut self.roll());
        self.changed.send_modify(|count| *count += 1);
        answer
    }

    /// This server's standing, if its lease is surely valid for `left` more.
    fn valid_standing(&self, left: std::time::Duration) -> Option<Standing> {
        self.standing.borrow().clone().filter(|standing| standing.valid_until >= Instant::now() + left)
    }
}

/// What a failure of the store means to an agent or a reader of logs.
fn failure(error: &StoreError) -> Status {
    let reason = match error {
        StoreError::Unavailable(_) | StoreError::Lagged | StoreError::Full(_) | StoreError::Replaced(_) => {
            Reason::Unavailable
        }
        // A session whose outcome is unknown is opened again under a larger number.
        StoreError::Unknown(_) => Reason::Unavailable,
        StoreError::Compacted { .. }
        | StoreError::Future { .. }
        | StoreError::NoLease(_)
        | StoreError::BadCall(_)
        | StoreError::Damaged(_) => Reason::InternalError,
    };
    Status::new(reason, error.to_string())
}
