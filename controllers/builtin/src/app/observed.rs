//! What the App controller sees: an App and its Tasks, with the meaning of their fields.

use std::sync::Arc;
use std::time::Duration;

use berth_types::app::{App, AppStatus, TaskTemplate};
use berth_types::availability::{READY, Reach, SCHEDULED, TOOK_AGENT_DOWN};
use berth_types::defaults::Update;
use berth_types::portion::{BadPortion, Bounds};
use berth_types::revision::Revision;
use berth_types::task::{
    CREATE_ERROR, ContainerStatus, IMAGE_ERROR, RESTARTS_BEFORE, TOO_MANY_RESTARTS, Task,
};
use berth_types::{Condition, ConditionStatus, Phase, Timestamp};

use super::history::revision_name;

/// Annotation of a Task: how many Tasks of its ordinal and Revision failed in a row before it.
pub const FAILED_BEFORE: &str = "berth.dev/failed-before";

/// The clocks of the cluster's machines agree to within this.
const CLOCKS_AGREE: Duration = Duration::from_secs(5);
/// A Task that lived at least so long does not count as one more failure in a row.
const LIVED_WELL: Duration = Duration::from_secs(600);

/// What an App asks for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Namespace of the App.
    pub namespace: String,
    /// Name of the App, with which the names of its Tasks begin.
    pub name: String,
    /// uid of the App.
    pub uid: String,
    /// Version of the App that was seen.
    pub resource_version: String,
    /// Generation of the spec that was seen.
    pub generation: i64,
    /// How many Tasks.
    pub replicas: u32,
    /// How a new Revision replaces an old one.
    pub rollout: Rollout,
    /// How long a Task is Ready before it is available.
    pub min_ready: Duration,
    /// How long a rollout may be without progress.
    pub deadline: Duration,
    /// How many old Revisions are kept.
    pub history: usize,
    /// Name of the Revision asked for.
    pub revision: String,
    /// Counts the restarts asked for.
    pub restart_generation: i64,
    /// What Tasks are made from.
    pub template: TaskTemplate,
    /// Whether the App is to go.
    pub deleting: bool,
    /// The status written last.
    pub status: AppStatus,
}

/// How a new Revision replaces an old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rollout {
    /// Step by step, never fewer than `keep` available Tasks, never more than `most` Tasks.
    Rolling {
        /// The fewest available Tasks that a step may leave.
        keep: u32,
        /// The most Tasks that a step may bring about.
        most: u32,
    },
    /// Every old Task is at its end before a new one is made.
    Recreate,
}

/// One Task of the App.
#[derive(Debug, Clone)]
pub struct Replica {
    /// Name of the Task.
    pub name: String,
    /// The number in its name.
    pub number: u64,
    /// uid of the Task.
    pub uid: String,
    /// Version of the Task that was seen.
    pub resource_version: String,
    /// Name of the Revision that it was made from.
    pub revision: String,
    /// Position among the replicas.
    pub ordinal: u32,
    /// When it was made.
    pub created: Timestamp,
    /// Tasks of its ordinal and Revision that failed in a row before it.
    pub failed_before: u32,
    /// Restarts in place of these.
    pub restarts_before: u32,
    /// Its own restarts in place that count in a row, if it failed: all that it may have, or none.
    pub restarts: u32,
    /// The node whose agent it took down, if it failed for that.
    pub took_down: Option<String>,
    /// Whether one of its containers was started again.
    pub restarted: bool,
    /// Where in its life it is.
    pub life: Life,
    /// Why it is not ready, for a person.
    pub trouble: Trouble,
    /// All of it, for what is looked at rarely.
    pub task: Arc<Task>,
}

/// Where in its life a Task is, as far as its App cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Without a node.
    Unbound,
    /// On a node that is away, for now.
    Unreachable,
    /// On a node, not ready.
    Starting,
    /// May get requests since then.
    Ready(Timestamp),
    /// Told to stop.
    Stopping,
    /// Lost with its node, and not yet told to stop.
    GivenUp,
    /// Lost with its node, and told to stop.
    WrittenOff,
    /// At its end, well.
    Succeeded,
    /// At its end since then, badly.
    Failed(Timestamp),
}

/// Why a Task is not ready, the more telling the greater.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// Nothing is known against it.
    None,
    /// It is on its way.
    OnItsWay(String),
    /// Its node is away.
    NodeAway(String),
    /// It found no node.
    Unplaced(String),
    /// A container does not stay up.
    Container(String),
}

