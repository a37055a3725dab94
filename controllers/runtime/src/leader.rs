//! Leads by a Lease: runs a term while the Lease is ours, ends it the moment it is not.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use berth_client::{Client, Error, Fence, Query, Update, Watch, Write};
use berth_types::lease::Lease;
use berth_types::{Clock, SteadyClock};
use tokio::time::{Instant, timeout_at};

use crate::lease::{Candidate, Move, Seen, Timing};

/// Which Lease, who asks for it, and how long it lasts.
#[derive(Debug, Clone)]
pub struct LeaseTerms {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Who asks: new with every process.
    pub process: String,
    /// How long it lasts.
    pub timing: Timing,
}

impl LeaseTerms {
    /// The Lease `name` of `namespace`, asked for under an identity that nobody had before.
    pub fn new(namespace: &str, name: &str) -> Self {
        let process = format!("{name}-{}", uuid::Uuid::new_v4().simple());
        Self { namespace: namespace.into(), name: name.into(), process, timing: Timing::default() }
    }

    /// With other durations.
    pub fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }
}

/// One time of leading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// What every write carries; none for who leads without a Lease, alone by nature (a node's agent).
    pub fence: Option<Fence>,
}

/// Competes for a Lease and runs terms.
pub struct Leader {
    client: Client,
    terms: LeaseTerms,
    candidate: Candidate,
    lease: Watch<Lease>,
    clock: Arc<dyn Clock>,
    /// Whether a write of the Lease has no answer yet.
    in_doubt: bool,
}

/// Pause after a write of the Lease that did not succeed.
const AFTER_FAILURE: Duration = Duration::from_millis(500);
/// For one write or read of the Lease.
const CALL: Duration = Duration::from_secs(3);

impl Leader {
    /// A candidate for the Lease.
    pub fn new(client: Client, terms: LeaseTerms) -> Self {
        let query = Query::of::<Lease>()
            .in_namespace(terms.namespace.as_str())
            .fields(format!("metadata.name={}", terms.name));
        let candidate =
            Candidate::new(&terms.namespace, &terms.name, &terms.process, terms.timing, Instant::now());
        let lease = client.watch_as::<Lease>(&query);
        Self { client, terms, candidate, lease, clock: Arc::new(SteadyClock), in_doubt: false }
    }

    /// With another clock for the times that people read; leading itself goes by the monotonic one.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Runs `term` whenever the Lease is ours; drops it at once when leading is over. Ends when `stop` does, with the
    /// Lease given back, so that a standby takes over without waiting.
    pub async fn run<F>(mut self, stop: impl Future<Output = ()>, term: impl Fn(Term) -> F)
    where
        F: Future<Output = ()>,
    {
        let mut stop = pin!(stop);
        loop {
            let epoch = tokio::select! {
                () = &mut stop => break,
                epoch = self.acquire() => epoch,
            };
            tracing::info!(lease = self.terms.name, epoch, "leads");
            let running = term(Term { fence: Some(self.fence(epoch)) });
            tokio::select! {
                () = &mut stop => break,
                () = running => tracing::warn!(lease = self.terms.name, epoch, "term ended by itself"),
                () = self.hold() => tracing::warn!(lease = self.terms.name, epoch, "leads no longer"),
            }
            self.give_back().await;
        }
        self.give_back().await;
    }

    fn fence(&self, epoch: i64) -> Fence {
        Fence { namespace: self.terms.namespace.clone(), lease: self.terms.name.clone(), epoch }
    }

    /// Waits until this candidate leads; its epoch.
    async fn acquire(&mut self) -> i64 {
        loop {
            self.go_on().await;
            if let Some(epoch) = self.candidate.epoch() {
                return epoch;
            }
        }
    }

    /// Renews until leading is over.
    async fn hold(&mut self) {
        while self.candidate.epoch().is_some() {
            self.go_on().await;
        }
    }

