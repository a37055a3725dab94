//! What the command line means: kinds found, names checked, contradictions refused. From here on nothing is text that
//! might not make sense.

mod selection;
mod understand;

use std::time::Duration;

use crate::args::{self, Cascade, DryRun};
use crate::cluster::folders::Home;
use crate::cluster::machine;
use crate::manifest::Input;
use crate::suggested::Suggested;

pub use selection::{Scope, Selection, Target};

/// What is asked for, and of which server.
#[derive(Debug, Clone)]
pub struct Request {
    /// Addresses of API servers.
    pub servers: Vec<String>,
    /// What to do.
    pub task: Task,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub enum Task {
    /// Bring objects to what manifests say.
    Apply(Apply),
    /// Show objects.
    Get(Get),
    /// Tell about objects.
    Describe(Selection),
    /// Delete objects.
    Delete(Delete),
    /// Change the number of Tasks of Apps.
    Scale(Scale),
    /// Wait for rollouts.
    RolloutStatus(RolloutStatus),
    /// Go back to an earlier template: the one of this number, or the one before the present one.
    RolloutUndo(Selection, Option<i64>),
    /// Replace all Tasks of Apps.
    RolloutRestart(Selection),
    /// List earlier templates.
    RolloutHistory(Selection),
    /// Print logs.
    Logs(Logs),
    /// Wait for objects.
    Wait(Wait),
    /// Check manifests.
    Validate(Vec<Input>),
    /// Show versions.
    Version(Version),
    /// Run Berth here.
    Up(Box<Up>),
    /// Stop Berth here.
    Down(Down),
}

/// What a verb is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// What it prints.
    Output,
    /// What it does, or that something has come to pass.
    Deed,
}

impl Task {
    /// What it is run for.
    pub fn purpose(&self) -> Purpose {
        match self {
            Self::Get(_)
            | Self::Describe(_)
            | Self::RolloutHistory(_)
            | Self::RolloutStatus(RolloutStatus { wait: None, .. })
            | Self::Logs(_)
            | Self::Validate(_)
            | Self::Version(_) => Purpose::Output,
            Self::Apply(_)
            | Self::Delete(_)
            | Self::Scale(_)
            | Self::RolloutStatus(_)
            | Self::RolloutUndo(..)
            | Self::RolloutRestart(_)
            | Self::Wait(_)
            | Self::Up(_)
            | Self::Down(_) => Purpose::Deed,
        }
    }
}

/// How long to wait; none means for ever.
pub type Patience = Option<Duration>;

/// `ctl apply`.
#[derive(Debug, Clone)]
pub struct Apply {
    /// Where the manifests are.
    pub inputs: Vec<Input>,
    /// Namespace of objects that name none.
    pub namespace: Option<String>,
    /// What happens to fields that others set.
    pub conflicts: Conflicts,
    /// How far it goes.
    pub reach: DryRun,
    /// Whether to wait for rollouts.
    pub wait: Option<Patience>,
}

/// What happens to fields that others set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflicts {
    /// Refuse.
    Refuse,
    /// Take them over.
    Force,
}

/// `ctl get`.
#[derive(Debug, Clone)]
pub struct Get {
    /// Which objects.
    pub selection: Selection,
    /// In which form.
    pub form: Form,
    /// Once, or with every change.
    pub follow: Follow,
}

/// The form of what is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A table.
    Table(Look),
    /// JSON, whole but perhaps for managedFields.
    Json(Managers),
    /// YAML, the same.
    Yaml(Managers),
    /// `app/web`.
    Name,
}

/// What a table shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// The usual columns or all.
    pub columns: Columns,
    /// With column heads or without.
    pub heads: Shown,
    /// With a column of labels or without.
    pub labels: Shown,
}

/// Which columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Columns {
    /// Those that a person looks at first.
    Usual,
    /// All.
    Wide,
}

/// Whether something is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Shown {
    Yes,
    No,
}

impl From<bool> for Shown {
    fn from(shown: bool) -> Self {
        if shown { Self::Yes } else { Self::No }
    }
}

/// Whether managedFields are shown.
pub type Managers = Shown;

/// Once, or with every change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// What is there now.
    Once,
    /// That, and what changes from then on.
    Changes,
}

