//! The members of the etcd cluster: which one is asked, for how long, and who is asked instead.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{Channel, WatchClient};
use tokio::time::Instant;
use tonic::transport::Endpoint;

use super::address::etcd_addresses;
use super::failure::{Failure, Refused, judge};
use super::line::{Line, client};
use super::past::Past;
use super::{ANY_KEY, EtcdOptions};
use crate::StoreError;

const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// etcd refuses pings that come more often than every 5 s.
const PING_EVERY: Duration = Duration::from_secs(6);
const PONG_WITHIN: Duration = Duration::from_secs(3);
/// How long a member that failed is asked last.
const SHUNNED: Duration = Duration::from_secs(15);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The largest message that is taken in; pages and the parts of a revision are far smaller.
pub(super) const LARGEST_MESSAGE: usize = 64 << 20;

const NO_ANSWER: &str = "no answer";

/// Whether a request may be sent again after one that may have been carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// A second one does no harm.
    Safe,
    /// Only the caller can tell.
    Unsafe,
}

/// One member.
pub(super) struct Member {
    endpoint: Endpoint,
    url: String,
    line: Mutex<Option<Arc<Line>>>,
    shunned_until: Mutex<Option<Instant>>,
}

impl Member {
    /// The member at an address that was checked.
    fn new(url: String) -> Result<Self, StoreError> {
        let bad = |why: String| StoreError::BadCall(format!("etcd address `{url}`: {why}"));
        let endpoint = Endpoint::from_shared(url.clone()).map_err(|error| bad(error.to_string()))?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_WITHIN)
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PONG_WITHIN)
            .keep_alive_while_idle(true);
        Ok(Self { endpoint, url, line: Mutex::default(), shunned_until: Mutex::default() })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The line to it, a new one when there is none.
    pub(super) fn line(&self) -> Result<Arc<Line>, StoreError> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = &*line {
            return Ok(line.clone());
        }
        Ok(line.insert(Arc::new(Line::new(&self.endpoint)?)).clone())
    }

    /// Nobody begins anything over this line any more.
    fn hang_up(&self, broken: &Arc<Line>) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.take_if(|line| Arc::ptr_eq(line, broken));
    }

    /// A watch client on a connection of its own: a slow watcher holds up nobody else.
    pub(super) fn watch(&self) -> Result<WatchClient, StoreError> {
        let client = client(Channel::Tonic(self.endpoint.connect_lazy()))?;
        Ok(client.watch_client().max_decoding_message_size(LARGEST_MESSAGE))
    }

    /// Asks this member last for a while.
    pub(super) fn shun(&self) {
        *self.shunned_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + SHUNNED);
    }

    fn is_shunned(&self) -> bool {
        let until = *self.shunned_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }
}

/// All members, and the one that is asked first.
pub(super) struct Members {
    members: Vec<Arc<Member>>,
    first: AtomicUsize,
    deadline: Duration,
    patience: Duration,
    past: Past,
}

impl Members {
    pub(super) fn new(endpoints: &[String], options: &EtcdOptions) -> Result<Self, StoreError> {
        let addresses = etcd_addresses(endpoints.iter().map(String::as_str));
        let addresses = addresses.map_err(|faults| StoreError::BadCall(faults.join("\n")))?;
        let members = addresses.into_iter().map(|url| Member::new(url).map(Arc::new));
        let members: Vec<_> = members.collect::<Result<_, _>>()?;
        let EtcdOptions { deadline, patience, .. } = *options;
        Ok(Self { members, first: AtomicUsize::new(0), deadline, patience, past: Past::default() })
    }

    /// How long a call may take.
    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The history that the members tell of.
    pub(super) fn past(&self) -> &Past {
        &self.past
    }

