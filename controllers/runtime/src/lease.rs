//! Who leads, as a pure state machine: when to take the Lease, when to renew it, when leading is over.

#[cfg(test)]
mod tests;

use std::time::Duration;

use berth_types::lease::Lease;
use berth_types::{Resource, Timestamp};
use tokio::time::Instant;

use crate::key::ResourceVersion;

/// How long a Lease lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// A standby that saw no change for this long takes the Lease over.
    pub duration: Duration,
    /// The leader renews this often.
    pub renew_every: Duration,
    /// The leader stops when the last renewal that succeeded was sent this long ago; less than `duration`.
    pub give_up_after: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(10),
            renew_every: Duration::from_secs(2),
            give_up_after: Duration::from_secs(8),
        }
    }
}

impl Timing {
    /// What does not fit together: by the names that a configuration file gives the durations.
    pub fn faults(&self) -> Vec<String> {
        let rules = [
            (
                ("giveUpAfterMillis", self.give_up_after),
                ("durationMillis", self.duration),
                "two lead at once",
            ),
            (
                ("renewEveryMillis", self.renew_every),
                ("giveUpAfterMillis", self.give_up_after),
                "a leader gives up between two renewals",
            ),
        ];
        let broken = rules.into_iter().filter(|((_, less), (_, more), _)| less >= more);
        broken
            .map(|((name, less), (limit, more), or)| {
                let (less, more) = (less.as_millis(), more.as_millis());
                format!("lease.{name} ({less}) must be less than {limit} ({more}), or {or}")
            })
            .collect()
    }
}

/// What is known of the Lease.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// There is none.
    Absent,
    /// It is there.
    Present(Box<Lease>),
}

/// What a candidate does next.
#[derive(Debug, Clone, PartialEq)]
pub enum Move {
    /// Nothing until then, unless the Lease changes.
    Wait(Instant),
    /// Create this Lease: there is none.
    Create(Box<Lease>),
    /// Write this Lease, as the version it carries; it takes or renews.
    Update(Box<Lease>),
    /// Leading is over: stop at once.
    Stop,
}

/// One candidate for a Lease. The clock that counts is its own monotonic one, since the last change that it saw.
#[derive(Debug)]
pub struct Candidate {
    namespace: String,
    name: String,
    /// New with every process; each term adds a number, so that each term is an epoch of its own.
    process: String,
    terms: u64,
    timing: Timing,
    seen: Option<Seen>,
    changed: Instant,
    leading: Option<Leading>,
}

#[derive(Debug)]
struct Leading {
    epoch: i64,
    /// When the last write that succeeded was sent.
    good_since: Instant,
    next_renewal: Instant,
}

