//! One store that a history is carried out on; its answers as text, with revisions counted from where it began.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use berth_store::{
    At, Changes, Condition, Group, Kv, LeaseId, Must, Outcome, Rev, Store, StoreError, WatchStream, Write,
};
use bytes::Bytes;
use futures::StreamExt;

use super::history::{AtStep, GroupStep, KEYS, MustStep, Step, WriteStep};

const TTL: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(20);
const SENTINEL: &str = "~";

/// A store with what the history knows of it.
pub struct Side {
    store: Option<Arc<dyn Store>>,
    prefix: String,
    base: Rev,
    newest: Rev,
    compacted: Rev,
    written: HashMap<Bytes, Rev>,
    leases: Vec<LeaseId>,
    along: Option<WatchStream>,
}

impl Side {
    pub async fn new(store: Arc<dyn Store>, seed: u64) -> Self {
        let base = store.current_rev().await.unwrap();
        Self {
            store: Some(store),
            prefix: format!("/{seed}/"),
            base,
            newest: base,
            compacted: base,
            written: HashMap::new(),
            leases: Vec::new(),
            along: None,
        }
    }

    /// Closes the store and opens it again, unless a watch runs along.
    pub fn reopen(&mut self, open: impl FnOnce() -> Arc<dyn Store>) {
        if self.along.is_none() {
            self.store = None;
            self.store = Some(open());
        }
    }

    /// The answer to a step.
    pub async fn carry_out(&mut self, step: &Step) -> String {
        match step {
            Step::Commit(groups) => self.commit(groups).await,
            Step::Get { key, at } => self.get(*key, *at).await,
            Step::Range { from, to, limit, at } => self.range(*from, *to, *limit, *at).await,
            Step::CurrentRev => self.current_rev().await,
            Step::Compact(at) => self.compact(*at).await,
            Step::Grant => self.grant().await,
            Step::Renew { lease } => self.renew(*lease).await,
            Step::Revoke { lease } => self.revoke(*lease).await,
            Step::Watch { key, from } => self.watch(*key, *from).await,
            Step::Open => self.open().await,
            Step::Close => self.close().await,
            Step::Reopen => String::new(),
        }
    }

    /// Everything that can still be read: the newest state, and every change since the last compaction.
    pub async fn whole_story(&mut self) -> String {
        let page = self.store().range(&self.key(0), &self.end(), 0, At::Latest).await.unwrap();
        let state: Vec<String> = page.kvs.iter().map(|kv| self.kv(kv)).collect();
        format!("{}\n{}", state.join(" "), self.tell(self.key(0), self.compacted + 1).await)
    }

    async fn commit(&mut self, groups: &[GroupStep]) -> String {
        let groups: Vec<Group> = groups.iter().map(|group| self.group(group)).collect();
        match self.store().commit(groups.clone()).await {
            Ok(committed) => {
                self.newest = committed.rev;
                let mut told = format!("rev {}", self.rev(committed.rev));
                for (group, outcome) in groups.into_iter().zip(&committed.outcomes) {
                    match outcome {
                        Outcome::Applied => self.learn(group, committed.rev, &mut told),
                        Outcome::Conflict { current } => {
                            let current: Vec<String> =
                                current.iter().map(|kv| self.maybe(kv.as_ref())).collect();
                            write!(told, "; conflict [{}]", current.join(", ")).unwrap();
                        }
                    }
                }
                told
            }
            Err(error) => self.error(error),
        }
    }

    fn learn(&mut self, group: Group, rev: Rev, told: &mut String) {
        told.push_str("; applied");
        for write in group.writes {
            match write {
                Write::Put { key, .. } => drop(self.written.insert(key, rev)),
                Write::Delete { key } => drop(self.written.remove(&key)),
            }
        }
    }