    pub(super) fn all(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// The members in the order in which they are asked: the one that answered last, shunned ones at the end.
    pub(super) fn in_order(&self) -> Vec<Arc<Member>> {
        let first = self.first.load(Ordering::Relaxed);
        let mut order: Vec<_> =
            (0..self.members.len()).map(|n| self.members[(first + n) % self.members.len()].clone()).collect();
        order.sort_by_key(|member| member.is_shunned());
        order
    }

    fn prefer(&self, member: &Arc<Member>) {
        if let Some(place) = self.members.iter().position(|other| Arc::ptr_eq(other, member)) {
            self.first.store(place, Ordering::Relaxed);
        }
    }

    /// Asks one member after the other until one answers, the outcome is unknown, or the deadline has passed.
    pub(super) async fn call<T, F>(
        &self,
        repeat: Repeat,
        ask: impl Fn(Arc<Line>) -> F + Send + Sync,
    ) -> Result<T, Refused>
    where
        F: Future<Output = Result<T, etcd_client::Error>> + Send,
        T: Send,
    {
        let give_up = Instant::now() + self.deadline;
        let mut pause = FIRST_PAUSE;
        loop {
            let mut last = String::new();
            for member in self.in_order() {
                match self.attempt(&ask, &member, give_up).await {
                    Ok(answer) => {
                        self.prefer(&member);
                        return Ok(answer);
                    }
                    Err(Failure::Refused(refused)) => return Err(refused),
                    Err(Failure::Unclear(why)) if repeat == Repeat::Unsafe => {
                        member.shun();
                        return Err(unknown(&member, &why));
                    }
                    Err(Failure::LeaderGone(why)) if repeat == Repeat::Unsafe => {
                        return Err(unknown(&member, &why));
                    }
                    Err(Failure::LeaderGone(why)) => last = format!("{}: {why}", member.url()),
                    Err(Failure::Unclear(why) | Failure::NotDone(why)) => {
                        member.shun();
                        last = format!("{}: {why}", member.url());
                    }
                }
            }
            if Instant::now() + pause >= give_up {
                return Err(Refused::Other(StoreError::Unavailable(last)));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn attempt<T, F>(
        &self,
        ask: &(impl Fn(Arc<Line>) -> F + Send + Sync),
        member: &Arc<Member>,
        give_up: Instant,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, etcd_client::Error>> + Send,
    {
        let until = give_up.min(Instant::now() + self.patience);
        let line = member.line().map_err(refused)?;
        let proven = tokio::time::timeout_at(until, self.prove(&line)).await;
        let proven = proven.unwrap_or_else(|_| Err(Failure::NotDone(NO_ANSWER.into())));
        let answer = match proven {
            Ok(()) => tokio::select! {
                biased;
                answer = ask(line.clone()) => answer.map_err(|error| judge(&error)),
                why = line.loses_leader() => Err(Failure::LeaderGone(why)),
                () = tokio::time::sleep_until(until) => Err(Failure::Unclear(NO_ANSWER.into())),
            },
            Err(failure) => Err(failure),
        };
        if answer.as_ref().is_err_and(|failure| !failure.is_etcds_word()) {
            member.hang_up(&line);
        }
        answer
    }

    /// Asks whoever is at the other end of a new line for its history: another one than ours is refused for ever.
    async fn prove(&self, line: &Line) -> Result<(), Failure> {
        self.past.check().map_err(refused)?;
        let asking = || async {
            let told = self.past.told();
            let found = line.kv().get(ANY_KEY, None).await.map_err(|error| judge(&error).before_sending())?;
            let header =
                found.header().ok_or_else(|| Failure::NotDone("an answer without a header".into()))?;
            self.past.is_of(header.cluster_id()).map_err(refused)?;
            line.told(Some(header));
            self.past.reaches(told, header.revision()).map_err(refused)
        };
        line.proven.get_or_try_init(asking).await.copied()
    }
}

fn unknown(member: &Member, why: &str) -> Refused {
    Refused::Other(StoreError::Unknown(format!("{}: {why}", member.url())))
}

fn refused(error: StoreError) -> Failure {
    Failure::Refused(Refused::Other(error))
}
