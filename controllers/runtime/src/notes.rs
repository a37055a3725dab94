//! Notes for people: what happened to an object that they would ask about, kept as Events.
//!
//! Telling never blocks and never fails: who tells goes on, and a writer of its own sends what it can. A note that
//! repeats raises the count of its Event; so many at once that they would be a load of their own are dropped.

mod book;
mod pen;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use berth_client::Client;
use berth_types::core::{EventSource, ObjectReference};
use berth_types::parcel::cut_text;
use berth_types::{Clock, Resource, SteadyClock};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use book::Book;
use pen::{ClientPen, Pen};

/// Notes that wait to be taken in.
const WAITING: usize = 512;

/// Whether a person has to care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// It went as asked.
    Normal,
    /// It did not.
    Warning,
}

/// Something that happened to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    about: ObjectReference,
    weight: Weight,
    reason: String,
    message: String,
}

impl Note {
    /// A note about `object`. The same reason and message again is the same note: leave out what differs each time.
    pub fn new<K: Resource>(
        object: &K,
        weight: Weight,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        let meta = object.meta();
        let about = reference::<K>(&meta.namespace, &meta.name, &meta.uid);
        Self::on(about, weight, reason, message)
    }

    /// A note about the object of this kind, name and uid; many may wait, so a long message is cut.
    pub fn on(
        about: ObjectReference,
        weight: Weight,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        let mut message = message.into();
        cut_text(&mut message);
        Self { about, weight, reason: reason.into(), message }
    }

    /// The reason, in one word.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// What happened, for a person.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// Names an object for a [`Note`].
pub fn reference<K: Resource>(namespace: &str, name: &str, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: K::API_VERSION.into(),
        kind: K::KIND.into(),
        namespace: namespace.into(),
        name: name.into(),
        uid: uid.into(),
    }
}

/// Where notes are told; cheap to clone. The writer behind it ends with the last clone.
#[derive(Debug, Clone)]
pub struct Notes {
    sender: mpsc::Sender<Note>,
    _writer: Arc<JoinSet<()>>,
}

impl Notes {
    /// Notes of `component`, on `host` when it is an agent.
    pub fn new(client: Client, component: &str, host: &str) -> Self {
        let source = EventSource { component: component.into(), host: host.into() };
        let (sender, notes) = mpsc::channel(WAITING);
        let mut writer = JoinSet::new();
        writer.spawn(write(ClientPen::new(client), Book::new(source), notes));
        Self { sender, _writer: Arc::new(writer) }
    }

    /// Tells a note; at once, and whatever becomes of it.
    pub fn report(&self, note: Note) {
        if let Err(dropped) = self.sender.try_send(note) {
            tracing::debug!(why = %dropped, "a note was dropped");
        }
    }
}

/// Takes notes in and writes those that are due, one after the other.
async fn write(pen: impl Pen, mut book: Book, mut notes: mpsc::Receiver<Note>) {
    let clock = SteadyClock;
    loop {
        let now = clock.now();
        if let Some(page) = book.take_due(now) {
            let written = pen.write(&page).await;
            book.written(&page.name, written, clock.now());
            while let Ok(note) = notes.try_recv() {
                book.note(note, clock.now());
            }
            continue;
        }
        let pause = book.next_due(now).map(|at| at.since(now));
        tokio::select! {
            told = notes.recv() => match told {
                Some(note) => book.note(note, clock.now()),
                None => return,
            },
            () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
        }
    }
}
