//! Histories about what watchers are told.

use std::time::Duration;

use berth_e2e::history::Run;
use berth_e2e::history::selector::{Selector, Term};
use berth_server::Options;

use crate::witness::{Recorder, Watcher, last_version};
use crate::world::World;

fn gold() -> Selector {
    Selector::one(Term::any_of("tier", &["gold"]))
}

fn quick() -> Options {
    Options { bookmarks: Duration::from_millis(100), ..Options::default() }
}

/// Objects come into a selection, alone and several at once, change in it and leave it.
pub async fn a_watch_follows_its_selection() -> Run {
    let world = World::with(quick()).await;
    let mut client = Recorder::new("client", &world.peer);
    client.create("a", "gold").await;
    let mut watcher = Watcher::open(&world.peer, "watcher", gold(), None).await;
    watcher.listen(last_version(&client)).await;
    for tier in ["tin", "gold", "gold", "gold", "gold", "gold", "gold", "gold", "gold", "tin"] {
        client.relabel("a", tier).await;
        watcher.listen(last_version(&client)).await;
    }
    client.create_together(&["b", "c", "d"], "gold").await;
    watcher.listen(last_version(&client)).await;
    let head = world.head().await;
    watcher.listen(head).await;
    Run { answers: client.operations, watches: vec![watcher.done(Some(head))], ..world.run().await }
}

/// A watcher goes, and goes on where it was.
pub async fn a_watch_is_resumed() -> Run {
    let world = World::with(quick()).await;
    let mut client = Recorder::new("client", &world.peer);
    let mut first = Watcher::open(&world.peer, "first", gold(), None).await;
    client.create("a", "gold").await;
    let seen = world.head().await;
    first.listen(seen).await;
    let mut second = Watcher::open(&world.peer, "second", gold(), Some(seen)).await;
    client.create("b", "gold").await;
    let head = world.head().await;
    second.listen(head).await;
    let watches = vec![first.done(None), second.done(Some(head))];
    Run { answers: client.operations, watches, ..world.run().await }
}

/// A watcher was away for longer than the server remembers.
pub async fn a_watch_is_resumed_too_late() -> Run {
    let world = World::with(Options { window_bytes: 4000, ..quick() }).await;
    let mut client = Recorder::new("client", &world.peer);
    client.create("a", "gold").await;
    let seen = last_version(&client) | 1023;
    for _ in 0..10 {
        client.relabel("a", "gold").await;
    }
    let mut watcher = Watcher::open(&world.peer, "late", gold(), Some(seen)).await;
    let head = world.head().await;
    watcher.listen(head).await;
    Run { answers: client.operations, watches: vec![watcher.done(Some(head))], ..world.run().await }
}
