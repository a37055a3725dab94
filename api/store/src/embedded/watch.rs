//! A watcher is a place in the history: it reads at its own pace, blocks nobody, and is cut off when the history
//! that it has not read yet is compacted.

use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::engine::{Engine, Job, Writer};
use crate::{Change, Changes, Rev, StoreError};

/// Revisions read under one lock.
const AT_ONCE: usize = 512;

/// One watcher.
pub(super) struct Cursor {
    engine: Arc<Engine>,
    writer: Writer,
    steps: watch::Receiver<u64>,
    start: Bytes,
    end: Bytes,
    next: Rev,
    ready: std::vec::IntoIter<Changes>,
}

impl Cursor {
    pub(super) fn open(
        engine: Arc<Engine>,
        writer: Writer,
        (start, end): (&[u8], &[u8]),
        from: Rev,
    ) -> Result<Self, StoreError> {
        let oldest = engine.state().compacted();
        if from <= oldest {
            return Err(StoreError::Compacted { oldest });
        }
        Ok(Self {
            steps: engine.steps(),
            engine,
            writer,
            start: Bytes::copy_from_slice(start),
            end: Bytes::copy_from_slice(end),
            next: from,
            ready: Vec::new().into_iter(),
        })
    }

    /// The changes from here on, until an error.
    pub(super) fn stream(self) -> impl Stream<Item = Result<Changes, StoreError>> + Send {
        futures::stream::unfold(Some(self), |cursor| async {
            let mut cursor = cursor?;
            match cursor.next().await {
                Ok(changes) => Some((Ok(changes), Some(cursor))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<Changes, StoreError> {
        loop {
            if let Some(changes) = self.ready.next() {
                return Ok(changes);
            }
            self.steps.mark_unchanged();
            if self.read()? {
                continue;
            }
            self.wait().await?;
        }
    }

    /// Reads on in the history; whether there was any.
    fn read(&mut self) -> Result<bool, StoreError> {
        let state = self.engine.state();
        if self.next > state.rev() {
            return if state.closed() {
                Err(StoreError::Unavailable("the store was closed".into()))
            } else {
                Ok(false)
            };
        }
        let Some(history) = state.history(self.next, AT_ONCE) else {
            return Err(StoreError::Lagged);
        };
        let mut ready = Vec::new();
        for changes in history {
            self.next = changes.rev + 1;
            let seen: Vec<Change> = changes
                .changes
                .iter()
                .filter(|change| self.start <= change.key && change.key < self.end)
                .cloned()
                .collect();
            if !seen.is_empty() {
                ready.push(Changes { rev: changes.rev, changes: seen });
            }
        }
        drop(state);
        self.ready = ready.into_iter();
        Ok(true)
    }

    /// Waits until there is something new, or a lease runs out and makes it.
    async fn wait(&mut self) -> Result<(), StoreError> {
        let Some(end) = self.engine.next_lease_end() else {
            return self.step().await;
        };
        tokio::select! {
            step = self.step() => step,
            () = tokio::time::sleep_until(end) => {
                let (answer, answered) = oneshot::channel();
                self.writer.run(Job::Expire { now: Instant::now(), answer });
                match answered.await.unwrap_or(Err(StoreError::Unavailable("the store was closed".into()))) {
                    // There is no room for its end: it lives on until something else happens.
                    Err(StoreError::Full(_)) => self.step().await,
                    ended => ended,
                }
            }
        }
    }

    async fn step(&mut self) -> Result<(), StoreError> {
        self.steps.changed().await.map_err(|_| StoreError::Unavailable("the store was closed".into()))
    }
}
