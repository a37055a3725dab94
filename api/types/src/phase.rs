//! The phase of a Task: how far along its life is. It only goes forward, and an end is final.

use std::fmt;

use crate::task::Task;

/// How far along its life a Task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Not taken on by an agent yet, bound or not.
    Pending,
    /// Its agent prepares its containers.
    Starting,
    /// Its containers were started; one that ended may be waiting to be started again.
    Running,
    /// It is being stopped.
    Stopping,
    /// All containers ended well. Final.
    Succeeded,
    /// It ended otherwise. Final.
    Failed,
}

/// A word that is no phase.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown phase `{0}`")]
pub struct UnknownPhase(pub String);

/// A phase that does not follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", match .from.is_final() {
    true => format!("a {from} Task cannot become {to}: its end is final"),
    false => format!("a {from} Task cannot become {to} again"),
})]
pub struct IllegalStep {
    /// The phase that is.
    pub from: Phase,
    /// The phase that was to follow.
    pub to: Phase,
}

impl Phase {
    /// All of them, in the order of a life.
    pub const ALL: [Phase; 6] =
        [Phase::Pending, Phase::Starting, Phase::Running, Phase::Stopping, Phase::Succeeded, Phase::Failed];

    /// The phase of `task`; `Pending` when none is written yet.
    pub fn of(task: &Task) -> Result<Phase, UnknownPhase> {
        Phase::try_from(task.status.phase.as_str())
    }

    /// Whether the Task is at its end.
    pub fn is_final(self) -> bool {
        match self {
            Phase::Pending | Phase::Starting | Phase::Running | Phase::Stopping => false,
            Phase::Succeeded | Phase::Failed => true,
        }
    }

    /// What follows when `next` is reported: forward or the same; phases may be left out, none comes twice.
    pub fn step(self, next: Phase) -> Result<Phase, IllegalStep> {
        if next == self || (!self.is_final() && next > self) {
            return Ok(next);
        }
        Err(IllegalStep { from: self, to: next })
    }

    /// As it is written in `status.phase`.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Pending => "Pending",
            Phase::Starting => "Starting",
            Phase::Running => "Running",
            Phase::Stopping => "Stopping",
            Phase::Succeeded => "Succeeded",
            Phase::Failed => "Failed",
        }
    }
}

impl TryFrom<&str> for Phase {
    type Error = UnknownPhase;

    fn try_from(word: &str) -> Result<Phase, UnknownPhase> {
        match word {
            "" | "Pending" => Ok(Phase::Pending),
            "Starting" => Ok(Phase::Starting),
            "Running" => Ok(Phase::Running),
            "Stopping" => Ok(Phase::Stopping),
            "Succeeded" => Ok(Phase::Succeeded),
            "Failed" => Ok(Phase::Failed),
            other => Err(UnknownPhase(other.into())),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_only_goes_forward_and_an_end_is_final() {
        let table: Vec<String> = Phase::ALL
            .iter()
            .map(|from| {
                let next: Vec<&str> =
                    Phase::ALL.iter().filter(|to| from.step(**to).is_ok()).map(|to| to.as_str()).collect();
                format!("{from}: {}\n", next.join(" "))
            })
            .collect();
        expect_test::expect![[r#"
            Pending: Pending Starting Running Stopping Succeeded Failed
            Starting: Starting Running Stopping Succeeded Failed
            Running: Running Stopping Succeeded Failed
            Stopping: Stopping Succeeded Failed
            Succeeded: Succeeded
            Failed: Failed
        "#]]
        .assert_eq(&table.concat());
        let refusal = Phase::Failed.step(Phase::Running).unwrap_err().to_string();
        assert_eq!(refusal, "a Failed Task cannot become Running: its end is final");
        let refusal = Phase::Running.step(Phase::Starting).unwrap_err().to_string();
        assert_eq!(refusal, "a Running Task cannot become Starting again");
    }

    #[test]
    fn a_phase_reads_back_as_written() {
        for phase in Phase::ALL {
            assert_eq!(Phase::try_from(phase.as_str()), Ok(phase));
        }
        assert_eq!(Phase::try_from(""), Ok(Phase::Pending));
        assert!(Phase::try_from("running").is_err());
    }
}
