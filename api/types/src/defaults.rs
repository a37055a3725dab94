//! What an absent field means. Nothing is filled in when an object is stored: a default that changes later reaches
//! every object that left the choice to us, and an apply owns only what was written.

use std::time::Duration;

use crate::app::{AppSpec, Strategy};
use crate::task::{Probe, Restart, SecurityContext, TaskSpec};

/// Seconds that a Task without readinessProbe must run before it counts as available.
pub const MIN_READY_UNPROBED: u32 = 10;
/// User and group of a container without image that names none.
const NOBODY: u32 = 65534;

impl AppSpec {
    /// How many Tasks are asked for.
    pub fn replicas(&self) -> u32 {
        self.replicas.unwrap_or(1)
    }

    /// How long a Task must be Ready before it counts as available. Where no probe says that a program works, it must
    /// have run for a while.
    pub fn min_ready(&self) -> Duration {
        let is_probed = self.template.spec.containers.iter().any(|one| one.readiness_probe.is_some());
        seconds(self.min_ready_seconds.unwrap_or(if is_probed { 0 } else { MIN_READY_UNPROBED }))
    }

    /// How long a rollout may stand still before it is said to be stuck.
    pub fn progress_deadline(&self) -> Duration {
        seconds(self.progress_deadline_seconds.unwrap_or(600))
    }

    /// How many old Revisions are kept.
    pub fn revisions_kept(&self) -> usize {
        usize::try_from(self.revision_history_limit.unwrap_or(10)).unwrap_or(usize::MAX)
    }

    /// How a new template replaces the old one.
    pub fn update(&self) -> Update {
        match &self.strategy {
            Some(Strategy { type_, .. }) if type_ == Update::Recreate.as_str() => Update::Recreate,
            Some(_) | None => Update::Rolling,
        }
    }
}

/// How a new template replaces the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// The new are started while the old still run, within bounds.
    Rolling,
    /// All old ones end before the first new one starts.
    Recreate,
}

impl Update {
    /// Both, in the order in which messages list them.
    pub const ALL: [Update; 2] = [Update::Rolling, Update::Recreate];

    /// As it is written in `strategy.type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Update::Rolling => "RollingUpdate",
            Update::Recreate => "Recreate",
        }
    }
}

impl TaskSpec {
    /// How long its containers have between TERM and KILL.
    pub fn grace(&self) -> Duration {
        whole_seconds(self.termination_grace_period_seconds, 30)
    }

    /// How long it goes on answering, already out of the available ones, before TERM.
    pub fn drain_delay(&self) -> Duration {
        whole_seconds(self.drain_delay_seconds, 2)
    }

    /// How long after its node became NotReady it is replaced.
    pub fn replace_after(&self) -> Duration {
        seconds(self.unreachable.as_ref().and_then(|policy| policy.replace_after_seconds).unwrap_or(15))
    }

    /// How its containers restart in place.
    pub fn restarts(&self) -> Restarts {
        let given = self.restart.clone().unwrap_or_default();
        let Restart { in_place, within_seconds, initial_delay_seconds, max_delay_seconds } = given;
        Restarts {
            in_place: in_place.unwrap_or(5),
            within: seconds(within_seconds.unwrap_or(600)),
            initial_delay: seconds(initial_delay_seconds.unwrap_or(1)),
            max_delay: seconds(max_delay_seconds.unwrap_or(60)),
        }
    }
}

/// How containers restart in place, with every number given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restarts {
    /// Restarts within `within` before the Task fails.
    pub in_place: u32,
    /// The window for `in_place`.
    pub within: Duration,
    /// Before the first restart; twice as long before each further one.
    pub initial_delay: Duration,
    /// The most between restarts.
    pub max_delay: Duration,
}

impl Probe {
    /// Before the first check.
    pub fn initial_delay(&self) -> Duration {
        seconds(self.initial_delay_seconds.unwrap_or(0))
    }

    /// Between checks.
    pub fn period(&self) -> Duration {
        seconds(self.period_seconds.unwrap_or(1))
    }

    /// How long a check may take.
    pub fn timeout(&self) -> Duration {
        seconds(self.timeout_seconds.unwrap_or(1))
    }

    /// Good checks in a row that turn it good.
    pub fn successes(&self) -> u32 {
        self.success_threshold.unwrap_or(1)
    }

    /// Bad checks in a row that turn it bad.
    pub fn failures(&self) -> u32 {
        self.failure_threshold.unwrap_or(3)
    }
}

impl SecurityContext {
    /// User and group id of a container without image, which sees the node's own files. Root must be requested, and its
    /// group comes with it.
    pub fn without_image(&self) -> (u32, u32) {
        let uid = self.run_as_user.unwrap_or(NOBODY);
        let gid = self.run_as_group.unwrap_or(if uid == 0 { 0 } else { NOBODY });
        (uid, gid)
    }
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

fn whole_seconds(given: Option<i64>, default: u64) -> Duration {
    Duration::from_secs(given.map_or(default, |count| u64::try_from(count).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Container;

    #[test]
    fn what_is_not_said_has_a_meaning() {
        let (app, task, probe) = (AppSpec::default(), TaskSpec::default(), Probe::default());
        assert_eq!((app.replicas(), app.revisions_kept(), app.update()), (1, 10, Update::Rolling));
        let seconds = [
            app.min_ready(),
            app.progress_deadline(),
            task.grace(),
            task.drain_delay(),
            task.replace_after(),
            task.restarts().within,
            probe.initial_delay(),
            probe.period(),
            probe.timeout(),
        ];
        assert_eq!(seconds.map(|time| time.as_secs()), [10, 600, 30, 2, 15, 600, 0, 1, 1]);
        assert_eq!((task.restarts().in_place, probe.successes(), probe.failures()), (5, 1, 3));
    }

    #[test]
    fn a_container_without_image_is_root_only_on_request() {
        for (user, group, expected) in [
            (None, None, (65534, 65534)),
            (Some(1000), None, (1000, 65534)),
            (None, Some(100), (65534, 100)),
            (None, Some(0), (65534, 0)),
            (Some(0), None, (0, 0)),
            (Some(0), Some(100), (0, 100)),
        ] {
            let given = SecurityContext { run_as_user: user, run_as_group: group };
            assert_eq!(given.without_image(), expected, "{given:?}");
        }
    }

    #[test]
    fn a_task_is_available_at_once_only_where_a_probe_speaks_for_it() {
        let container = |probed: bool| Container {
            readiness_probe: probed.then(Probe::default),
            liveness_probe: Some(Probe::default()),
            ..Container::default()
        };
        for (probed, given, expected) in [
            (vec![false], None, 10),
            (vec![false, false], None, 10),
            (vec![true], None, 0),
            (vec![false, true], None, 0),
            (vec![false], Some(0), 0),
            (vec![true], Some(3), 3),
        ] {
            let mut app = AppSpec { min_ready_seconds: given, ..AppSpec::default() };
            app.template.spec.containers = probed.iter().map(|probed| container(*probed)).collect();
            assert_eq!(app.min_ready().as_secs(), expected, "{probed:?} {given:?}");
        }
    }
}
