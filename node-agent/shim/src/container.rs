//! A container of the Task and what it is doing.

use std::path::PathBuf;
use std::time::Instant;

use berth_shim_api::cgroup::Subtree;
use berth_shim_api::message::{ContainerReport, ContainerState, Running};
use berth_shim_api::{End, ExitRecord, ProcessId, TaskContainer};

use crate::forked::Helper;
use crate::logs::ContainerLog;

/// Who waits for a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// The client.
    pub connection: u64,
    /// Its call.
    pub call: u64,
}

/// One container of the Task.
pub struct Container {
    /// What the bundle says of it.
    pub config: TaskContainer,
    /// Its cgroups.
    pub cgroups: Subtree,
    /// The newest attempt that was ever tried.
    pub newest_attempt: Option<u32>,
    /// Where mounts of that attempt may be.
    pub mounts: Vec<PathBuf>,
    /// What it is doing.
    pub phase: Phase,
}

/// What a container is doing, with what there is then.
pub enum Phase {
    /// There is nothing of it that anybody asked for.
    Absent,
    /// A helper brings it up.
    Starting(Starting),
    /// It runs.
    Alive(Alive),
    /// It has ended.
    Ended(ExitRecord),
    /// A helper removes what is left of it.
    Removing(Removing),
}

/// A container being brought up.
pub struct Starting {
    /// Which attempt.
    pub attempt: u32,
    /// Who does it.
    pub helper: Helper,
    /// Where its output goes.
    pub log: ContainerLog,
    /// Its first process, from create on.
    pub process: Option<ProcessId>,
    /// How that process ended, if it has already.
    pub early_end: Option<End>,
    /// Who waits for it.
    pub asker: Asker,
}

/// A running container.
pub struct Alive {
    /// What there is to tell of it.
    pub running: Running,
    /// Where its output goes.
    pub log: ContainerLog,
    /// When everything in its cgroup is killed again, for what was forked while it was killed.
    pub kill_again: Option<Instant>,
}

/// A container being removed.
pub struct Removing {
    /// How it had ended, if it had run.
    pub record: Option<ExitRecord>,
    /// Who does it.
    pub helper: Helper,
    /// Who wait for it.
    pub askers: Vec<Asker>,
}

impl Container {
    /// What a client is told of it.
    pub fn report(&self) -> ContainerReport {
        let state = match &self.phase {
            Phase::Absent => ContainerState::Absent,
            Phase::Starting(starting) => ContainerState::Starting { attempt: starting.attempt },
            Phase::Alive(alive) => ContainerState::Running(alive.running.clone()),
            Phase::Ended(record) => ContainerState::Exited(record.clone()),
            Phase::Removing(removing) => match &removing.record {
                Some(record) => ContainerState::Exited(record.clone()),
                None => ContainerState::Absent,
            },
        };
        ContainerReport { container: self.config.name.clone(), state }
    }

    /// Where its output goes, while there may be any.
    pub fn log(&mut self) -> Option<&mut ContainerLog> {
        match &mut self.phase {
            Phase::Starting(starting) => Some(&mut starting.log),
            Phase::Alive(alive) => Some(&mut alive.log),
            Phase::Absent | Phase::Ended(_) | Phase::Removing(_) => None,
        }
    }

    /// When part of a line of its output is to be written.
    pub fn log_due(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Starting(starting) => starting.log.due(),
            Phase::Alive(alive) => alive.log.due(),
            Phase::Absent | Phase::Ended(_) | Phase::Removing(_) => None,
        }
    }

    /// The helper that works on it.
    pub fn helper(&self) -> Option<&Helper> {
        match &self.phase {
            Phase::Starting(starting) => Some(&starting.helper),
            Phase::Removing(removing) => Some(&removing.helper),
            Phase::Absent | Phase::Alive(_) | Phase::Ended(_) => None,
        }
    }

    /// When something is due for it: a helper to be given up, or a kill to be repeated.
    pub fn due(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Starting(starting) => Some(starting.helper.deadline()),
            Phase::Removing(removing) => Some(removing.helper.deadline()),
            Phase::Alive(alive) => alive.kill_again,
            Phase::Absent | Phase::Ended(_) => None,
        }
    }
}
