//! How the agents of this node ended, and what the Node says when they end again and again.
//!
//! Each agent journals that it begins, and that it was told to end. One that did the first and not the second before the
//! next of the same boot begins has died. Ends that were asked for, and boots, are not counted.

use std::time::Duration;

use berth_client::Client;
use berth_types::availability::AGENT_RESTARTING;
use berth_types::{Clock, Condition, ConditionStatus, SteadyClock, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::conditions;
use crate::journal::Identity;

/// So many deaths within [`WITHIN`] are a loop.
pub const OFTEN: usize = 3;
/// The window that deaths are counted in.
pub const WITHIN: Duration = Duration::from_secs(600);
/// Deaths that are remembered.
const KEPT: usize = 16;
/// How long an agent in a loop may take to tell of it before it does anything else: its life may be short.
pub const TELL_FIRST: Duration = Duration::from_secs(2);

/// How agents ended so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lives {
    /// When a death was noticed, oldest first; the last few.
    pub deaths: Vec<Timestamp>,
    /// The boot of the agent that runs; `None` once one was told to end.
    pub running: Option<String>,
}

impl Lives {
    /// Whether the last agent began in this boot and was not told to end; asked before another one has [`begun`].
    ///
    /// [`begun`]: Self::begun
    pub fn died_in(&self, boot: &str) -> bool {
        self.running.as_deref() == Some(boot)
    }

    /// Another agent begins.
    pub fn begun(mut self, boot: &str, now: Timestamp) -> Self {
        if self.died_in(boot) {
            self.deaths.push(now);
        }
        let surplus = self.deaths.len().saturating_sub(KEPT);
        self.deaths.drain(..surplus);
        self.running = Some(boot.to_owned());
        self
    }

    /// It was told to end.
    pub fn ended(mut self) -> Self {
        self.running = None;
        self
    }

    /// The deaths within the window. One after `now` is of a clock that was set back since.
    fn lately(&self, now: Timestamp) -> Vec<Timestamp> {
        let past = self.deaths.iter().map(|at| (*at).min(now));
        past.filter(|at| now.since(*at) < WITHIN).collect()
    }

    /// Whether an agent died within the window.
    pub fn died_lately(&self, now: Timestamp) -> bool {
        !self.lately(now).is_empty()
    }

    /// Whether agents end again and again.
    pub fn is_loop(&self, now: Timestamp) -> bool {
        self.lately(now).len() >= OFTEN
    }

    /// When the next death of a loop leaves the window: the condition says something else then, if no more die.
    fn changes_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.is_loop(now).then(|| self.lately(now)[0].plus(WITHIN))
    }

    fn condition(&self, now: Timestamp) -> Condition {
        let lately = self.lately(now);
        let (status, reason, message) = match lately.last() {
            Some(last) if self.is_loop(now) => {
                let text = format!(
                    "the node agent died {} times in the last {} s, most recently before {last}; see its log",
                    lately.len(),
                    WITHIN.as_secs()
                );
                (ConditionStatus::True, "AgentDied", text)
            }
            Some(_) | None => (ConditionStatus::False, "AgentLives", String::new()),
        };
        Condition::new(AGENT_RESTARTING, status, reason, message, now)
    }
}

/// Writes the condition to the Node; retries until a server accepts it. Returns the time that it speaks of.
pub async fn tell_once(client: &Client, identity: &Identity, lives: &Lives) -> Timestamp {
    loop {
        let now = SteadyClock.now();
        if conditions::set(client, identity, lives.condition(now)).await {
            return now;
        }
    }
}

/// The same for each Node that this agent is, and again whenever the condition changes with time; does not end.
pub async fn tell(client: &Client, mut node: watch::Receiver<Option<Identity>>, lives: &Lives) {
    loop {
        let identity = node.borrow_and_update().clone();
        let telling = async {
            let Some(identity) = identity else { return std::future::pending().await };
            tell_of_all_changes(client, &identity, lives).await;
        };
        tokio::select! {
            () = telling => {}
            Ok(()) = node.changed() => continue,
        }
        if node.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

async fn tell_of_all_changes(client: &Client, identity: &Identity, lives: &Lives) {
    while let Some(at) = lives.changes_at(tell_once(client, identity, lives).await) {
        // A death leaves the window just then.
        tokio::time::sleep(at.since(SteadyClock.now()) + Duration::from_millis(1)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    /// Agents that begin at these times and die.
    fn died(times: &[i64]) -> Lives {
        times.iter().fold(Lives::default(), |lives, second| lives.begun("boot", at(*second)))
    }

    #[test]
    fn a_loop_is_several_deaths_within_the_window() {
        for (what, lives, now, expected) in [
            ("the first agent", died(&[0]), 0, false),
            ("two deaths", died(&[0, 1, 2]), 2, false),
            ("three deaths", died(&[0, 1, 2, 3]), 3, true),
            ("the first of three is long ago", died(&[0, 1, 2, 601]), 601, false),
            ("told to end in between", died(&[0, 1, 2]).ended().begun("boot", at(3)), 3, false),
            ("a boot in between", died(&[0, 1, 2]).begun("other", at(3)), 3, false),
            ("told to end after it", died(&[0, 1, 2, 3]).ended().begun("boot", at(4)), 4, true),
            ("the clock was set back", died(&[9000, 9001, 9002, 9003]), 10, true),
        ] {
            assert_eq!(lives.is_loop(at(now)), expected, "{what}");
            let status = if expected { ConditionStatus::True } else { ConditionStatus::False };
            assert_eq!(lives.condition(at(now)).status, status, "{what}");
        }
    }

    #[test]
    fn a_loop_is_over_when_too_few_deaths_are_left_in_the_window_and_its_text_changes_with_each() {
        let lives = died(&[0, 100, 200, 300, 400]);
        assert!(lives.is_loop(at(799)) && !lives.is_loop(at(800)));
        let mut now = at(400);
        let mut texts = vec![lives.condition(now).message];
        while let Some(next) = lives.changes_at(now) {
            now = next;
            texts.push(lives.condition(now).message);
        }
        assert_eq!(now, at(800));
        let counts: Vec<_> = texts.iter().map(|text| text.split(' ').nth(4).unwrap_or("")).collect();
        assert_eq!(counts, ["4", "3", ""], "{texts:?}");
        assert_eq!(died(&[0, 1, 2]).changes_at(at(2)), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let lives = died(&(0..1000).collect::<Vec<_>>());
        assert_eq!(lives.deaths.len(), KEPT);
        assert_eq!(lives.deaths.last(), Some(&at(999)));
    }
}