impl Wanted {
    /// Reads an App; fails on bounds that the server would not have let in.
    pub fn read(app: &App) -> Result<Self, BadPortion> {
        let spec = &app.spec;
        let restart_generation = spec.restart_generation.unwrap_or(0);
        Ok(Self {
            namespace: app.metadata.namespace.clone(),
            name: app.metadata.name.clone(),
            uid: app.metadata.uid.clone(),
            resource_version: app.metadata.resource_version.clone(),
            generation: app.metadata.generation,
            replicas: spec.replicas(),
            rollout: Rollout::of(app)?,
            min_ready: spec.min_ready(),
            deadline: spec.progress_deadline(),
            history: spec.revisions_kept(),
            revision: revision_name(&app.metadata.name, &spec.template, restart_generation),
            restart_generation,
            template: spec.template.clone(),
            deleting: app.metadata.deleting(),
            status: app.status.clone(),
        })
    }
}

impl Rollout {
    fn of(app: &App) -> Result<Self, BadPortion> {
        let replicas = app.spec.replicas();
        match app.spec.update() {
            Update::Recreate => Ok(Self::Recreate),
            Update::Rolling => {
                let Bounds { surge, unavailable } = Bounds::of(&app.spec)?;
                let (keep, most) = (replicas.saturating_sub(unavailable), replicas.saturating_add(surge));
                Ok(Self::Rolling { keep, most })
            }
        }
    }

    /// The fewest available Tasks that a step may leave.
    pub fn keep(self) -> usize {
        match self {
            Self::Rolling { keep, .. } => keep as usize,
            Self::Recreate => 0,
        }
    }
}

impl Replica {
    /// Reads a Task of an App at `now`.
    pub fn read(task: &Arc<Task>, now: Timestamp) -> Self {
        let meta = &task.metadata;
        let count = |name: &str| meta.annotations.get(name).and_then(|n| n.parse().ok()).unwrap_or(0);
        Self {
            name: meta.name.clone(),
            number: number_of(&meta.name),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            revision: task.spec.revision.clone(),
            ordinal: task.spec.ordinal.unwrap_or(0),
            created: meta.creation_timestamp.unwrap_or(Timestamp::from_millis(0)),
            failed_before: count(FAILED_BEFORE),
            restarts_before: count(RESTARTS_BEFORE),
            restarts: restarts_used_up(task),
            took_down: took_down(task),
            restarted: task.status.container_statuses.iter().any(|container| container.restart_count > 0),
            life: Life::of(task, now),
            trouble: Trouble::of(task),
            task: task.clone(),
        }
    }

    /// From when on it counts as available, if it is ready.
    pub fn available_from(&self, min_ready: Duration) -> Option<Timestamp> {
        match self.life {
            Life::Ready(since) => Some(since.plus(min_ready)),
            Life::Unbound
            | Life::Unreachable
            | Life::Starting
            | Life::Stopping
            | Life::GivenUp
            | Life::WrittenOff
            | Life::Succeeded
            | Life::Failed(_) => None,
        }
    }

    /// When it failed, and what failed in a row with it.
    pub fn failures(&self) -> Option<Failures> {
        let Life::Failed(at) = self.life else { return None };
        let lived_well = at.since(self.created) >= LIVED_WELL;
        let before = if lived_well { (0, 0) } else { (self.failed_before, self.restarts_before) };
        Some(Failures {
            at,
            tasks: before.0.saturating_add(1),
            restarts: before.1.saturating_add(self.restarts),
        })
    }
}

/// How many of one ordinal and Revision failed in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failures {
    /// When the last of them failed.
    pub at: Timestamp,
    /// How many Tasks.
    pub tasks: u32,
    /// Restarts in place that these had: those of the next Task wait on from there.
    pub restarts: u32,
}

/// The restarts in place that a Task had when it failed of too many; 0 if it failed of something else.
fn restarts_used_up(task: &Task) -> u32 {
    let of_tries = [TOO_MANY_RESTARTS, IMAGE_ERROR, CREATE_ERROR].contains(&task.status.reason.as_str());
    if of_tries { task.spec.restarts().in_place } else { 0 }
}

fn took_down(task: &Task) -> Option<String> {
    let is_so = Phase::of(task) == Ok(Phase::Failed) && task.status.reason == TOOK_AGENT_DOWN;
    is_so.then(|| task.spec.node_name.clone())
}

/// The number at the end of a Task's name; 0 when it has none.
pub(super) fn number_of(name: &str) -> u64 {
    name.rsplit_once('-').and_then(|(_, number)| number.parse().ok()).unwrap_or(0)
}

