//! Writes one Event: a new one, or one more time of one that is there.

use std::time::Duration;

use async_trait::async_trait;
use berth_client::{Client, Error, Write};
use berth_types::core::Event;
use serde_json::json;

use super::book::{Expected, Page};

/// A write that takes longer is given up: there will be other notes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where Events are kept.
#[async_trait]
pub trait Pen: Send + Sync + 'static {
    /// Makes an Event.
    async fn create(&self, event: &Event) -> Result<(), Error>;
    /// Says that the Event of this place and name happened so many times, the last time then.
    async fn count(&self, event: &Event, count: u32) -> Result<(), Error>;
    /// How many times the Event of this place and name happened.
    async fn counted(&self, event: &Event) -> Result<u32, Error>;

    /// Writes a page; the count that its Event has then, or none when it could not be written.
    async fn write(&self, page: &Page) -> Option<u32> {
        match tokio::time::timeout(PATIENCE, self.put(page)).await {
            Ok(Ok(count)) => Some(count),
            Ok(Err(why)) => {
                tracing::debug!(event = page.name, %why, "a note was not written");
                None
            }
            Err(_) => None,
        }
    }

    /// Two writers of one note may lose one count to each other: it is for people.
    async fn put(&self, page: &Page) -> Result<u32, Error> {
        if let Expected::Counting(before) = page.expected {
            let count = before.saturating_add(page.more);
            match self.count(&page.event, count).await {
                Err(Error::NotFound(_)) => {}
                counted => return counted.map(|()| count),
            }
        }
        match self.create(&page.event).await {
            Ok(()) => Ok(page.more),
            Err(Error::AlreadyExists(_)) => {
                let count = self.counted(&page.event).await?.saturating_add(page.more);
                self.count(&page.event, count).await.map(|()| count)
            }
            Err(error) => Err(error),
        }
    }
}

/// Keeps Events in the cluster.
pub struct ClientPen {
    client: Client,
}

impl ClientPen {
    /// By this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }
}

#[async_trait]
impl Pen for ClientPen {
    async fn create(&self, event: &Event) -> Result<(), Error> {
        self.client.send(&Write::create(event)).await.map(|_| ())
    }

    async fn count(&self, event: &Event, count: u32) -> Result<(), Error> {
        let patch = json!({ "count": count, "lastTimestamp": event.last_timestamp });
        let write = Write::patch::<Event>(&event.metadata.namespace, &event.metadata.name, patch);
        self.client.send(&write).await.map(|_| ())
    }

    async fn counted(&self, event: &Event) -> Result<u32, Error> {
        let there = self.client.get_as::<Event>(&event.metadata.namespace, &event.metadata.name).await?;
        Ok(there.count)
    }
}
