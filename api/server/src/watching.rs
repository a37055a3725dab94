//! One watch as a stream of messages: the beginning in parts, then one message for each revision, and bookmarks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use berth_failpoint::seeded_bug;
use berth_proto::v1 as wire;
use berth_store::Rev;
use berth_types::{Reason, Status};
use futures::Stream;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::cache::{Beginning, Cache, Cut, Delivery, Subscription};
use crate::read::{await_version, parse_version, same_history};
use crate::refuse::{Answer, because, expired};
use crate::selection::Selection;
use crate::table::Table;
use crate::version::Version;

/// Bytes after which the present objects go on in another message.
const PART_BYTES: usize = 1 << 20;

/// How watches are served.
#[derive(Clone)]
pub struct Watches {
    /// The source of events.
    pub cache: Arc<Cache>,
    /// The kinds.
    pub table: Arc<Table>,
    /// How often a quiet watcher is told how far it is.
    pub bookmarks: Duration,
    /// Turns true when the server ends.
    pub ending: watch::Receiver<bool>,
}

/// One watch.
struct Watching {
    /// Of the beginning, or taken from the queue; oldest first.
    pending: VecDeque<Delivery>,
    /// The revision up to which `pending` goes, once it is known.
    rev: Rev,
    stage: Stage,
    subscription: Subscription,
    bookmarks: Interval,
    ending: watch::Receiver<bool>,
    history: String,
}

/// What the watcher has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It gets the present objects.
    Present,
    /// It gets events.
    Events,
}

/// What ended the wait for events.
enum Woken {
    Ending,
    Rung,
    Quiet,
}

impl Watches {
    /// Begins a watch.
    pub async fn open(
        &self,
        request: wire::WatchRequest,
    ) -> Answer<impl Stream<Item = Answer<wire::WatchResponse>> + Send + use<>> {
        let kind = self.table.named(request.kind.as_ref())?;
        let row = self.table.row(kind);
        let selection =
            Selection::parse(row, &request.namespace, &request.label_selector, &request.field_selector)?;
        let after = match request.resource_version.as_str() {
            "" | "0" => None,
            text => Some(parse_version(text)?),
        };
        same_history(self.cache.store(), &request.history, after.map_or(0, Version::rev))?;
        await_version(&self.cache, &request.resource_version).await?;
        let Beginning { first, rev, subscription } = self.cache.subscribe(kind, selection, after)?;
        // Who resumes learns at once how far the present state is; who begins learns it at the end of the beginning.
        let quiet_until = if after.is_some() { Instant::now() } else { Instant::now() + self.bookmarks };
        let mut bookmarks = tokio::time::interval_at(quiet_until, self.bookmarks);
        bookmarks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stage = if after.is_some() { Stage::Events } else { Stage::Present };
        let (ending, history) = (self.ending.clone(), self.cache.store().history().to_owned());
        let watching = Watching { pending: first, rev, stage, subscription, bookmarks, ending, history };
        Ok(futures::stream::unfold(Some(watching), |watching| async {
            let mut watching = watching?;
            match watching.next().await {
                Ok(message) => Some((Ok(message), Some(watching))),
                Err(why) => Some((Err(why), None)),
            }
        }))
    }
}

impl Watching {
    async fn next(&mut self) -> Answer<wire::WatchResponse> {
        if self.stage == Stage::Present {
            return Ok(self.next_part());
        }
        loop {
            if let Some(message) = self.next_revision() {
                self.bookmarks.reset();
                return Ok(message);
            }
            self.take()?;
            if !self.pending.is_empty() {
                continue;
            }
            let woken = tokio::select! {
                _ = self.ending.wait_for(|ending| *ending) => Woken::Ending,
                () = self.subscription.rung() => Woken::Rung,
                _ = self.bookmarks.tick() => Woken::Quiet,
            };
            match woken {
                Woken::Ending => return Err(because(Reason::Unavailable, "the server is being stopped")),
                Woken::Rung if seeded_bug("bookmark-comes-early") => {
                    self.take()?;
                    return Ok(self.message(self.rev, Vec::new()));
                }
                Woken::Rung => {}
                Woken::Quiet => {
                    self.take()?;
                    return Ok(self.next_revision().unwrap_or_else(|| self.message(self.rev, Vec::new())));
                }
            }
        }
    }

    fn take(&mut self) -> Answer<()> {
        (self.rev, self.pending) = self.subscription.take().map_err(cut_off)?;
        Ok(())
    }

    /// The next part of the present objects; the last one ends the beginning.
    fn next_part(&mut self) -> wire::WatchResponse {
        let mut events = Vec::new();
        let mut bytes = 0;
        while bytes < PART_BYTES {
            let Some(delivery) = self.pending.pop_front() else {
                self.stage = Stage::Events;
                return wire::WatchResponse { initial_end: true, ..self.message(self.rev, events) };
            };
            bytes += delivery.json.len();
            events.push(event(delivery));
        }
        wire::WatchResponse { events, ..wire::WatchResponse::default() }
    }

    /// All pending events of the oldest revision.
    fn next_revision(&mut self) -> Option<wire::WatchResponse> {
        let rev = self.pending.front()?.version.rev();
        let mut of_rev = self.pending.partition_point(|delivery| delivery.version.rev() == rev);
        if seeded_bug("watch-splits-a-revision") {
            of_rev = 1;
        }
        let events = self.pending.drain(..of_rev).map(event).collect();
        Some(self.message(rev, events))
    }

    fn message(&self, rev: Rev, events: Vec<wire::WatchEvent>) -> wire::WatchResponse {
        let (resource_version, history) = (Version::all_of(rev).to_string(), self.history.clone());
        wire::WatchResponse { resource_version, events, initial_end: false, history }
    }
}

fn event(delivery: Delivery) -> wire::WatchEvent {
    wire::WatchEvent { r#type: delivery.kind.into(), json: delivery.json }
}

fn cut_off(why: Cut) -> Box<Status> {
    expired(match why {
        Cut::Slow => "the watcher took its events too slowly and lost some; list again",
        Cut::Rebuilt => "the server lost track of the store and read it anew; list again",
    })
}
