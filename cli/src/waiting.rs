//! Waiting for objects: their state is watched, the one reason is shown, a hopeless wait ends at once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use berth_client::{Change, ObjectKey, Query, Update};
use futures::future::try_join_all;
use serde_json::Value;
use tokio::time::timeout;

use crate::api::Api;
use crate::failure::{Exit, Failure};
use crate::output::progress::Progress;
use crate::request::Patience;

/// The reason to wait until the first state of an object arrives.
const NO_ANSWER: &str = "no answer yet";

/// The most objects that a timeout names.
const SHOWN: usize = 20;

/// How an object stands towards what is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As wanted.
    Done,
    /// Not yet, for this reason.
    Waits(String),
    /// Never, for this reason.
    Never(String),
}

/// Something to wait for.
pub struct Awaited<'a> {
    /// As `app/web`.
    pub name: String,
    /// Which object.
    pub key: ObjectKey,
    /// Judges the object; none when it does not exist.
    pub judge: &'a dyn Fn(Option<&Value>) -> Verdict,
}

/// Waits until every object is as wanted. `goal` says what for, `meanwhile` what goes on when the wait is left.
pub async fn all(
    api: &Api,
    awaited: Vec<Awaited<'_>>,
    patience: Patience,
    goal: &str,
    meanwhile: &str,
) -> Result<(), Failure> {
    let progress = RefCell::new(Progress::begin());
    // Of each object that still waits its reason, by its place: names are the same in several Namespaces.
    let waiting = RefCell::new(BTreeMap::new());
    let waits = awaited.iter().enumerate().map(|(place, one)| {
        let (progress, waiting) = (&progress, &waiting);
        async move {
            let line = |reason: &str| {
                let line = format!("{}: {reason}", one.name);
                progress.borrow_mut().show(&format!("waiting for {line}"));
                waiting.borrow_mut().insert(place, line);
            };
            let done = watch(api, one, progress, line).await;
            waiting.borrow_mut().remove(&place);
            done
        }
    });
    let done = within(patience, try_join_all(waits), meanwhile).await;
    progress.borrow_mut().clear();
    match done? {
        Some(done) => done.map(drop),
        None => {
            let failure = Failure::new(Exit::TimedOut, format!("timed out waiting for {goal}"));
            let mut lines = waiting.into_inner().into_values();
            let failure = lines.by_ref().take(SHOWN).fold(failure, Failure::detail);
            let untold = lines.count();
            Err(if untold == 0 { failure } else { failure.detail(format!("and {untold} more")) })
        }
    }
}

/// Runs `work` for as long as there is patience (none when it runs out) and nobody presses Ctrl-C.
pub async fn within<T>(
    patience: Patience,
    work: impl Future<Output = T>,
    meanwhile: &str,
) -> Result<Option<T>, Failure> {
    let work = async {
        match patience {
            Some(patience) => timeout(patience, work).await.ok(),
            None => Some(work.await),
        }
    };
    tokio::select! {
        done = work => Ok(done),
        _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Interrupted, "interrupted").hint(meanwhile)),
    }
}

async fn watch(
    api: &Api,
    one: &Awaited<'_>,
    progress: &RefCell<Progress>,
    line: impl Fn(&str),
) -> Result<(), Failure> {
    let fields = format!("metadata.name={}", one.key.name);
    let query = Query::new(one.key.kind.clone()).in_namespace(one.key.namespace.clone()).fields(fields);
    let mut watch = api.client.watch(&query);
    let mut reason = NO_ANSWER.to_owned();
    let mut silence = Box::pin(api.fallen_silent_or_back());
    loop {
        let update = tokio::select! {
            news = &mut silence => {
                line(&news);
                silence = Box::pin(api.fallen_silent_or_back());
                continue;
            }
            update = watch.next() => update.map_err(|error| api.failed(&format!("could not watch {}", one.name), &error))?,
            // A step that lasts is told about even when nothing moves.
            () = tokio::time::sleep(progress.borrow().quiet_for().max(Duration::from_millis(1))), if !progress.borrow().quiet_for().is_zero() => {
                line(&reason);
                continue;
            }
        };
        let Some(object) = newest(update) else { continue };
        match (one.judge)(object.as_ref()) {
            Verdict::Done => return Ok(()),
            Verdict::Never(why) => return Err(Failure::new(Exit::Terminal, format!("{}: {why}", one.name))),
            Verdict::Waits(why) => {
                line(&why);
                reason = why;
            }
        }
    }
}

/// The object as it is now, if the update says; none inside means that it does not exist.
fn newest(update: Update<Value>) -> Option<Option<Value>> {
    match update {
        Update::Initial { mut objects, .. } | Update::Restarted { mut objects, .. } => Some(objects.pop()),
        Update::Changes { changes, .. } => changes.into_iter().next_back().map(|change| match change {
            Change::Added(object) | Change::Modified(object) => Some(object),
            Change::Deleted(_) => None,
        }),
        Update::Bookmark { .. } => None,
    }
}
