//! Several endpoints, one of them current: a call that fails there for a reason of the transport goes to the next,
//! with backoff after each round, until its deadline.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use berth_types::status::Status;
use tokio::time::Instant;

use crate::endpoint::Endpoint;
use crate::error::{Error, Failure};
use crate::history::Heard;

/// How long calls try.
#[derive(Debug, Clone)]
pub struct Options {
    /// For opening one connection.
    pub connect_timeout: Duration,
    /// For one attempt of a call that is no stream.
    pub attempt_timeout: Duration,
    /// For all attempts of a call together.
    pub deadline: Duration,
    /// The first pause after a round over all endpoints; it doubles up to `max_pause`, with jitter.
    pub first_pause: Duration,
    /// The longest pause.
    pub max_pause: Duration,
    /// How often a connection is tried with a ping, used or not.
    pub keepalive: Duration,
    /// A connection whose ping is not answered for this long is broken.
    pub keepalive_answer: Duration,
    /// A watch that heard nothing for this long, not even a bookmark, is opened again at the next endpoint.
    pub watch_silence: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            attempt_timeout: Duration::from_secs(10),
            deadline: Duration::from_secs(30),
            first_pause: Duration::from_millis(50),
            max_pause: Duration::from_secs(2),
            keepalive: Duration::from_secs(3),
            keepalive_answer: Duration::from_secs(3),
            watch_silence: Duration::from_secs(15),
        }
    }
}

/// Whether a call may be sent again when nobody knows if it was carried out.
///
/// A connection that could not be opened never carried the call, and a server that answers `Unavailable` did not do
/// it: both are tried again for every call. The rest depends on the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resend {
    /// Reads, and writes that leave the same state when done twice or that their own preconditions stop the second
    /// time: a patch, an apply, and whatever carries a uid or resourceVersion. A second try of the latter that finds
    /// the first one done is answered `Conflict` (or `NotFound`, for a delete).
    Safe,
    /// Everything else (a create, above all): the caller gets [`Error::Unknown`].
    Unsafe,
}

/// What the attempts of a call before the answered one may have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Earlier {
    /// Nothing.
    NotDone,
    /// The whole call: an answer was lost.
    InDoubt,
}

/// The endpoints, and which is current. All clones of a client share it: one that fails over takes all along.
#[derive(Debug)]
pub(crate) struct Servers {
    endpoints: Vec<Endpoint>,
    current: AtomicUsize,
    pub(crate) options: Options,
    pub(crate) heard: Heard,
}

impl Servers {
    pub(crate) fn new(endpoints: Vec<Endpoint>, options: Options) -> Self {
        Self { endpoints, current: AtomicUsize::new(0), options, heard: Heard::default() }
    }

    /// The endpoint for the next call.
    pub(crate) fn current(&self) -> Endpoint {
        self.endpoints[self.current.load(Ordering::Relaxed) % self.endpoints.len()].clone()
    }

    /// `failed` did not answer: later calls go to the one after it, unless somebody moved on already.
    pub(crate) fn leave(&self, failed: &Endpoint) {
        let current = self.current.load(Ordering::Relaxed);
        if self.endpoints[current % self.endpoints.len()].name != failed.name {
            return;
        }
        let next = (current + 1) % self.endpoints.len();
        let _ = self.current.compare_exchange(current, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Pauses between the rounds of one call.
    pub(crate) fn backoff(&self) -> Backoff {
        Backoff { attempts: 0, round: self.endpoints.len(), options: self.options.clone() }
    }

    /// Makes a call until it is answered, may not be sent again, or the deadline passed.
    pub(crate) async fn call<T, F>(&self, resend: Resend, attempt: impl Fn(Endpoint) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        self.call_with_earlier(resend, attempt).await.map(|(answer, _)| answer)
    }

    /// The same; returns also what the attempts before the answered one may have done.
    pub(crate) async fn call_with_earlier<T, F>(
        &self,
        resend: Resend,
        attempt: impl Fn(Endpoint) -> F,
    ) -> Result<(T, Earlier), Error>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let until = Instant::now() + self.options.deadline;
        let mut backoff = self.backoff();
        let mut in_doubt = None;
        loop {
            let endpoint = self.current();
            let failure = match tokio::time::timeout(self.time_left(until), attempt(endpoint.clone())).await {
                Ok(Ok(response)) => {
                    let earlier = if in_doubt.is_some() { Earlier::InDoubt } else { Earlier::NotDone };
                    return Ok((response.into_inner(), earlier));
                }
                Ok(Err(grpc)) => Failure::of(&grpc, &endpoint.name),
                Err(_) => Failure::timed_out(&endpoint.name),
            };
            let last = match failure {
                Failure::Answered(status) => return Err(status.into()),
                Failure::Unsure(status) if resend == Resend::Unsafe => return Err(Error::Unknown(status)),
                Failure::Unsure(status) => in_doubt.insert(status).clone(),
                Failure::Declined(status) | Failure::NotSent(status) => status,
            };
            self.leave(&endpoint);
            let pause = backoff.pause(&last);
            if Instant::now() + pause >= until {
                return Err(in_doubt.map_or(Error::Unavailable(last), Error::Unknown));
            }
            tokio::time::sleep(pause).await;
        }
    }

    fn time_left(&self, until: Instant) -> Duration {
        self.options.attempt_timeout.min(until.saturating_duration_since(Instant::now()))
    }
}

/// Growing pauses: none while there are endpoints not yet tried in this round.
#[derive(Debug)]
pub(crate) struct Backoff {
    attempts: usize,
    round: usize,
    options: Options,
}

impl Backoff {
    /// How long to wait after an attempt that ended with `why`.
    pub(crate) fn pause(&mut self, why: &Status) -> Duration {
        let asked = Duration::from_secs(why.details.retry_after_seconds.into());
        self.next_pause().max(asked)
    }

    /// How long to wait after an attempt that said nothing.
    pub(crate) fn next_pause(&mut self) -> Duration {
        self.attempts += 1;
        if !self.attempts.is_multiple_of(self.round) {
            return Duration::ZERO;
        }
        let doublings = u32::try_from(self.attempts / self.round - 1).unwrap_or(u32::MAX).min(16);
        let full = self.options.first_pause.saturating_mul(1 << doublings).min(self.options.max_pause);
        full.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Something worked: the next failure starts anew.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}
