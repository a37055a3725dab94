//! A watch that resumes by itself: after a break it goes on from the last version it delivered, at whichever endpoint
//! answers; when that version is no longer known it delivers the whole state again and says so.

use std::marker::PhantomData;
use std::sync::Arc;

use berth_proto::v1;
use berth_proto::v1::watch_event::Type;
use berth_types::status::Status;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tonic::Streaming;

use crate::client::resources;
use crate::endpoint::Endpoint;
use crate::error::{Error, Failure};
use crate::failover::{Backoff, Servers};
use crate::object::{Query, parse};

/// What a watch delivers.
#[derive(Debug, Clone, PartialEq)]
pub enum Update<T> {
    /// The whole state at the start.
    Initial {
        /// All objects of the query.
        objects: Vec<T>,
        /// The version of the state.
        version: String,
    },
    /// All changes of one store revision.
    Changes {
        /// Each object once.
        changes: Vec<Change<T>>,
        /// Everything up to here was delivered.
        version: String,
    },
    /// Nothing changed up to here.
    Bookmark {
        /// Everything up to here was delivered.
        version: String,
    },
    /// Events were lost, this is the whole state: what the receiver has and this lacks was deleted meanwhile.
    Restarted {
        /// All objects of the query.
        objects: Vec<T>,
        /// The version of the state.
        version: String,
    },
}

/// One object's change.
#[derive(Debug, Clone, PartialEq)]
pub enum Change<T> {
    /// It came to be, or came into the query.
    Added(T),
    /// It changed.
    Modified(T),
    /// It is gone, or left the query; as it was last.
    Deleted(T),
}

/// A watch; see [`crate::Client::watch`]. Dropping it ends it.
#[derive(Debug)]
pub struct Watch<T> {
    servers: Arc<Servers>,
    query: Query,
    /// Everything up to here was delivered; none before the first state.
    version: Option<String>,
    /// The history that the version is of.
    history: String,
    delivered: Delivered,
    stream: Option<(Endpoint, Streaming<v1::WatchResponse>)>,
    /// Objects of a state that is still arriving.
    arriving: Vec<T>,
    backoff: Backoff,
    not_before: Instant,
    marker: PhantomData<T>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivered {
    Nothing,
    State,
}

impl<T: DeserializeOwned> Watch<T> {
    pub(crate) fn new(servers: Arc<Servers>, query: Query, from: Option<(String, String)>) -> Self {
        let backoff = servers.backoff();
        let (version, history) = from.map_or_else(Default::default, |(v, history)| (Some(v), history));
        let delivered = if version.is_some() { Delivered::State } else { Delivered::Nothing };
        Self {
            servers,
            query,
            version,
            history,
            delivered,
            stream: None,
            arriving: Vec::new(),
            backoff,
            not_before: Instant::now(),
            marker: PhantomData,
        }
    }

    /// The next update. Waits through breaks; fails only for what waiting does not heal (no such kind, not allowed),
    /// and may be called again then. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Update<T>, Error> {
        loop {
            let silence = self.servers.options.watch_silence;
            let Some((endpoint, stream)) = &mut self.stream else {
                self.open().await?;
                continue;
            };
            match tokio::time::timeout(silence, stream.message()).await {
                Ok(Ok(Some(response))) => {
                    self.backoff.reset();
                    if let Some(update) = self.take(response) {
                        return Ok(update);
                    }
                }
                Ok(Err(grpc)) => {
                    let failure = Failure::of(&grpc, &endpoint.name);
                    self.broke(failure)?;
                }
                Ok(Ok(None)) | Err(_) => {
                    let failure = Failure::timed_out(&endpoint.name);
                    self.broke(failure)?;
                }
            }
        }
    }

    /// Opens the stream again from where it is: the server tells at once how far it is, without waiting for the next
    /// bookmark.
    pub fn refresh(&mut self) {
        if self.version.is_some() {
            self.stream = None;
        }
    }

