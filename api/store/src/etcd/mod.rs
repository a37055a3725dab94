//! The store over etcd. The client library is a stub; what a dead or hanging member, a lost answer or a lost watch
//! means is decided here. A call of `commit` is one transaction with a nested one for each group.

mod address;
mod failure;
mod line;
mod member;
mod pages;
mod past;
mod transaction;
mod version;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;

use crate::{
    At, Committed, Group, Health, Kv, LeaseId, Page, Rev, Store, StoreError, WatchStream, Write, prefix_end,
    rules,
};
pub use address::etcd_addresses;
use failure::Refused;
use member::{Members, Repeat};
use watch::Watcher;

/// What ends an alarm of etcd about its space.
const REMEDY: &str = "compact etcd, defragment every member, then disarm the alarm: `etcdctl compaction REVISION`, \
                      `etcdctl defrag --cluster`, `etcdctl alarm disarm`";

/// A key that is read for the revision that comes with it; it need not be there.
const ANY_KEY: &[u8] = b"/";

/// What is done about an etcd whose version is known to lose writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unsupported {
    /// It is not used.
    #[default]
    Refuse,
    /// It is used, with a warning.
    Allow,
}

/// How etcd is used.
#[derive(Debug, Clone, Copy)]
pub struct EtcdOptions {
    /// What is done about 3.5.0 to 3.5.2.
    pub unsupported: Unsupported,
    /// How long a call may take, over all members that are tried.
    pub deadline: Duration,
    /// How long one member may take before another is tried.
    pub patience: Duration,
}

impl Default for EtcdOptions {
    fn default() -> Self {
        Self {
            unsupported: Unsupported::Refuse,
            deadline: Duration::from_secs(8),
            patience: Duration::from_secs(4),
        }
    }
}

/// The store over etcd.
pub struct EtcdStore {
    members: Arc<Members>,
}

impl EtcdStore {
    /// Connects to the members, given as `http://HOST:PORT`; at least one must answer within the deadline.
    pub async fn connect(endpoints: &[String], options: EtcdOptions) -> Result<Self, StoreError> {
        let members = Arc::new(Members::new(endpoints, &options)?);
        version::check(&members, options.unsupported).await?;
        Ok(Self { members })
    }

    /// The store's error for what etcd refused.
    async fn explain(&self, refused: Refused) -> StoreError {
        match refused {
            Refused::Compacted => match self.oldest().await {
                Ok(oldest) => StoreError::Compacted { oldest },
                Err(error) => error,
            },
            Refused::Future => match self.current_rev().await {
                Ok(newest) => StoreError::Future { newest },
                Err(error) => error,
            },
            Refused::NoLease => StoreError::NoLease(0),
            Refused::Other(error) => error,
        }
    }

    /// The oldest revision that can be read. etcd tells it to a watch from before it and to nobody else.
    async fn oldest(&self) -> Result<Rev, StoreError> {
        let mut probe = Watcher::new(self.members.clone(), ANY_KEY, &prefix_end(ANY_KEY), 1);
        match tokio::time::timeout(self.members.deadline(), probe.next()).await {
            Ok(Err(StoreError::Compacted { oldest })) => Ok(oldest),
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) => Ok(0),
            Err(_) => Err(StoreError::Unavailable("etcd does not tell its oldest revision".into())),
        }
    }

    /// The first lease of a call that etcd does not know.
    async fn missing_lease(&self, groups: &[Group]) -> StoreError {
        let leases = groups.iter().flat_map(|group| &group.writes).filter_map(|write| match write {
            Write::Put { lease, .. } => Some(*lease).filter(|lease| *lease != 0),
            Write::Delete { .. } => None,
        });
        for lease in leases {
            let left = self.members.call(Repeat::Safe, |line| async move {
                Ok(line.lease().time_to_live(lease, None).await?.ttl())
            });
            match left.await {
                Ok(left) if left > 0 => {}
                Ok(_) => return StoreError::NoLease(lease),
                Err(refused) => return self.explain(refused).await,
            }
        }
        StoreError::Unavailable("a lease came to be while it was asked for".into())
    }
}