impl Life {
    fn of(task: &Task, now: Timestamp) -> Self {
        let phase = Phase::of(task);
        match phase {
            Ok(Phase::Succeeded) => return Self::Succeeded,
            Ok(Phase::Failed) => return Self::Failed(past(ended_at(task), now)),
            Ok(Phase::Pending | Phase::Starting | Phase::Running | Phase::Stopping) | Err(_) => {}
        }
        match (Reach::of(task), task.metadata.deleting()) {
            (Reach::GivenUp, true) => return Self::WrittenOff,
            (Reach::GivenUp, false) => return Self::GivenUp,
            (Reach::Here | Reach::Away(_), true) => return Self::Stopping,
            (Reach::Away(_), false) => return Self::Unreachable,
            (Reach::Here, false) if task.spec.node_name.is_empty() => return Self::Unbound,
            (Reach::Here, false) => {}
        }
        match Condition::find(&task.status.conditions, READY) {
            Some(ready) if ready.status == ConditionStatus::True && phase == Ok(Phase::Running) => {
                Self::Ready(past(ready.last_transition_time, now))
            }
            Some(_) | None => Self::Starting,
        }
    }
}

/// A time that an agent wrote. One that is yet to come is of a clock that was set back since, or is wrong: what waits
/// since then must not wait until then, and has waited for nobody knows how long.
fn past(at: Timestamp, now: Timestamp) -> Timestamp {
    if at <= now.plus(CLOCKS_AGREE) { at } else { Timestamp::from_millis(0) }
}

/// When a Task at its end came to it, as well as its status tells.
fn ended_at(task: &Task) -> Timestamp {
    let containers = task.status.container_statuses.iter();
    let ends = containers.filter_map(|container| container.state.terminated.as_ref()?.finished_at);
    let left = Condition::find(&task.status.conditions, READY).map(|ready| ready.last_transition_time);
    ends.max().or(left).or(task.metadata.creation_timestamp).unwrap_or(Timestamp::from_millis(0))
}

impl Trouble {
    fn of(task: &Task) -> Self {
        let conditions = &task.status.conditions;
        if task.spec.node_name.is_empty() {
            return match Condition::find(conditions, SCHEDULED) {
                Some(scheduled) if scheduled.status == ConditionStatus::False => {
                    Self::Unplaced(format!("found no node: {}", scheduled.message))
                }
                Some(_) | None => Self::OnItsWay("waits for the scheduler".into()),
            };
        }
        let node = &task.spec.node_name;
        if Reach::of(task) != Reach::Here {
            return Self::NodeAway(format!("is on node {node}, which is away"));
        }
        if let Some(text) = task.status.container_statuses.iter().find_map(container_trouble) {
            return Self::Container(text);
        }
        match Condition::find(conditions, READY) {
            Some(ready) if ready.status == ConditionStatus::True => Self::None,
            Some(ready) if !ready.message.is_empty() => Self::OnItsWay(ready.message.clone()),
            Some(_) | None => Self::OnItsWay(format!("starts on node {node}")),
        }
    }
}

/// As `BackOff exit 1, next try 08:10:11Z`, for a container that waits or has ended.
fn container_trouble(container: &ContainerStatus) -> Option<String> {
    let waiting = container.state.waiting.as_ref().filter(|waiting| waiting.reason != "Creating")?;
    let mut text = waiting.reason.clone();
    if let Some(ended) = &container.last_state.terminated {
        match ended.reason.as_str() {
            "" | "Error" | "Completed" => text.push_str(&format!(" exit {}", ended.exit_code)),
            reason => text.push_str(&format!(" {reason}")),
        }
    }
    if !waiting.message.is_empty() {
        text.push_str(&format!(", {}", waiting.message));
    }
    Some(text)
}

/// The App, its Tasks and Revisions, and the time.
pub struct Observed<'a> {
    /// What is asked for.
    pub app: &'a Wanted,
    /// Its Tasks, in any order.
    pub tasks: &'a [Replica],
    /// Its Revisions, in any order.
    pub revisions: &'a [Revision],
    /// Whether a Task of that name is there that is not this App's.
    pub held: &'a dyn Fn(&str) -> bool,
    /// The present time.
    pub now: Timestamp,
}

impl Observed<'_> {
    /// The template of a Revision: of the one asked for the App's own, which may be newer in what no process notices.
    pub fn template(&self, revision: &str) -> &TaskTemplate {
        let old = self.revisions.iter().find(|one| one.metadata.name == revision);
        let old = old.filter(|_| revision != self.app.revision);
        old.map_or(&self.app.template, |one| &one.spec.template)
    }
}

#[cfg(test)]
mod tests;
