//! The durations of a configuration file, in milliseconds.

use std::time::Duration;

use berth_server::Timing;
use berth_store::EtcdOptions;
use serde::Deserialize;

/// How long one may be silent before others act.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Liveness {
    server_ttl_millis: Option<u64>,
    renew_every_millis: Option<u64>,
    answer_margin_millis: Option<u64>,
    heartbeat_millis: Option<u64>,
    missed_heartbeats: Option<u32>,
    silence_millis: Option<u64>,
    tick_millis: Option<u64>,
    late_millis: Option<u64>,
    server_lost_grace_millis: Option<u64>,
    judge_after_millis: Option<u64>,
    tunnel_within_millis: Option<u64>,
}

/// How long calls to etcd may take.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Etcd {
    deadline_millis: Option<u64>,
    patience_millis: Option<u64>,
}

/// How often a connection is tried, and how long an answer may take.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Keepalive {
    every_millis: Option<u64>,
    answer_millis: Option<u64>,
}

/// Pings on the connections of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pings {
    /// How often.
    pub every: Duration,
    /// A client that does not answer for this long is cut off.
    pub answer: Duration,
}

impl Default for Pings {
    fn default() -> Self {
        Self { every: Duration::from_secs(10), answer: Duration::from_secs(10) }
    }
}

impl Liveness {
    /// The durations, with what was not given at its default.
    pub fn timing(&self, faults: &mut Vec<String>) -> Timing {
        let default = Timing::default();
        let before = faults.len();
        let mut millis =
            |field: &str, given, default| millis(&format!("liveness.{field}"), given, default, faults);
        let timing = Timing {
            server_ttl: millis("serverTtlMillis", self.server_ttl_millis, default.server_ttl),
            renew_every: millis("renewEveryMillis", self.renew_every_millis, default.renew_every),
            answer_margin: millis("answerMarginMillis", self.answer_margin_millis, default.answer_margin),
            heartbeat: millis("heartbeatMillis", self.heartbeat_millis, default.heartbeat),
            missed: self.missed_heartbeats.unwrap_or(default.missed),
            silence: millis("silenceMillis", self.silence_millis, default.silence),
            tick: millis("tickMillis", self.tick_millis, default.tick),
            late: millis("lateMillis", self.late_millis, default.late),
            server_lost_grace: millis(
                "serverLostGraceMillis",
                self.server_lost_grace_millis,
                default.server_lost_grace,
            ),
            judge_after: millis("judgeAfterMillis", self.judge_after_millis, default.judge_after),
            tunnel_within: millis("tunnelWithinMillis", self.tunnel_within_millis, default.tunnel_within),
        };
        if timing.missed == 0 {
            faults.push("liveness.missedHeartbeats: must be at least 1, got 0".into());
        }
        if faults.len() == before {
            faults.extend(timing.faults());
        }
        timing
    }
}

/// etcd counts the life of its leases in whole seconds, and gives none less than two.
pub fn fits_etcd(timing: &Timing, faults: &mut Vec<String>) {
    let ttl = timing.server_ttl.as_millis();
    if ttl < 2000 || !ttl.is_multiple_of(1000) {
        faults
            .push(format!("liveness.serverTtlMillis: must be whole seconds, at least 2, on etcd, got {ttl}"));
    }
}

impl Etcd {
    /// How etcd is called.
    pub fn options(&self, faults: &mut Vec<String>) -> EtcdOptions {
        let default = EtcdOptions::default();
        let deadline = millis("etcd.deadlineMillis", self.deadline_millis, default.deadline, faults);
        let patience = millis("etcd.patienceMillis", self.patience_millis, default.patience, faults);
        if patience > deadline {
            let (patience, deadline) = (patience.as_millis(), deadline.as_millis());
            faults.push(format!(
                "etcd.patienceMillis: must be at most deadlineMillis ({deadline}), got {patience}"
            ));
        }
        EtcdOptions { deadline, patience, ..default }
    }
}

impl Keepalive {
    /// The pings.
    pub fn pings(&self, faults: &mut Vec<String>) -> Pings {
        let default = Pings::default();
        Pings {
            every: millis("keepalive.everyMillis", self.every_millis, default.every, faults),
            answer: millis("keepalive.answerMillis", self.answer_millis, default.answer, faults),
        }
    }
}

fn millis(field: &str, given: Option<u64>, default: Duration, faults: &mut Vec<String>) -> Duration {
    if given == Some(0) {
        faults.push(format!("{field}: must be at least 1, got 0"));
    }
    given.map_or(default, Duration::from_millis)
}
