//! A watch that goes on by itself: whatever ends etcd's stream but a compaction, it is opened anew after the last
//! revision that was told. All changes of one revision are told together, each revision once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use etcd_client::{Event, EventType, KeyValue, WatchOptions, WatchResponse};
use futures::Stream;

use super::ANY_KEY;
use super::failure::{Failure, Refused, judge};
use super::member::{Member, Members};
use super::pages::{self, kv};
use crate::{At, Change, Changes, Rev, StoreError};

/// After this long without a word etcd is asked for one; after two more without an answer the watch is dead.
const SILENCE: Duration = Duration::from_secs(10);
const QUESTIONS: u32 = 2;
const OPEN_WITHIN: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A watch on a range.
pub(super) struct Watcher {
    members: Arc<Members>,
    start: Bytes,
    end: Bytes,
    next: Rev,
    link: Option<Link>,
    ready: VecDeque<Changes>,
    pause: Duration,
    opened: Opened,
}

/// Whether a stream was there before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opened {
    Never,
    Once,
}

/// An open stream of a member.
struct Link {
    member: Arc<Member>,
    stream: etcd_client::WatchStream,
    /// Parts of an answer that was too large for one message.
    parts: Vec<Event>,
}

/// Why nothing more comes from a stream.
enum Cut {
    /// Another one can go on.
    Broken(String),
    /// None can.
    Over(StoreError),
}

impl Watcher {
    pub(super) fn new(members: Arc<Members>, start: &[u8], end: &[u8], from: Rev) -> Self {
        Self {
            members,
            start: Bytes::copy_from_slice(start),
            end: Bytes::copy_from_slice(end),
            next: from,
            link: None,
            ready: VecDeque::new(),
            pause: FIRST_PAUSE,
            opened: Opened::Never,
        }
    }

