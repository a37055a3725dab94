//! This server's own key in the store: under a store lease, renewed, and made anew under a new id when it was lost.

use std::sync::Arc;
use std::time::Duration;

use berth_store::committer::{Author, Ended};
use berth_store::{Condition, Group, LeaseId, Must, Rev, StoreError, Submission, Urgency, Write};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::Shared;
use super::keys::{self, ServerValue};
use super::roll::Trouble;

/// This server as the others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// New with every start and after every lost lease.
    pub id: String,
    /// What the key is under.
    pub lease: LeaseId,
    /// The revision in which the key was put.
    pub rev: Rev,
    /// The lease surely lives until then: the sending time of the last good renewal and its time to live.
    pub valid_until: Instant,
}

/// Pause after something failed.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// Keeps this server known, for ever.
pub(super) async fn keep(shared: Arc<Shared>) {
    loop {
        match begin(&shared).await {
            Ok(standing) => {
                tracing::info!(server = standing.id, "server is known");
                shared.standing.send_replace(Some(standing.clone()));
                shared.with_roll(|roll| roll.recovered(Trouble::Lease, Instant::now()));
                renew(&shared, standing).await;
                shared.standing.send_replace(None);
                shared.with_roll(|roll| roll.trouble(Trouble::Lease));
                tracing::warn!("server's key in the store was lost");
            }
            Err(error) => {
                tracing::warn!(%error, "server could not make itself known");
                sleep(AFTER_FAILURE).await;
            }
        }
    }
}

async fn begin(shared: &Shared) -> Result<Standing, StoreError> {
    let sent = Instant::now();
    let lease = shared.store.lease_grant(shared.timing.server_ttl).await?;
    let id = uuid::Uuid::new_v4().simple().to_string();
    let value = ServerValue { endpoints: shared.endpoints.clone() };
    let value = serde_json::to_vec(&value).expect("a server's value is always JSON");
    let key = keys::server(&id);
    let group = Group {
        conditions: vec![Condition { key: key.clone(), must: Must::BeAbsent }],
        writes: vec![Write::Put { key, value: value.into(), lease }],
    };
    berth_failpoint::reach("server.key.before");
    match shared
        .committer
        .carry_out(Submission { group, urgency: Urgency::Upkeep, ..Submission::default() }, &author())
        .await?
    {
        Ended::Applied { rev, .. } => {
            berth_failpoint::reach("server.key.put");
            Ok(Standing { id, lease, rev, valid_until: sent + shared.timing.server_ttl })
        }
        Ended::Conflict { .. } | Ended::Unclear { .. } => {
            Err(StoreError::Unavailable("the key of a new server was taken".into()))
        }
    }
}

/// Renews until the lease is lost or may be.
async fn renew(shared: &Shared, mut standing: Standing) {
    let mut next = Instant::now() + shared.timing.renew_every;
    loop {
        sleep_until(next.min(standing.valid_until)).await;
        let sent = Instant::now();
        if sent >= standing.valid_until {
            return;
        }
        match timeout_at(standing.valid_until, shared.store.lease_renew(standing.lease)).await {
            Ok(Ok(())) => {
                berth_failpoint::reach("server.key.renewed");
                standing.valid_until = sent + shared.timing.server_ttl;
                next = sent + shared.timing.renew_every;
                shared.standing.send_replace(Some(standing.clone()));
                shared.with_roll(|roll| roll.recovered(Trouble::Lease, Instant::now()));
            }
            Ok(Err(StoreError::NoLease(_))) | Err(_) => return,
            Ok(Err(error)) => {
                tracing::warn!(%error, "server's lease was not renewed");
                shared.with_roll(|roll| roll.trouble(Trouble::Lease));
                next = Instant::now() + AFTER_FAILURE;
            }
        }
    }
}

/// In whose name liveness is written.
pub(super) fn author() -> Author {
    Author { name: "apiserver".into(), epoch: 0 }
}
