//! All versions since the last compaction, and the leases.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use berth_types::slack::Slack;
use bytes::Bytes;
use tokio::time::Instant;

use crate::{At, Change, Changes, Kv, LeaseId, Page, Rev, StoreError};

/// The revision of an empty store; the first write is the next.
const EMPTY: Rev = 1;

/// What one revision made of a key.
#[derive(Debug, Clone)]
struct Version {
    rev: Rev,
    /// Its place among the revision's changes.
    place: u32,
    kv: Option<Kv>,
}

/// A lease and what is bound to it.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    pub(super) ttl: Duration,
    pub(super) ends: Instant,
    pub(super) keys: BTreeSet<Bytes>,
}

/// Where a version is found in the journal: its revision, and its place in it.
pub(super) type Place = (Rev, u32);

/// The store as of a revision, with its history.
#[derive(Debug)]
pub(super) struct State {
    rev: Rev,
    compacted: Rev,
    keys: BTreeMap<Bytes, Vec<Version>>,
    /// One for each revision after `compacted`, oldest first.
    log: VecDeque<Arc<Changes>>,
    leases: HashMap<LeaseId, Lease>,
    last_lease: LeaseId,
    closed: bool,
}

impl State {
    pub(super) fn empty() -> Self {
        Self {
            rev: EMPTY,
            compacted: 0,
            keys: BTreeMap::new(),
            log: VecDeque::new(),
            leases: HashMap::new(),
            last_lease: 0,
            closed: false,
        }
    }

