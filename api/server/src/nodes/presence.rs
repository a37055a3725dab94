//! The stream of which nodes are present.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use berth_proto::v1::{NodePresence, PresenceReport};
use futures::Stream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::Shared;
use super::roll::{Roll, Sight};

/// Changes within this time travel in one report: many agents come at once.
const GATHER: Duration = Duration::from_millis(20);

/// What one reader was told.
struct Reader {
    shared: Arc<Shared>,
    changed: watch::Receiver<u64>,
    stopped: watch::Receiver<bool>,
    told: Option<Told>,
}

#[derive(Default)]
struct Told {
    believed: bool,
    nodes: BTreeMap<String, (String, IsPresent)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum IsPresent {
    Yes,
    No,
}

/// Reports: the first names all nodes, once this server has seen the store; the later ones what changed.
pub(super) fn reports(shared: Arc<Shared>) -> impl Stream<Item = PresenceReport> + Send + 'static {
    let changed = shared.changed.subscribe();
    let stopped = shared.stopped.subscribe();
    let reader = Reader { shared, changed, stopped, told: None };
    futures::stream::unfold(reader, |mut reader| async move {
        let report = reader.next().await?;
        Some((report, reader))
    })
}

impl Reader {
    /// The next report that says anything; none when the server stops.
    async fn next(&mut self) -> Option<PresenceReport> {
        loop {
            self.changed.borrow_and_update();
            let due = {
                let roll = self.shared.roll();
                let now = Instant::now();
                if self.told.is_some() || roll.sees() {
                    let is_first = self.told.is_none();
                    let report = self.told.get_or_insert_default().update(&roll, now);
                    if is_first || report.is_some() {
                        return Some(report.unwrap_or_default());
                    }
                }
                roll.next_due(now)
            };
            tokio::select! {
                changed = self.changed.changed() => changed.ok()?,
                () = until(due) => {}
                _ = self.stopped.wait_for(|stopped| *stopped) => return None,
            }
            sleep(GATHER).await;
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl Told {
    /// What is to be told beside what was; none when nothing changed.
    fn update(&mut self, roll: &Roll, now: Instant) -> Option<PresenceReport> {
        let believed = roll.believed(now);
        let mut nodes = Vec::new();
        let mut seen = 0;
        for (name, uid, sight) in roll.sights(now) {
            let is_present = match sight {
                Sight::Present => IsPresent::Yes,
                Sight::Absent(_) => IsPresent::No,
            };
            seen += 1;
            if self.nodes.get(name).is_some_and(|(was, told)| was == uid && *told == is_present) {
                continue;
            }
            self.nodes.insert(name.into(), (uid.into(), is_present));
            nodes.push(present(name, uid, sight, now));
        }
        if seen < self.nodes.len() {
            self.nodes.retain(|name, (uid, _)| {
                let stays = roll.node_uid(name).is_some();
                if !stays {
                    nodes.push(removed(name, uid));
                }
                stays
            });
        }
        let changed = !nodes.is_empty() || believed != self.believed;
        self.believed = believed;
        changed.then_some(PresenceReport { believed, nodes })
    }
}

fn present(name: &str, uid: &str, sight: Sight, now: Instant) -> NodePresence {
    let absent = match sight {
        Sight::Present => Duration::ZERO,
        Sight::Absent(since) => now.saturating_duration_since(since),
    };
    NodePresence {
        node: name.into(),
        node_uid: uid.into(),
        present: sight == Sight::Present,
        absent_milliseconds: u64::try_from(absent.as_millis()).unwrap_or(u64::MAX),
        removed: false,
    }
}

fn removed(name: &str, uid: &str) -> NodePresence {
    NodePresence { node: name.into(), node_uid: uid.into(), removed: true, ..NodePresence::default() }
}
