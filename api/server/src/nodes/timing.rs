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
            silence: Duration::from_secs(6),
            tick: Duration::from_millis(500),
            late: Duration::from_secs(2),
            server_lost_grace: Duration::from_secs(10),
            judge_after: Duration::from_secs(15),
            tunnel_within: Duration::from_secs(10),
        }
    }
}
