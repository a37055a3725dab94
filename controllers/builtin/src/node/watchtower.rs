//! Keeps what an apiserver reports of the presence of agents.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use berth_client::{NodePresence, Presence, PresenceState, PresenceStream};
use berth_runtime::Key;
use berth_types::{Clock, Timestamp};
use futures::Stream;

use super::observed::Sight;

/// After a report that waiting does not bring (the call is not allowed), until the next try.
const AFTER_REFUSAL: Duration = Duration::from_secs(5);

/// What is known of the presence of agents.
#[derive(Debug, Default)]
pub struct Watchtower(RwLock<Told>);

#[derive(Debug, Default)]
struct Told {
    by: Witness,
    nodes: HashMap<String, (String, Found)>,
}

/// Whether the server that reports may be judged by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Witness {
    #[default]
    Doubtful,
    Believed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Present,
    AwaySince(Timestamp),
}

impl Watchtower {
    /// What may be believed of the agent of the Node of this uid.
    pub fn sight(&self, node: &str, uid: &str) -> Sight {
        let told = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let found = told.nodes.get(node).filter(|(of, _)| of == uid).map(|(_, found)| *found);
        match (found, told.by) {
            (Some(Found::Present), _) => Sight::Present,
            (Some(Found::AwaySince(since)), Witness::Believed) => Sight::Away(since),
            (Some(Found::AwaySince(_)), Witness::Doubtful) | (None, _) => Sight::Unseen,
        }
    }

    /// Follows the reports; after each, the nodes about which there may be something new to say.
    pub fn follow(
        self: Arc<Self>,
        reports: PresenceStream,
        clock: Arc<dyn Clock>,
    ) -> impl Stream<Item = Vec<Key>> {
        self.receive(Presence::Lost, clock.now());
        futures::stream::unfold((self, reports, clock), |(tower, mut reports, clock)| async move {
            let woken = loop {
                match reports.next().await {
                    Ok(report) => break tower.receive(report, clock.now()),
                    Err(why) => {
                        tracing::warn!(%why, "could not follow the presence of nodes");
                        tokio::time::sleep(AFTER_REFUSAL).await;
                    }
                }
            };
            Some((woken, (tower, reports, clock)))
        })
    }

    /// Takes a report in. Every node that is away is concerned by it too: how many vanished together counts.
    pub(super) fn receive(&self, report: Presence, now: Timestamp) -> Vec<Key> {
        let mut told = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = told.by;
        let mut woken: Vec<String> = match report {
            Presence::Lost => {
                *told = Told::default();
                return Vec::new();
            }
            Presence::All { believed, nodes } => {
                *told = Told::default();
                told.take(believed, nodes, now)
            }
            Presence::Changes { believed, nodes } => told.take(believed, nodes, now),
        };
        let turned = told.by != before;
        let others = told.nodes.iter().filter(|(_, (_, found))| turned || *found != Found::Present);
        woken.extend(others.map(|(name, _)| name.clone()));
        woken.sort();
        woken.dedup();
        woken.into_iter().map(|name| Key::new("", name)).collect()
    }
}

impl Told {
    fn take(&mut self, believed: bool, nodes: Vec<NodePresence>, now: Timestamp) -> Vec<String> {
        self.by = if believed { Witness::Believed } else { Witness::Doubtful };
        let mut named = Vec::new();
        for NodePresence { node, node_uid, state } in nodes {
            named.push(node.clone());
            let found = match state {
                PresenceState::Present => Found::Present,
                PresenceState::Absent(how_long) => {
                    let millis = i64::try_from(how_long.as_millis()).unwrap_or(i64::MAX);
                    Found::AwaySince(Timestamp::from_millis(now.millis().saturating_sub(millis)))
                }
                PresenceState::Removed => {
                    self.nodes.remove(&node);
                    continue;
                }
            };
            self.nodes.insert(node, (node_uid, found));
        }
        named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(node: &str, state: PresenceState) -> Vec<NodePresence> {
        vec![NodePresence { node: node.into(), node_uid: "u1".into(), state }]
    }

    #[test]
    fn absence_counts_only_on_the_word_of_a_server_that_may_be_believed() {
        let (tower, now) = (Watchtower::default(), Timestamp::from_millis(60_000));
        let away = PresenceState::Absent(Duration::from_secs(6));
        assert_eq!(tower.sight("n1", "u1"), Sight::Unseen);
        tower.receive(Presence::All { believed: false, nodes: report("n1", away) }, now);
        assert_eq!(tower.sight("n1", "u1"), Sight::Unseen);
        let woken = tower.receive(Presence::Changes { believed: true, nodes: vec![] }, now);
        assert_eq!(woken, [Key::new("", "n1")]);
        assert_eq!(tower.sight("n1", "u1"), Sight::Away(Timestamp::from_millis(54_000)));
        assert_eq!(tower.sight("n1", "of an earlier Node"), Sight::Unseen);
        tower.receive(Presence::Changes { believed: true, nodes: report("n1", PresenceState::Present) }, now);
        assert_eq!(tower.sight("n1", "u1"), Sight::Present);
        // A report that is not believed makes no node absent.
        tower.receive(Presence::Changes { believed: false, nodes: vec![] }, now);
        assert_eq!(tower.sight("n1", "u1"), Sight::Present);
        tower.receive(Presence::Lost, now);
        assert_eq!(tower.sight("n1", "u1"), Sight::Unseen);
    }

    #[test]
    fn every_node_of_a_report_is_taken_in_and_all_that_are_away_are_looked_at_again() {
        let (tower, now) = (Watchtower::default(), Timestamp::from_millis(60_000));
        let away = |seconds| PresenceState::Absent(Duration::from_secs(seconds));
        let hear = |whole: bool, states: &[(&str, PresenceState)]| {
            let nodes = states.iter().flat_map(|(node, state)| report(node, *state)).collect();
            let report = match whole {
                true => Presence::All { believed: true, nodes },
                false => Presence::Changes { believed: true, nodes },
            };
            tower.receive(report, now).iter().map(|key| key.name.clone()).collect::<Vec<_>>()
        };
        let sights = || ["n1", "n2", "n3", "n4"].map(|node| tower.sight(node, "u1"));
        let (since, present) =
            (|seconds: i64| Sight::Away(Timestamp::from_millis(seconds * 1000)), Sight::Present);
        let all = [("n1", away(6)), ("n2", PresenceState::Present), ("n3", away(7)), ("n4", away(8))];
        assert_eq!(hear(true, &all), ["n1", "n2", "n3", "n4"]);
        assert_eq!(sights(), [since(54), present, since(53), since(52)]);
        let changes = [("n1", PresenceState::Removed), ("n3", PresenceState::Present), ("n2", away(1))];
        assert_eq!(hear(false, &changes), ["n1", "n2", "n3", "n4"]);
        assert_eq!(sights(), [Sight::Unseen, since(59), present, since(52)]);
        assert_eq!(hear(false, &[]), ["n2", "n4"]);
        assert_eq!(hear(true, &all[1..3]), ["n2", "n3"]);
        assert_eq!(sights(), [Sight::Unseen, present, since(53), Sight::Unseen]);
    }
}