    /// One move, or one change of the Lease.
    async fn go_on(&mut self) {
        match self.candidate.next(Instant::now(), self.clock.now()) {
            Move::Wait(until) => {
                if let Ok(update) = timeout_at(until, self.lease.next()).await {
                    self.watched(update).await;
                }
            }
            Move::Create(lease) => self.send(Write::create(&*lease)).await,
            Move::Update(lease) => self.send(Write::update(&*lease)).await,
            Move::Stop => {}
        }
    }

    async fn watched(&mut self, update: Result<Update<Lease>, Error>) {
        let now = Instant::now();
        match update {
            Ok(Update::Initial { objects, .. } | Update::Restarted { objects, .. }) => {
                let seen =
                    objects.into_iter().next().map_or(Seen::Absent, |lease| Seen::Present(Box::new(lease)));
                self.candidate.saw(seen, now);
            }
            Ok(Update::Changes { changes, .. }) => {
                for change in changes {
                    let seen = match change {
                        berth_client::Change::Added(lease) | berth_client::Change::Modified(lease) => {
                            Seen::Present(Box::new(lease))
                        }
                        berth_client::Change::Deleted(_) => Seen::Absent,
                    };
                    self.candidate.saw(seen, now);
                }
            }
            Ok(Update::Bookmark { .. }) => {}
            Err(why) => {
                tracing::warn!(lease = self.terms.name, %why, "could not watch the Lease");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }

    async fn send(&mut self, write: Write) {
        let sent = Instant::now();
        let until = self.candidate.lead_ends().unwrap_or(sent + CALL).min(sent + CALL);
        self.in_doubt = true;
        berth_failpoint::reach("runtime.lease.before");
        let why = match timeout_at(until, self.client.write_as::<Lease>(&write)).await {
            Ok(Ok(lease)) => {
                berth_failpoint::reach("runtime.lease.after");
                self.in_doubt = false;
                return self.candidate.wrote(lease, sent);
            }
            Ok(Err(why)) => why.to_string(),
            Err(_) => "no answer in time".into(),
        };
        tracing::debug!(lease = self.terms.name, why, "Lease not written");
        self.candidate.failed(Instant::now(), AFTER_FAILURE);
        self.look_again().await;
    }

    /// After a failed write the Lease may be somebody else's, or ours after all.
    async fn look_again(&mut self) {
        let until = self.candidate.lead_ends().unwrap_or(Instant::now() + CALL);
        self.read(until.min(Instant::now() + CALL)).await;
        if self.candidate.epoch().is_none() {
            tokio::time::sleep(AFTER_FAILURE.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        }
    }

    /// Reads the Lease; whether a server told it.
    async fn read(&mut self, until: Instant) -> bool {
        let read = self.client.get_as::<Lease>(&self.terms.namespace, &self.terms.name);
        let seen = match timeout_at(until, read).await {
            Ok(Ok(lease)) => Some(Seen::Present(Box::new(lease))),
            Ok(Err(Error::NotFound(_))) => Some(Seen::Absent),
            Ok(Err(_)) | Err(_) => None,
        };
        let is_told = seen.is_some();
        self.in_doubt &= !is_told;
        if let Some(seen) = seen {
            self.candidate.saw(seen, Instant::now());
        }
        is_told
    }

    async fn give_back(&mut self) {
        let until = Instant::now() + CALL;
        if self.in_doubt {
            self.read(until).await;
        }
        while let Some(lease) = self.candidate.release() {
            let sent = Instant::now();
            berth_failpoint::reach("runtime.lease.back");
            let why = match timeout_at(until, self.client.write_as::<Lease>(&Write::update(&lease))).await {
                Ok(Ok(lease)) => return self.candidate.saw(Seen::Present(Box::new(lease)), sent),
                // The watch is late: it is given back as it is now.
                Ok(Err(Error::Conflict(_))) if self.read(until).await => continue,
                Ok(Err(why)) => why.to_string(),
                Err(_) => "no answer in time".into(),
            };
            tracing::debug!(lease = self.terms.name, why, "Lease not given back");
            return;
        }
    }
}
