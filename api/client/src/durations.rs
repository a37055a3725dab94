//! The durations of a client as the configuration files of programs name them.

use std::time::Duration;

use serde::Deserialize;

use crate::failover::Options;

/// The key `client` of a configuration file; what is not given stays at its default.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Durations {
    connect_millis: Option<u64>,
    attempt_millis: Option<u64>,
    deadline_millis: Option<u64>,
    first_pause_millis: Option<u64>,
    max_pause_millis: Option<u64>,
    keepalive_millis: Option<u64>,
    keepalive_answer_millis: Option<u64>,
    watch_silence_millis: Option<u64>,
}

impl Durations {
    /// What they mean for a client; what is wrong with them joins `faults`.
    pub fn options(&self, faults: &mut Vec<String>) -> Options {
        let default = Options::default();
        let mut millis = |field: &str, given: Option<u64>, default: Duration| {
            if given == Some(0) {
                faults.push(format!("client.{field}: must be at least 1, got 0"));
            }
            given.map_or(default, Duration::from_millis)
        };
        let options = Options {
            connect_timeout: millis("connectMillis", self.connect_millis, default.connect_timeout),
            attempt_timeout: millis("attemptMillis", self.attempt_millis, default.attempt_timeout),
            deadline: millis("deadlineMillis", self.deadline_millis, default.deadline),
            first_pause: millis("firstPauseMillis", self.first_pause_millis, default.first_pause),
            max_pause: millis("maxPauseMillis", self.max_pause_millis, default.max_pause),
            keepalive: millis("keepaliveMillis", self.keepalive_millis, default.keepalive),
            keepalive_answer: millis(
                "keepaliveAnswerMillis",
                self.keepalive_answer_millis,
                default.keepalive_answer,
            ),
            watch_silence: millis("watchSilenceMillis", self.watch_silence_millis, default.watch_silence),
        };
        for (field, least, most_field, most) in [
            ("attemptMillis", options.attempt_timeout, "deadlineMillis", options.deadline),
            ("firstPauseMillis", options.first_pause, "maxPauseMillis", options.max_pause),
        ] {
            if least > most {
                let (least, most) = (least.as_millis(), most.as_millis());
                faults.push(format!("client.{field}: must be at most {most_field} ({most}), got {least}"));
            }
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_holds_what_does_not_fit_is_told_and_the_rest_is_the_default() {
        let mut faults = Vec::new();
        let given = Durations { watch_silence_millis: Some(3000), ..Durations::default() };
        assert_eq!(given.options(&mut faults).watch_silence, Duration::from_secs(3));
        assert_eq!(given.options(&mut faults).keepalive, Options::default().keepalive);
        assert_eq!(faults, Vec::<String>::new());
        let given = Durations { deadline_millis: Some(9), keepalive_millis: Some(0), ..Durations::default() };
        given.options(&mut faults);
        expect_test::expect![[r#"
            client.keepaliveMillis: must be at least 1, got 0
            client.attemptMillis: must be at most deadlineMillis (9), got 10000"#]]
        .assert_eq(&faults.join("\n"));
    }
}
