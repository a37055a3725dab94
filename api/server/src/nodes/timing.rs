//! How long is waited for what.

use std::time::Duration;

/// The durations of liveness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Life of a server's key in the store after its last renewal.
    pub server_ttl: Duration,
    /// How often a server renews it.
    pub renew_every: Duration,
    /// A heartbeat is answered only while the server's key is surely alive for this much longer.
    pub answer_margin: Duration,
    /// How often an agent is to be heard; told to each.
    pub heartbeat: Duration,
    /// After this many heartbeats without an answer an agent goes elsewhere; told to each.
    pub missed: u32,
    /// An agent that was silent for this long loses its session.
    pub silence: Duration,
    /// How often silence is looked for.
    pub tick: Duration,
    /// A server whose own tick comes this late was itself away, and counts every agent's silence anew.
    pub late: Duration,
    /// Nodes of a server that vanished have this long to open a session elsewhere.
    pub server_lost_grace: Duration,
    /// Nobody is judged by a server until this long after it started, or lost its key, or could not see the store.
    pub judge_after: Duration,
    /// An agent that was asked for a log must have opened the tunnel by then.
    pub tunnel_within: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            server_ttl: Duration::from_secs(8),
            renew_every: Duration::from_secs(2),
            answer_margin: Duration::from_secs(3),
            heartbeat: Duration::from_secs(2),
            missed: 3,
            silence: Duration::from_secs(6),
            tick: Duration::from_millis(500),
            late: Duration::from_secs(2),
            server_lost_grace: Duration::from_secs(10),
            judge_after: Duration::from_secs(15),
            tunnel_within: Duration::from_secs(10),
        }
    }
}

impl Timing {
    /// What does not fit together: by the names that a configuration file gives the durations.
    pub fn faults(&self) -> Vec<String> {
        // An agent notices within this time that its server answers no more.
        let moves = self.heartbeat * (self.missed + 1);
        let rules = [
            (
                "renewEveryMillis + answerMarginMillis",
                self.renew_every + self.answer_margin,
                "serverTtlMillis, or heartbeats go unanswered between two renewals",
                self.server_ttl,
            ),
            (
                "heartbeatMillis x 2",
                self.heartbeat * 2,
                "silenceMillis, or one late heartbeat costs a session",
                self.silence,
            ),
            ("tickMillis", self.tick, "silenceMillis, or silence is found too late", self.silence),
            (
                "heartbeatMillis x (missedHeartbeats + 1)",
                moves,
                "serverTtlMillis + serverLostGraceMillis, or nodes of a lost server are away before they can move",
                self.server_ttl + self.server_lost_grace,
            ),
            (
                "heartbeatMillis x (missedHeartbeats + 1)",
                moves,
                "judgeAfterMillis, or a new server judges agents that are on their way to it",
                self.judge_after,
            ),
        ];
        let broken = rules.into_iter().filter(|(_, less, _, more)| less >= more);
        broken
            .map(|(name, less, rule, more)| {
                let (less, more) = (less.as_millis(), more.as_millis());
                format!("liveness: {name} ({less}) must be less than {rule} ({more})")
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_that_do_not_fit_together_are_named_all_at_once() {
        assert_eq!(Timing::default().faults(), Vec::<String>::new());
        let second = Duration::from_secs(1);
        let timing = Timing { answer_margin: 7 * second, silence: 4 * second, ..Timing::default() };
        expect_test::expect![[r#"
            liveness: renewEveryMillis + answerMarginMillis (9000) must be less than serverTtlMillis, or heartbeats go unanswered between two renewals (8000)
            liveness: heartbeatMillis x 2 (4000) must be less than silenceMillis, or one late heartbeat costs a session (4000)"#]]
        .assert_eq(&timing.faults().join("\n"));
        let timing = Timing { missed: 9, tick: 6 * second, ..Timing::default() };
        expect_test::expect![[r#"
            liveness: tickMillis (6000) must be less than silenceMillis, or silence is found too late (6000)
            liveness: heartbeatMillis x (missedHeartbeats + 1) (20000) must be less than serverTtlMillis + serverLostGraceMillis, or nodes of a lost server are away before they can move (18000)
            liveness: heartbeatMillis x (missedHeartbeats + 1) (20000) must be less than judgeAfterMillis, or a new server judges agents that are on their way to it (15000)"#]]
        .assert_eq(&timing.faults().join("\n"));
    }
}