    fn group(&self, group: &GroupStep) -> Group {
        let must = |key: &Bytes, must: MustStep| match must {
            MustStep::Absent => Must::BeAbsent,
            MustStep::Right => {
                self.written.get(key).map_or(Must::BeAbsent, |rev| Must::BeUnchangedSince(*rev))
            }
            MustStep::Stale(back) => Must::BeUnchangedSince((self.newest - back).max(1)),
            MustStep::NotWrittenAfter(at) => Must::ExistNotWrittenAfter(self.number(at)),
        };
        let condition = |(number, kind): &(usize, MustStep)| {
            let key = self.key(*number);
            Condition { must: must(&key, *kind), key }
        };
        let write = |write: &WriteStep| match write {
            WriteStep::Put { key, value, lease } => Write::Put {
                key: self.key(*key),
                value: value.clone().into(),
                lease: lease.map_or(0, |n| self.lease(n)),
            },
            WriteStep::Delete { key } => Write::Delete { key: self.key(*key) },
        };
        Group {
            conditions: group.conditions.iter().map(condition).collect(),
            writes: group.writes.iter().map(write).collect(),
        }
    }

    async fn get(&mut self, key: usize, at: AtStep) -> String {
        match self.store().get(&self.key(key), self.at(at)).await {
            Ok((rev, kv)) => format!("at {} {}", self.rev(rev), self.maybe(kv.as_ref())),
            Err(error) => self.error(error),
        }
    }

    async fn range(&mut self, from: usize, to: usize, limit: usize, at: AtStep) -> String {
        let end = if to == KEYS.len() { self.end() } else { self.key(to) };
        match self.store().range(&self.key(from), &end, limit, self.at(at)).await {
            Ok(page) => {
                let kvs: Vec<String> = page.kvs.iter().map(|kv| self.kv(kv)).collect();
                format!("at {} more {} {}", self.rev(page.rev), page.more, kvs.join(" "))
            }
            Err(error) => self.error(error),
        }
    }

    async fn current_rev(&mut self) -> String {
        self.newest = self.store().current_rev().await.unwrap();
        format!("rev {}", self.rev(self.newest))
    }

    /// While a watch runs along nothing is compacted: etcd looks up what was before when it sends.
    async fn compact(&mut self, at: AtStep) -> String {
        let rev = self.number(at);
        if self.along.is_some() || rev <= self.base {
            return "not now".into();
        }
        match self.store().compact(rev).await {
            Ok(()) => {
                self.compacted = rev;
                "compacted".into()
            }
            Err(error) => self.error(error),
        }
    }

    async fn grant(&mut self) -> String {
        self.leases.push(self.store().lease_grant(TTL).await.unwrap());
        format!("lease {}", self.leases.len() - 1)
    }

    async fn renew(&mut self, number: usize) -> String {
        match self.store().lease_renew(self.lease(number)).await {
            Ok(()) => "renewed".into(),
            Err(error) => self.error(error),
        }
    }

    async fn revoke(&mut self, number: usize) -> String {
        match self.store().lease_revoke(self.lease(number)).await {
            Ok(()) => "revoked".into(),
            Err(error) => self.error(error),
        }
    }

    /// The oldest revision itself is left out: etcd tells of it what is left of it.
    async fn watch(&mut self, key: usize, from: AtStep) -> String {
        let from = match self.number(from).max(self.base + 1) {
            from if from == self.compacted => from + 1,
            from => from,
        };
        self.tell(self.key(key), from).await
    }

    async fn tell(&mut self, start: Bytes, from: Rev) -> String {
        let watch = self.store().watch(&start, &self.end(), from).await;
        self.up_to_a_sentinel(watch, from).await
    }

    async fn open(&mut self) -> String {
        if self.along.is_none() {
            self.newest = self.store().current_rev().await.unwrap();
            let watch = self.store().watch(&self.key(0), &self.end(), self.newest + 1).await.unwrap();
            self.along = Some(watch);
        }
        String::new()
    }

    async fn close(&mut self) -> String {
        match self.along.take() {
            Some(watch) => self.up_to_a_sentinel(Ok(watch), self.newest).await,
            None => String::new(),
        }
    }