    /// Nothing comes after this.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn closed(&self) -> bool {
        self.closed
    }

    pub(super) fn rev(&self) -> Rev {
        self.rev
    }

    /// The oldest revision that can be read, 0 when nothing was compacted.
    pub(super) fn compacted(&self) -> Rev {
        self.compacted
    }

    /// The newest version of a key.
    pub(super) fn newest(&self, key: &[u8]) -> Option<&Kv> {
        self.keys.get(key)?.last()?.kv.as_ref()
    }

    pub(super) fn get(&self, key: &[u8], at: At) -> Result<(Rev, Option<Kv>), StoreError> {
        let rev = self.readable(at)?;
        Ok((self.shown_rev(at), self.keys.get(key).and_then(|versions| as_of(versions, rev)).cloned()))
    }

    pub(super) fn range(&self, start: &[u8], end: &[u8], limit: usize, at: At) -> Result<Page, StoreError> {
        let rev = self.readable(at)?;
        let bounds = (Bound::Included(start), Bound::Excluded(end));
        let mut found = self.keys.range::<[u8], _>(bounds).filter_map(|(_, versions)| as_of(versions, rev));
        let most = if limit == 0 { usize::MAX } else { limit };
        let kvs = found.by_ref().take(most).cloned().collect();
        Ok(Page { rev: self.shown_rev(at), kvs, more: found.next().is_some() })
    }

    fn shown_rev(&self, at: At) -> Rev {
        match at {
            At::Latest => self.rev,
            At::Rev(rev) => rev,
        }
    }

    fn readable(&self, at: At) -> Result<Rev, StoreError> {
        match at {
            At::Latest => Ok(self.rev),
            At::Rev(rev) if rev > self.rev => Err(StoreError::Future { newest: self.rev }),
            At::Rev(rev) if rev < self.compacted => Err(StoreError::Compacted { oldest: self.compacted }),
            At::Rev(rev) => Ok(rev),
        }
    }

    /// The changes from `from` on, at most `most` revisions of them; None when they are not all there any more.
    pub(super) fn history(&self, from: Rev, most: usize) -> Option<impl Iterator<Item = &Arc<Changes>>> {
        let first = self.rev + 1 - Rev::try_from(self.log.len()).expect("a log fits in memory");
        // The revision of an empty store changed nothing.
        let skipped = usize::try_from(from.max(EMPTY + 1) - first).ok()?;
        Some(self.log.iter().skip(skipped).take(most))
    }

    /// Takes in the changes of the next revision.
    pub(super) fn apply(&mut self, changes: &Arc<Changes>) {
        self.rev = changes.rev;
        for (place, change) in (0..).zip(&changes.changes) {
            let version = Version { rev: changes.rev, place, kv: change.now.clone() };
            self.keys.entry(change.key.clone()).or_default().push(version);
            self.bind(change.before.as_ref(), change.now.as_ref());
        }
        self.log.push_back(changes.clone());
    }

    fn bind(&mut self, before: Option<&Kv>, now: Option<&Kv>) {
        if let Some(lease) = before.and_then(|kv| self.leases.get_mut(&kv.lease)) {
            lease.keys.remove(&before.expect("it named the lease").key);
        }
        if let Some(lease) = now.and_then(|kv| self.leases.get_mut(&kv.lease)) {
            lease.keys.insert(now.expect("it names the lease").key.clone());
        }
    }

    /// Whether a revision may be compacted.
    pub(super) fn check_compact(&self, rev: Rev) -> Result<(), StoreError> {
        if rev > self.rev {
            return Err(StoreError::Future { newest: self.rev });
        }
        if rev <= self.compacted {
            return Err(StoreError::Compacted { oldest: self.compacted });
        }
        Ok(())
    }

    /// Forgets what was before `rev`; the places of the versions that are gone.
    pub(super) fn compact(&mut self, rev: Rev) -> Vec<Place> {
        self.compacted = rev;
        self.log.retain(|changes| changes.rev > rev);
        self.log.give_back();
        let mut gone = Vec::new();
        self.keys.retain(|_, versions| {
            let older = versions.partition_point(|version| version.rev <= rev);
            let kept = versions[..older].last().filter(|last| last.kv.is_some()).map_or(0, |_| 1);
            gone.extend(versions.drain(..older - kept).map(|version| (version.rev, version.place)));
            !versions.is_empty()
        });
        gone
    }

    /// Takes in a version from the journal; they come in their order.
    pub(super) fn recall(&mut self, (rev, place): Place, key: Bytes, kv: Option<Kv>) {
        let versions = self.keys.entry(key.clone()).or_default();
        let before = versions.last().and_then(|version| version.kv.clone());
        versions.push(Version { rev, place, kv: kv.clone() });
        let change = Change { now: kv, before, key };
        match self.log.back_mut().filter(|changes| changes.rev == rev) {
            Some(changes) => Arc::make_mut(changes).changes.push(change),
            None => self.log.push_back(Arc::new(Changes { rev, changes: vec![change] })),
        }
    }

    /// All versions are recalled; the places of those that nobody can read.
    pub(super) fn recalled(&mut self, rev: Rev, compacted: Rev) -> Vec<Place> {
        self.rev = rev;
        self.compact(compacted)
    }

    /// Takes in a lease from the journal; it gets all its time again.
    pub(super) fn recall_lease(&mut self, id: LeaseId, ttl: Duration) {
        self.grant(id, ttl, Instant::now());
    }

    /// All leases are recalled: binds the keys to them.
    pub(super) fn recalled_leases(&mut self, last: LeaseId) {
        self.last_lease = self.last_lease.max(last);
        for kv in self.keys.values().filter_map(|versions| versions.last()?.kv.as_ref()) {
            if let Some(lease) = self.leases.get_mut(&kv.lease) {
                lease.keys.insert(kv.key.clone());
            }
        }
    }

    pub(super) fn lease(&self, lease: LeaseId) -> Option<&Lease> {
        self.leases.get(&lease)
    }

    /// The id that the next lease gets; no id is given twice.
    pub(super) fn next_lease(&self) -> LeaseId {
        self.last_lease + 1
    }

    pub(super) fn grant(&mut self, id: LeaseId, ttl: Duration, now: Instant) {
        self.last_lease = self.last_lease.max(id);
        self.leases.insert(id, Lease { ttl, ends: now + ttl, keys: BTreeSet::new() });
    }

    pub(super) fn renew(&mut self, id: LeaseId, now: Instant) -> Result<(), StoreError> {
        let lease = self.leases.get_mut(&id).ok_or(StoreError::NoLease(id))?;
        lease.ends = now + lease.ttl;
        Ok(())
    }

    /// Forgets a lease whose keys are gone.
    pub(super) fn end_lease(&mut self, id: LeaseId) {
        self.leases.remove(&id);
    }

    /// When the next lease runs out.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.leases.values().map(|lease| lease.ends).min()
    }

    /// Leases that have run out, the oldest first.
    pub(super) fn ended(&self, now: Instant) -> Vec<LeaseId> {
        let mut ended: Vec<_> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.ends <= now)
            .map(|(id, lease)| (lease.ends, *id))
            .collect();
        ended.sort_unstable();
        ended.into_iter().map(|(_, id)| id).collect()
    }
}

fn as_of(versions: &[Version], rev: Rev) -> Option<&Kv> {
    let older = versions.partition_point(|version| version.rev <= rev);
    versions[..older].last()?.kv.as_ref()
}