/// `ctl delete`.
#[derive(Debug, Clone)]
pub struct Delete {
    /// Which objects, by name and label.
    pub selection: Selection,
    /// And those of these manifests.
    pub inputs: Vec<Input>,
    /// What belongs to them.
    pub cascade: Cascade,
    /// Seconds between TERM and KILL.
    pub grace: Option<u32>,
    /// Objects that do not exist.
    pub absent: Absent,
    /// Whether to wait until they are gone.
    pub wait: Option<Patience>,
    /// Nodes on which Tasks run.
    pub busy_nodes: BusyNodes,
}

/// What is done about Nodes to be deleted on which Tasks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusyNodes {
    /// They are deleted only after a yes.
    Ask,
    /// They are deleted.
    Delete,
}

/// What an object that does not exist is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// A failure.
    Fails,
    /// As good as deleted.
    Passes,
}

/// `ctl scale`.
#[derive(Debug, Clone)]
pub struct Scale {
    /// Which Apps.
    pub selection: Selection,
    /// How many Tasks.
    pub replicas: u32,
    /// Whether to wait until they are there.
    pub wait: Option<Patience>,
}

/// `ctl rollout status`.
#[derive(Debug, Clone)]
pub struct RolloutStatus {
    /// Which Apps.
    pub selection: Selection,
    /// How long to wait for their rollouts; none says how they stand.
    pub wait: Option<Patience>,
}

/// `ctl logs`.
#[derive(Debug, Clone)]
pub struct Logs {
    /// Of which Task, or of which App's Tasks.
    pub selection: Selection,
    /// Only of this container; empty for all.
    pub container: String,
    /// What is there, or also what comes.
    pub follow: Follow,
    /// Which attempt.
    pub attempt: Attempt,
    /// Only the last lines.
    pub tail: Option<u32>,
}

/// Which attempt of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// The present one.
    Present,
    /// The one before it.
    Previous,
}

/// `ctl wait`.
#[derive(Debug, Clone)]
pub struct Wait {
    /// For which objects.
    pub selection: Selection,
    /// For what.
    pub goal: Goal,
    /// How long.
    pub patience: Patience,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// A condition with this status.
    Condition(String, String),
    /// That the object is gone.
    Gone,
    /// A field with this value; the path as JSON pointer.
    Field(String, String),
}

/// `ctl version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Of ctl alone, or of the server too.
    pub of: VersionOf,
    /// In which form.
    pub form: Form,
}

/// Whose version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum VersionOf {
    Client,
    Both,
}

/// `ctl up`.
#[derive(Debug, Clone)]
pub struct Up {
    /// The cluster's folders.
    pub home: Home,
    /// URLs of etcd; none for the embedded store.
    pub etcd: Vec<String>,
    /// Whether an etcd with known faults is taken.
    pub old_etcd: OldEtcd,
    /// Name of this machine's Node.
    pub node: String,
    /// Host ports for Tasks, as `31000-32000`.
    pub ports: String,
    /// Where it runs.
    pub place: Foreground,
    /// How long it may take to come up.
    pub timeout: Duration,
}

impl Up {
    /// The command that does the same, as a message suggests it.
    pub fn command(&self) -> Suggested {
        let mut command = self.home.command("up").flag("--etcd", &self.etcd.join(","), "");
        if self.old_etcd == OldEtcd::Taken {
            command = command.word("--allow-unsupported-etcd");
        }
        command = command.flag("--node-name", &self.node, &machine::node_name());
        command = command.flag("--ports", &self.ports, args::PORTS);
        if self.place == Foreground::Here { command } else { command.word("--detach") }
    }
}

/// Whether an etcd with known faults is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum OldEtcd {
    Refused,
    Taken,
}

/// Where `ctl up` runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreground {
    /// In this process.
    Here,
    /// In a process of its own, which this one starts.
    Elsewhere,
    /// In this process, which was started for that.
    Detached,
}

/// `ctl down`.
#[derive(Debug, Clone)]
pub struct Down {
    /// The cluster's folders.
    pub home: Home,
    /// What happens to the data.
    pub data: Data,
}

impl Down {
    /// The command that does the same, as a message suggests it.
    pub fn command(&self) -> Suggested {
        self.home.command(match self.data {
            Data::Kept => "down",
            Data::DeletedIfAgreed => "down --delete-data",
            Data::Deleted => "down --delete-data --yes",
        })
    }
}

/// What `ctl down` does with the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Data {
    Kept,
    DeletedIfAgreed,
    Deleted,
}