#[async_trait]
impl Store for EtcdStore {
    fn history(&self) -> &str {
        self.members.past().name()
    }

    async fn commit(&self, groups: Vec<Group>) -> Result<Committed, StoreError> {
        rules::check(&groups)?;
        let answer = self
            .members
            .call(Repeat::Unsafe, |line| {
                let request = transaction::request(&groups);
                async move {
                    let answer = line.kv().txn(request).await?;
                    line.told(answer.header());
                    Ok(answer)
                }
            })
            .await;
        match answer {
            Ok(response) => {
                let committed = transaction::committed(&groups, response)?;
                self.members.past().tell(committed.rev);
                Ok(committed)
            }
            Err(Refused::NoLease) => Err(self.missing_lease(&groups).await),
            Err(refused) => Err(self.explain(refused).await),
        }
    }

    async fn get(&self, key: &[u8], at: At) -> Result<(Rev, Option<Kv>), StoreError> {
        rules::check_at(at)?;
        match pages::get(&self.members, key, at).await {
            Ok(found) => Ok(found),
            Err(refused) => Err(self.explain(refused).await),
        }
    }

    async fn range(&self, start: &[u8], end: &[u8], limit: usize, at: At) -> Result<Page, StoreError> {
        rules::check_range(start, end)?;
        rules::check_at(at)?;
        match pages::range(&self.members, start, end, limit, at).await {
            Ok(page) => Ok(page),
            Err(refused) => Err(self.explain(refused).await),
        }
    }

    async fn watch(&self, start: &[u8], end: &[u8], from: Rev) -> Result<WatchStream, StoreError> {
        rules::check_range(start, end)?;
        rules::check_rev(from)?;
        Ok(Watcher::new(self.members.clone(), start, end, from).stream().boxed())
    }

    async fn compact(&self, rev: Rev) -> Result<(), StoreError> {
        rules::check_rev(rev)?;
        let answer = self
            .members
            .call(Repeat::Unsafe, |line| async move { line.kv().compact(rev, None).await.map(|_| ()) });
        match answer.await {
            Ok(()) => Ok(()),
            Err(refused) => Err(self.explain(refused).await),
        }
    }

    async fn current_rev(&self) -> Result<Rev, StoreError> {
        match pages::get(&self.members, ANY_KEY, At::Latest).await {
            Ok((rev, _)) => Ok(rev),
            Err(refused) => Err(refused.plain()),
        }
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let seconds = i64::try_from(ttl.as_millis().div_ceil(1000)).unwrap_or(i64::MAX);
        let answer = self
            .members
            .call(Repeat::Safe, |line| async move { Ok(line.lease().grant(seconds, None).await?.id()) });
        answer.await.map_err(Refused::plain)
    }

    async fn lease_renew(&self, lease: LeaseId) -> Result<(), StoreError> {
        let answer = self
            .members
            .call(Repeat::Safe, |line| async move { line.lease().keep_alive(lease).await.map(|_| ()) });
        answer.await.map_err(|refused| refused.of_lease(lease))
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        let answer = self
            .members
            .call(Repeat::Unsafe, |line| async move { line.lease().revoke(lease).await.map(|_| ()) });
        answer.await.map_err(|refused| refused.of_lease(lease))
    }

    async fn health(&self) -> Result<Health, StoreError> {
        let rev = self.current_rev().await?;
        let answer = self.members.call(Repeat::Safe, |line| async move { line.maintenance().status().await });
        let status = answer.await.map_err(Refused::plain)?;
        let alarms: Vec<&str> =
            status.errors().iter().map(String::as_str).filter(|error| error.contains("alarm:")).collect();
        let read_only =
            if alarms.is_empty() { None } else { Some(format!("{}; {REMEDY}", alarms.join(", "))) };
        Ok(Health { form: format!("etcd {}", status.version()), rev, read_only, start_anew: None })
    }
}