    async fn open(&mut self) -> Result<(), Error> {
        tokio::time::sleep_until(self.not_before).await;
        let endpoint = self.servers.current();
        let request = self.request();
        let mut api = resources(endpoint.clone());
        let opened = tokio::time::timeout(self.servers.options.attempt_timeout, api.watch(request)).await;
        let failure = match opened {
            Ok(Ok(response)) => {
                self.stream = Some((endpoint, response.into_inner()));
                return Ok(());
            }
            Ok(Err(grpc)) => Failure::of(&grpc, &endpoint.name),
            Err(_) => Failure::timed_out(&endpoint.name),
        };
        self.stream = None;
        self.leave(endpoint, failure)
    }

    fn request(&self) -> v1::WatchRequest {
        v1::WatchRequest {
            kind: Some(self.query.kind.wire()),
            namespace: self.query.namespace.clone(),
            label_selector: self.query.labels.clone(),
            field_selector: self.query.fields.clone(),
            resource_version: self.version.clone().unwrap_or_default(),
            history: if self.version.is_some() { self.history.clone() } else { String::new() },
        }
    }

    fn broke(&mut self, failure: Failure) -> Result<(), Error> {
        match self.stream.take() {
            Some((endpoint, _)) => self.leave(endpoint, failure),
            None => Ok(()),
        }
    }

    /// Plans the next attempt after `failure`, or gives the error that no attempt heals.
    fn leave(&mut self, endpoint: Endpoint, failure: Failure) -> Result<(), Error> {
        self.arriving.clear();
        let may_pass = failure.may_pass();
        let status: Status = failure.into_status();
        self.not_before = Instant::now() + self.backoff.pause(&status);
        if may_pass {
            self.servers.leave(&endpoint);
            return Ok(());
        }
        match Error::from(status) {
            Error::Expired(status) => {
                if status.is_of_another_history() {
                    self.servers.heard.lost(&status.message);
                }
                self.version = None;
                Ok(())
            }
            // The server failed inside, or is full: another time, not another request.
            Error::Broken(_) | Error::Unavailable(_) | Error::Unknown(_) => Ok(()),
            error @ (Error::NotFound(_)
            | Error::AlreadyExists(_)
            | Error::Conflict(_)
            | Error::Invalid(_)
            | Error::Refused(_)) => Err(error),
        }
    }

    fn take(&mut self, response: v1::WatchResponse) -> Option<Update<T>> {
        let version = response.resource_version;
        self.servers.heard.hear(&response.history);
        if !response.history.is_empty() {
            self.history = response.history;
        }
        if self.version.is_none() {
            self.arriving.extend(response.events.iter().filter_map(|event| read(&event.json)));
            if !response.initial_end {
                return None;
            }
            self.version = Some(version.clone());
            let objects = std::mem::take(&mut self.arriving);
            return Some(match std::mem::replace(&mut self.delivered, Delivered::State) {
                Delivered::Nothing => Update::Initial { objects, version },
                Delivered::State => Update::Restarted { objects, version },
            });
        }
        self.version = Some(version.clone());
        if response.events.is_empty() {
            return Some(Update::Bookmark { version });
        }
        let changes = response.events.iter().filter_map(change).collect();
        Some(Update::Changes { changes, version })
    }
}

fn change<T: DeserializeOwned>(event: &v1::WatchEvent) -> Option<Change<T>> {
    let object = read(&event.json)?;
    Some(match event.r#type() {
        Type::Added => Change::Added(object),
        Type::Modified => Change::Modified(object),
        Type::Deleted => Change::Deleted(object),
    })
}

/// An object that this program cannot read (a newer server's) is left out and named in the log; it must not keep all
/// others from arriving.
fn read<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    parse(json)
        .inspect_err(|why| {
            let object = String::from_utf8_lossy(&json[..json.len().min(200)]).into_owned();
            tracing::warn!(object, %why, "watched object left out");
        })
        .ok()
}