    /// What a watch tells up to a sentinel that is put now. One form refuses a watch when it is opened, another when
    /// it is read.
    async fn up_to_a_sentinel(&mut self, watch: Result<WatchStream, StoreError>, from: Rev) -> String {
        loop {
            let put = Write::put(format!("{}{SENTINEL}", self.prefix), "end");
            let group = Group { conditions: vec![], writes: vec![put] };
            self.newest = self.store().commit(vec![group]).await.unwrap().rev;
            if self.newest >= from {
                break;
            }
        }
        let mut watch = match watch {
            Ok(watch) => watch,
            Err(error) => return self.error(error),
        };
        let mut told = String::new();
        loop {
            let next = tokio::time::timeout(PATIENCE, watch.next()).await;
            match next.expect("the watch stands still").expect("the watch ended without an error") {
                Ok(changes) => {
                    write!(told, "{}; ", self.changes(&changes)).unwrap();
                    if changes.rev >= self.newest {
                        return told;
                    }
                }
                Err(error) => return told + &self.error(error),
            }
        }
    }

    fn changes(&self, changes: &Changes) -> String {
        let mut told = self.rev(changes.rev).to_string();
        for change in &changes.changes {
            let (before, now) = (self.maybe(change.before.as_ref()), self.maybe(change.now.as_ref()));
            write!(told, " {}: {before} > {now},", change.key.escape_ascii()).unwrap();
        }
        told
    }

    fn error(&self, error: StoreError) -> String {
        match error {
            StoreError::Compacted { oldest } => format!("compacted, oldest {}", self.rev(oldest)),
            StoreError::Future { newest } => format!("future, newest {}", self.rev(newest)),
            StoreError::NoLease(lease) => format!("no lease {}", self.lease_number(lease)),
            StoreError::BadCall(why) => format!("bad call: {why}"),
            other @ (StoreError::Lagged
            | StoreError::Full(_)
            | StoreError::Unavailable(_)
            | StoreError::Unknown(_)
            | StoreError::Replaced(_)
            | StoreError::Damaged(_)) => panic!("{other}"),
        }
    }

    fn kv(&self, kv: &Kv) -> String {
        format!(
            "{}={} create {} mod {} version {} lease {}",
            kv.key.escape_ascii(),
            kv.value.escape_ascii(),
            self.rev(kv.create_rev),
            self.rev(kv.mod_rev),
            kv.version,
            self.lease_number(kv.lease)
        )
    }

    fn maybe(&self, kv: Option<&Kv>) -> String {
        kv.map_or_else(|| "-".into(), |kv| self.kv(kv))
    }

    fn store(&self) -> Arc<dyn Store> {
        self.store.clone().expect("it is open between steps")
    }

    fn key(&self, number: usize) -> Bytes {
        format!("{}{}", self.prefix, KEYS[number]).into()
    }

    fn end(&self) -> Bytes {
        berth_store::prefix_end(self.prefix.as_bytes())
    }

    fn rev(&self, rev: Rev) -> Rev {
        rev - self.base
    }

    fn number(&self, at: AtStep) -> Rev {
        match at {
            AtStep::Latest => self.newest,
            AtStep::Back(back) => (self.newest - back).max(self.base),
        }
    }

    fn at(&self, at: AtStep) -> At {
        match at {
            AtStep::Latest => At::Latest,
            AtStep::Back(_) => At::Rev(self.number(at)),
        }
    }

    /// A lease that was granted, or one that never was.
    fn lease(&self, number: usize) -> LeaseId {
        self.leases.get(number).copied().unwrap_or(LeaseId::MAX - 1)
    }

    fn lease_number(&self, lease: LeaseId) -> String {
        match self.leases.iter().position(|known| *known == lease) {
            Some(number) => number.to_string(),
            None if lease == 0 => "none".into(),
            None => "unknown".into(),
        }
    }
}
