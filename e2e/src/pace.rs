//! How fast a world lives: the durations of its parts, as their configuration files say them.

use crate::soak;

/// The durations that a world's parts are configured with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pace {
    /// The defaults.
    #[default]
    Full,
    /// A fifth of the defaults, so that a scenario about leases, silence and outages takes a fifth of the time. What
    /// only bounds a call, and decides nothing, stays longer, and so does the time that agents have to come back to a new
    /// server: the machine is as slow as ever.
    Fifth,
}

const APISERVER: &str = "bookmarkSeconds: 1
liveness:
  serverTtlMillis: 2000
  renewEveryMillis: 400
  answerMarginMillis: 600
  heartbeatMillis: 400
  missedHeartbeats: 3
  silenceMillis: 1200
  tickMillis: 100
  lateMillis: 400
  serverLostGraceMillis: 2000
  judgeAfterMillis: 5000
etcd: {deadlineMillis: 2400, patienceMillis: 1200}
keepalive: {everyMillis: 2000, answerMillis: 2000}
";

const CLIENT: &str = "client:
  connectMillis: 1000
  attemptMillis: 4000
  deadlineMillis: 8000
  keepaliveMillis: 600
  keepaliveAnswerMillis: 900
  watchSilenceMillis: 3000
";

const CONTROLLERS: &str = "lease: {durationMillis: 2000, renewEveryMillis: 400, giveUpAfterMillis: 1600}
massVanish: {withinSeconds: 12}
";

const AGENT: &str = "reconnectMillis: 100
unknownTasksMillis: 12000
";

impl Pace {
    /// A fifth, but for a soak, which has the time.
    pub fn of_run() -> Self {
        if soak::soaking() { Self::Full } else { Self::Fifth }
    }

    /// Lines of the configuration file of an apiserver.
    pub fn apiserver(self) -> String {
        self.lines(&[APISERVER])
    }

    /// The same for one that judges nobody for a minute after it was away itself.
    pub fn doubtful_apiserver(self) -> String {
        match self {
            Self::Full => "liveness: {judgeAfterMillis: 60000}\n".into(),
            Self::Fifth => APISERVER.replace("judgeAfterMillis: 5000", "judgeAfterMillis: 60000"),
        }
    }

    /// Lines of the configuration file of controllers.
    pub fn controllers(self) -> String {
        self.lines(&[CONTROLLERS, CLIENT])
    }

    /// Lines of the configuration file of a node agent, a simulated one too.
    pub fn agent(self) -> String {
        self.lines(&[AGENT, CLIENT])
    }

    fn lines(self, parts: &[&str]) -> String {
        match self {
            Self::Full => String::new(),
            Self::Fifth => parts.concat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubtful_server_differs_in_its_doubt_alone() {
        let changed = |pace: Pace| {
            let (usual, doubtful) = (pace.apiserver(), pace.doubtful_apiserver());
            doubtful.lines().filter(|line| !usual.lines().any(|of| of == *line)).map(str::to_owned).collect()
        };
        let (full, fifth): (Vec<_>, Vec<_>) = (changed(Pace::Full), changed(Pace::Fifth));
        assert_eq!(full, ["liveness: {judgeAfterMillis: 60000}"]);
        assert_eq!(fifth, ["  judgeAfterMillis: 60000"]);
    }
}
