//! One container of a Task: its present attempt, how the one before ended, and what its probes say.

use berth_types::Timestamp;

use super::{Exit, ExitCause, Finding, ProbeKind, Probing, Restarts};
use crate::assignment::{ProbePlan, Program};

/// One container of a Task.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerRun {
    /// What runs.
    pub program: Program,
    /// Number of the present attempt, or of the next one while none runs.
    pub attempt: u32,
    /// What it does.
    pub state: RunState,
    /// How the attempt before ended.
    pub last: Option<EndedAttempt>,
    /// When it ended lately.
    pub restarts: Restarts,
    /// Digest of its image's manifest; empty without image, or before that is known.
    pub image_digest: String,
}

/// What a container does.
#[derive(Debug, Clone, PartialEq)]
pub enum RunState {
    /// The present attempt is due and was never begun.
    Waiting,
    /// Its start was asked for.
    Starting,
    /// It runs.
    Running(Live),
    /// It ended and starts again then.
    BackOff {
        /// When.
        until: Timestamp,
    },
    /// It ended for good.
    Ended,
}

/// A running attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// Since when.
    pub since: Timestamp,
    /// Whether it may get requests; none without such a probe.
    pub readiness: Option<Probing>,
    /// Whether it must be restarted; none without such a probe.
    pub liveness: Option<Probing>,
    /// What was done to end it.
    pub fate: Fate,
}

/// What was done to end a running attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Wanted,
    /// KILL, for what its liveness probe found.
    Unhealthy(String),
    /// TERM.
    Terminated,
    /// KILL.
    Killed,
}

/// An attempt that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedAttempt {
    /// Which attempt.
    pub number: u32,
    /// When it was started; none when it never ran.
    pub started: Option<Timestamp>,
    /// How it ended.
    pub exit: Exit,
}

impl Live {
    /// An attempt that started at `since`.
    pub fn new(since: Timestamp, program: &Program) -> Self {
        let probing = |plan: &Option<ProbePlan>| plan.as_ref().map(|plan| Probing::since(since, plan));
        Self {
            since,
            readiness: probing(&program.readiness),
            liveness: probing(&program.liveness),
            fate: Fate::Wanted,
        }
    }
}

impl ContainerRun {
    /// A container that was never started.
    pub fn new(program: Program) -> Self {
        Self {
            program,
            attempt: 0,
            state: RunState::Waiting,
            last: None,
            restarts: Restarts::default(),
            image_digest: String::new(),
        }
    }

    /// Whether an attempt runs, or may.
    pub fn is_live(&self) -> bool {
        match self.state {
            RunState::Starting | RunState::Running(_) => true,
            RunState::Waiting | RunState::BackOff { .. } | RunState::Ended => false,
        }
    }

    /// Whether it may get requests.
    pub fn is_ready(&self) -> bool {
        let RunState::Running(live) = &self.state else { return false };
        live.fate == Fate::Wanted && live.readiness.as_ref().is_none_or(|probe| probe.good() == Some(true))
    }

    /// Whether it may get requests, as far as is known: an adopted container was not checked yet.
    pub fn may_be_ready(&self) -> bool {
        let RunState::Running(live) = &self.state else { return false };
        live.fate == Fate::Wanted && live.readiness.as_ref().is_none_or(|probe| probe.good() != Some(false))
    }

    /// Takes the end of the present attempt in; the state is left to the caller's verdict.
    pub(super) fn ended(&mut self, mut exit: Exit) {
        let started = match &self.state {
            RunState::Running(live) => {
                if let (Fate::Unhealthy(why), false) = (&live.fate, exit.cause == ExitCause::OutOfMemory) {
                    exit.cause = ExitCause::Unhealthy;
                    exit.message.clone_from(why);
                }
                Some(live.since)
            }
            RunState::Waiting | RunState::Starting | RunState::BackOff { .. } | RunState::Ended => None,
        };
        self.last = Some(EndedAttempt { number: self.attempt, started, exit });
        self.state = RunState::Ended;
    }

    /// Counts what a check found; a bad liveness probe makes the attempt unhealthy.
    pub(super) fn checked(&mut self, probe: ProbeKind, finding: Finding) {
        let RunState::Running(live) = &mut self.state else { return };
        let (probing, plan) = match probe {
            ProbeKind::Readiness => (&mut live.readiness, &self.program.readiness),
            ProbeKind::Liveness => (&mut live.liveness, &self.program.liveness),
        };
        if let (Some(probing), Some(plan)) = (probing, plan) {
            probing.count(plan, finding);
        }
    }

    /// What its liveness probe found, once that is bad and nothing was done about it.
    pub(super) fn must_die(&self) -> Option<String> {
        let RunState::Running(live) = &self.state else { return None };
        let probing = live.liveness.as_ref()?;
        let bad = live.fate == Fate::Wanted && probing.good() == Some(false);
        bad.then(|| format!("liveness probe failed: {}", probing.last_failure()))
    }

    /// The probes whose check is due at `now`, each taken.
    pub(super) fn take_due_checks(&mut self, now: Timestamp) -> Vec<(ProbeKind, ProbePlan)> {
        let RunState::Running(live) = &mut self.state else { return Vec::new() };
        if live.fate != Fate::Wanted {
            return Vec::new();
        }
        let probes = [
            (ProbeKind::Readiness, &mut live.readiness, &self.program.readiness),
            (ProbeKind::Liveness, &mut live.liveness, &self.program.liveness),
        ];
        let mut due = Vec::new();
        for (kind, probing, plan) in probes {
            if let (Some(probing), Some(plan)) = (probing, plan)
                && probing.take_due(now)
            {
                due.push((kind, plan.clone()));
            }
        }
        due
    }

    /// When it needs attention by time alone, while its Task shall run.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        match &self.state {
            RunState::BackOff { until } => Some(*until),
            RunState::Running(live) if live.fate == Fate::Wanted => {
                let probes = [live.readiness.as_ref(), live.liveness.as_ref()];
                probes.into_iter().flatten().filter_map(Probing::due).min()
            }
            RunState::Waiting | RunState::Starting | RunState::Running(_) | RunState::Ended => None,
        }
    }
}