impl Candidate {
    /// A candidate that knows nothing yet; `process` must be new with every process.
    pub fn new(namespace: &str, name: &str, process: &str, timing: Timing, now: Instant) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            process: process.into(),
            terms: 0,
            timing,
            seen: None,
            changed: now,
            leading: None,
        }
    }

    /// The epoch, while leading.
    pub fn epoch(&self) -> Option<i64> {
        self.leading.as_ref().map(|leading| leading.epoch)
    }

    /// Until when a write of the leader is worth waiting for; none when not leading.
    pub fn lead_ends(&self) -> Option<Instant> {
        self.leading.as_ref().map(|leading| leading.good_since + self.timing.give_up_after)
    }

    /// The Lease was seen at `now`, in whatever order the views arrive.
    pub fn saw(&mut self, seen: Seen, now: Instant) {
        if version_of(Some(&seen)) < version_of(self.seen.as_ref()) && seen != Seen::Absent {
            return;
        }
        if self.seen.as_ref() != Some(&seen) {
            self.changed = now;
        }
        let is_mine = matches!(&seen, Seen::Present(lease) if lease.spec.holder_identity == self.identity());
        if !is_mine {
            self.leading = None;
        }
        self.seen = Some(seen);
    }

    /// A write that this candidate sent at `sent` succeeded and left this Lease.
    pub fn wrote(&mut self, lease: Lease, sent: Instant) {
        let version = ResourceVersion::parse(&lease.meta().resource_version);
        let epoch = self.epoch().unwrap_or(version.revision());
        let next_renewal = sent + self.timing.renew_every;
        self.saw(Seen::Present(Box::new(lease)), sent);
        let latest_is_mine = version_of(self.seen.as_ref()) == Some(version);
        if latest_is_mine {
            self.leading = Some(Leading { epoch, good_since: sent, next_renewal });
        }
    }

    /// A write of this candidate failed and the Lease is as last seen: it waits before the next one.
    pub fn failed(&mut self, now: Instant, pause: Duration) {
        if let Some(leading) = &mut self.leading {
            leading.next_renewal = now + pause;
        }
    }

    /// What to do at `now`; `wall` is only written down for people.
    pub fn next(&mut self, now: Instant, wall: Timestamp) -> Move {
        match (&self.leading, &self.seen) {
            (Some(leading), _) if now >= leading.good_since + self.timing.give_up_after => {
                self.leading = None;
                Move::Stop
            }
            (Some(leading), _) if now < leading.next_renewal => {
                Move::Wait(leading.next_renewal.min(leading.good_since + self.timing.give_up_after))
            }
            (Some(_), Some(Seen::Present(lease))) => Move::Update(Box::new(self.renewal(lease, wall))),
            (Some(_), Some(Seen::Absent) | None) => {
                self.leading = None;
                Move::Stop
            }
            (None, None) => Move::Wait(now + self.timing.duration),
            (None, Some(Seen::Absent)) => {
                self.terms += 1;
                Move::Create(Box::new(self.taken(&Lease::default(), wall)))
            }
            (None, Some(Seen::Present(lease))) => match self.free_at(lease) {
                Some(at) if now < at => Move::Wait(at),
                Some(_) | None => {
                    let lease = lease.clone();
                    self.terms += 1;
                    Move::Update(Box::new(self.taken(&lease, wall)))
                }
            },
        }
    }

    /// The Lease given back, if it was this candidate's when it was seen last.
    pub fn release(&self) -> Option<Lease> {
        let Some(Seen::Present(lease)) = &self.seen else { return None };
        if !self.is_of_this_process(&lease.spec.holder_identity) {
            return None;
        }
        let mut lease = Lease::clone(lease);
        lease.spec.holder_identity = String::new();
        Some(lease)
    }

    fn identity(&self) -> String {
        format!("{}-{}", self.process, self.terms)
    }

    /// Whether an identity is that of a term of this process, also of an ended one.
    fn is_of_this_process(&self, identity: &str) -> bool {
        identity.rsplit_once('-').is_some_and(|(process, _)| process == self.process)
    }

    /// When this candidate may take the Lease; at once when nobody, or an ended term of its own, holds it.
    fn free_at(&self, lease: &Lease) -> Option<Instant> {
        let holder = &lease.spec.holder_identity;
        if holder.is_empty() || self.is_of_this_process(holder) {
            return None;
        }
        let promised = lease.spec.lease_duration_seconds.map(|seconds| Duration::from_secs(seconds.into()));
        Some(self.changed + promised.unwrap_or(self.timing.duration))
    }

    fn taken(&self, old: &Lease, wall: Timestamp) -> Lease {
        let mut lease = old.clone();
        lease.metadata.namespace = self.namespace.clone();
        lease.metadata.name = self.name.clone();
        lease.spec.holder_identity = self.identity();
        lease.spec.lease_duration_seconds = Some(self.seconds());
        lease.spec.acquire_time = Some(wall);
        lease.spec.renew_time = Some(wall);
        lease.spec.lease_transitions = Some(old.spec.lease_transitions.map_or(0, |count| count + 1));
        lease
    }

    fn renewal(&self, old: &Lease, wall: Timestamp) -> Lease {
        let mut lease = old.clone();
        // A clock that was set back must not make the renewal equal to the last: an equal write is no revision, and
        // the standbys would see no change.
        let last = old.spec.renew_time.unwrap_or(wall);
        lease.spec.renew_time = Some(wall.max(last.plus(Duration::from_millis(1))));
        lease
    }

    fn seconds(&self) -> u32 {
        u32::try_from(self.timing.duration.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
    }
}

fn version_of(seen: Option<&Seen>) -> Option<ResourceVersion> {
    match seen {
        Some(Seen::Present(lease)) => Some(ResourceVersion::parse(&lease.metadata.resource_version)),
        Some(Seen::Absent) | None => None,
    }
}