    /// The changes, until an error.
    pub(super) fn stream(self) -> impl Stream<Item = Result<Changes, StoreError>> + Send {
        futures::stream::unfold(Some(self), |watcher| async {
            let mut watcher = watcher?;
            match watcher.next().await {
                Ok(changes) => Some((Ok(changes), Some(watcher))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// The changes of the next revision that has any.
    pub(super) async fn next(&mut self) -> Result<Changes, StoreError> {
        loop {
            if let Some(changes) = self.ready.pop_front() {
                return Ok(changes);
            }
            match self.advance().await {
                Ok(()) => {}
                Err(Cut::Over(error)) => return Err(error),
                Err(Cut::Broken(why)) => {
                    tracing::debug!(next = self.next, why, "watch of etcd broke and is opened anew");
                    if let Some(link) = self.link.take() {
                        link.member.shun();
                    }
                    tokio::time::sleep(self.pause + self.pause.mul_f64(fastrand::f64())).await;
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Takes in one answer of etcd, opening a stream when there is none.
    async fn advance(&mut self) -> Result<(), Cut> {
        let link = match &mut self.link {
            Some(link) => link,
            None => {
                if self.opened == Opened::Once {
                    still_the_same(&self.members).await?;
                }
                let link = Link::open(&self.members, &self.start, &self.end, self.next).await?;
                self.opened = Opened::Once;
                self.link.insert(link)
            }
        };
        let Some(events) = link.receive(&self.members).await? else {
            return Ok(());
        };
        self.pause = FIRST_PAUSE;
        for event in events {
            self.take(event)?;
        }
        if let Some(last) = self.ready.back_mut() {
            self.next = last.rev + 1;
            self.members.past().tell(last.rev);
        }
        for changes in &mut self.ready {
            changes.changes.sort_by(|a, b| a.key.cmp(&b.key));
        }
        Ok(())
    }

    /// Adds an event to its revision; etcd sends some twice.
    fn take(&mut self, event: Event) -> Result<(), Cut> {
        let Some((rev, change)) = change(event) else {
            return Err(Cut::Broken("an event without a key".into()));
        };
        if rev < self.next {
            return Ok(());
        }
        match self.ready.back_mut().filter(|last| last.rev == rev) {
            Some(last) => last.changes.push(change),
            None => self.ready.push_back(Changes { rev, changes: vec![change] }),
        }
        Ok(())
    }
}

fn change(event: Event) -> Option<(Rev, Change)> {
    let removed = event.event_type() == EventType::Delete;
    let before = event.0.prev_kv.map(|before| kv(KeyValue(before)));
    let now = kv(KeyValue(event.0.kv?));
    let (rev, key) = (now.mod_rev, now.key.clone());
    let now = if removed { None } else { Some(now) };
    Some((rev, Change { now, before, key }))
}

/// A stream that is opened after another may reach an etcd that was restored meanwhile, and would wait there for a
/// revision of the old history.
async fn still_the_same(members: &Members) -> Result<(), Cut> {
    match pages::get(members, ANY_KEY, At::Latest).await {
        Ok(_) => Ok(()),
        Err(Refused::Other(replaced @ StoreError::Replaced(_))) => Err(Cut::Over(replaced)),
        Err(refused) => Err(Cut::Broken(refused.plain().to_string())),
    }
}

impl Link {
    async fn open(members: &Members, start: &Bytes, end: &Bytes, from: Rev) -> Result<Self, Cut> {
        let member = members.in_order().swap_remove(0);
        let mut client = member.watch().map_err(Cut::Over)?;
        let options = WatchOptions::new()
            .with_range(end.to_vec())
            .with_start_revision(from)
            .with_prev_key()
            .with_fragment();
        let opened = tokio::time::timeout(OPEN_WITHIN, client.watch(start.to_vec(), Some(options))).await;
        let failed = match opened {
            Ok(Ok(stream)) => return Ok(Self { member, stream, parts: Vec::new() }),
            Ok(Err(error)) => broken(&error),
            Err(_) => Cut::Broken("no answer".into()),
        };
        member.shun();
        Err(failed)
    }

    /// The events of the next whole answer; None when it has none. Asks for a sign of life when there is silence:
    /// the revision in such a sign counts for nothing, for old versions tell one before its events.
    async fn receive(&mut self, members: &Members) -> Result<Option<Vec<Event>>, Cut> {
        let mut asked = 0;
        loop {
            match tokio::time::timeout(SILENCE, self.stream.message()).await {
                Ok(Ok(Some(answer))) => {
                    let cluster = answer.header().map(etcd_client::ResponseHeader::cluster_id);
                    cluster.map_or(Ok(()), |cluster| members.past().is_of(cluster)).map_err(Cut::Over)?;
                    return self.read(answer);
                }
                Ok(Ok(None)) => return Err(Cut::Broken("the stream ended".into())),
                Ok(Err(error)) => return Err(broken(&error)),
                Err(_) if asked == QUESTIONS => return Err(Cut::Broken("silence".into())),
                Err(_) => {
                    asked += 1;
                    self.stream.request_progress().await.map_err(|error| broken(&error))?;
                }
            }
        }
    }

    fn read(&mut self, answer: WatchResponse) -> Result<Option<Vec<Event>>, Cut> {
        if answer.compact_revision() > 0 {
            return Err(Cut::Over(StoreError::Compacted { oldest: answer.compact_revision() }));
        }
        if answer.canceled() {
            return Err(Cut::Broken(answer.cancel_reason().to_owned()));
        }
        let more_parts = answer.0.fragment;
        self.parts.extend(answer.0.events.into_iter().map(Event));
        if more_parts || self.parts.is_empty() {
            return Ok(None);
        }
        Ok(Some(std::mem::take(&mut self.parts)))
    }
}

/// A stream that etcd refuses for good is over; anything else can be tried again.
fn broken(error: &etcd_client::Error) -> Cut {
    match judge(error) {
        Failure::NotDone(why) | Failure::Unclear(why) | Failure::LeaderGone(why) => Cut::Broken(why),
        Failure::Refused(Refused::Other(StoreError::Damaged(why))) => Cut::Over(StoreError::Damaged(why)),
        Failure::Refused(other) => Cut::Broken(format!("{other:?}")),
    }
}
