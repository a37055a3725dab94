//! What the command line means: kinds found, names checked, contradictions refused. From here on nothing is text that
//! might not make sense.

mod selection;

use std::time::Duration;

use crate::args::{self, Cascade, Cli, DryRun, Format, RolloutVerb, Verb};
use crate::cluster::folders::Home;
use crate::cluster::machine;
use crate::failure::{Exit, Failure};
use crate::manifest::Input;

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

/// What `ctl down` does with the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Data {
    Kept,
    DeletedIfAgreed,
    Deleted,
}

impl Request {
    /// What was typed, understood.
    pub fn understand(cli: Cli) -> Result<Self, Failure> {
        let servers = cli.server.split(',').map(|server| server.trim().to_owned()).collect();
        let task = understand(cli.verb, cli.namespace)?;
        Ok(Self { servers, task })
    }
}

fn understand(verb: Verb, namespace: Option<String>) -> Result<Task, Failure> {
    let here = Scope::of(namespace.as_deref(), false)?;
    Ok(match verb {
        Verb::Apply(args) => Task::Apply(apply(args, namespace)),
        Verb::Get(args) => Task::Get(get(args, namespace.as_deref())?),
        Verb::Describe(args) => {
            let scope = Scope::of(namespace.as_deref(), args.all_namespaces)?;
            Task::Describe(Selection::read(&args.objects, scope)?.labelled(args.selector)?)
        }
        Verb::Delete(args) => Task::Delete(delete(args, here)?),
        Verb::Scale(args) => Task::Scale(Scale {
            selection: Selection::read_apps(&args.objects, here)?,
            replicas: args.replicas,
            wait: args.wait.then(|| patience(args.timeout)),
        }),
        Verb::Rollout(verb) => rollout(verb, here)?,
        Verb::Logs(args) => Task::Logs(Logs {
            selection: Selection::read_tasks(&args.objects, here)?,
            container: args.container,
            follow: if args.follow { Follow::Changes } else { Follow::Once },
            attempt: if args.previous { Attempt::Previous } else { Attempt::Present },
            tail: args.tail,
        }),
        Verb::Wait(args) => Task::Wait(Wait {
            selection: Selection::read(&args.objects, here)?.labelled(args.selector)?.named_or_labelled()?,
            goal: goal(&args.what)?,
            patience: patience(args.timeout),
        }),
        Verb::Validate(args) => Task::Validate(inputs(args.files)),
        Verb::Version(args) => Task::Version(Version {
            of: if args.client { VersionOf::Client } else { VersionOf::Both },
            form: form(args.output, Columns::Usual, Shown::Yes, Shown::No, Shown::No),
        }),
        Verb::Up(args) => Task::Up(Box::new(up(args)?)),
        Verb::Down(args) => Task::Down(Down {
            home: home(&args.folders)?,
            data: match (args.delete_data, args.yes) {
                (false, _) => Data::Kept,
                (true, false) => Data::DeletedIfAgreed,
                (true, true) => Data::Deleted,
            },
        }),
    })
}

fn apply(args: args::ApplyArgs, namespace: Option<String>) -> Apply {
    Apply {
        inputs: inputs(args.files),
        namespace,
        conflicts: if args.force_conflicts { Conflicts::Force } else { Conflicts::Refuse },
        reach: args.dry_run,
        wait: args.wait.then(|| patience(args.timeout)),
    }
}

fn get(args: args::GetArgs, namespace: Option<&str>) -> Result<Get, Failure> {
    let scope = Scope::of(namespace, args.all_namespaces)?;
    let selection =
        Selection::read(&args.objects, scope)?.labelled(args.selector)?.with_fields(args.field_selector);
    let columns = if args.output == Some(Format::Wide) { Columns::Wide } else { Columns::Usual };
    let heads = (!args.no_headers).into();
    let form = form(args.output, columns, heads, args.show_labels.into(), args.show_managed_fields.into());
    Ok(Get { selection, form, follow: if args.watch { Follow::Changes } else { Follow::Once } })
}

fn form(asked: Option<Format>, columns: Columns, heads: Shown, labels: Shown, managers: Managers) -> Form {
    match asked {
        None | Some(Format::Wide) => Form::Table(Look { columns, heads, labels }),
        Some(Format::Json) => Form::Json(managers),
        Some(Format::Yaml) => Form::Yaml(managers),
        Some(Format::Name) => Form::Name,
    }
}

fn delete(args: args::DeleteArgs, here: Scope) -> Result<Delete, Failure> {
    let mut selection = Selection::read(&args.objects, here)?.labelled(args.selector)?;
    if !args.all {
        selection = selection.named_or_labelled()?;
    }
    Ok(Delete {
        selection,
        inputs: inputs(args.files.files),
        cascade: args.cascade,
        grace: args.grace_period,
        absent: if args.ignore_not_found { Absent::Passes } else { Absent::Fails },
        wait: args.wait.then(|| patience(args.timeout)),
    })
}

fn rollout(verb: RolloutVerb, here: Scope) -> Result<Task, Failure> {
    Ok(match verb {
        RolloutVerb::Status(args) => Task::RolloutStatus(RolloutStatus {
            selection: Selection::read_apps(&args.objects, here)?,
            wait: args.watch.then(|| patience(args.timeout)),
        }),
        RolloutVerb::Undo(args) => {
            Task::RolloutUndo(Selection::read_apps(&args.objects, here)?, args.to_revision)
        }
        RolloutVerb::Restart(args) => Task::RolloutRestart(Selection::read_apps(&args.objects, here)?),
        RolloutVerb::History(args) => Task::RolloutHistory(Selection::read_apps(&args.objects, here)?),
    })
}

fn goal(text: &str) -> Result<Goal, Failure> {
    let unknown = || {
        Failure::new(Exit::Usage, format!("cannot wait for `{text}`"))
            .hint("--for=condition=Available, --for=condition=Ready=False, --for=delete or --for=jsonpath={.status.phase}=Running")
    };
    if text == "delete" {
        return Ok(Goal::Gone);
    }
    if let Some(condition) = text.strip_prefix("condition=") {
        let (name, status) = condition.split_once('=').unwrap_or((condition, "True"));
        return Ok(Goal::Condition(name.into(), status.into()));
    }
    let field = text.strip_prefix("jsonpath=").ok_or_else(unknown)?;
    let (path, value) = field.rsplit_once('=').ok_or_else(unknown)?;
    let path = path.trim_matches(['\'', '"']).trim_start_matches('{').trim_end_matches('}');
    let steps = path.strip_prefix('.').ok_or_else(unknown)?.replace('[', ".").replace(']', "");
    Ok(Goal::Field(format!("/{}", steps.replace('.', "/")), value.trim_matches(['\'', '"']).into()))
}

fn up(args: args::UpArgs) -> Result<Up, Failure> {
    let ports =
        args.ports.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    let fit = |(first, last): (u16, u16)| first > 0 && first <= last;
    if !ports.is_some_and(fit) {
        let message = format!("--ports must be two ports as 31000-32000, got `{}`", args.ports);
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(Up {
        home: home(&args.folders)?,
        etcd: args.etcd,
        old_etcd: if args.allow_unsupported_etcd { OldEtcd::Taken } else { OldEtcd::Refused },
        node: args.node_name.unwrap_or_else(machine::node_name),
        ports: args.ports,
        place: match (args.detach, args.detached) {
            (_, true) => Foreground::Detached,
            (true, false) => Foreground::Elsewhere,
            (false, false) => Foreground::Here,
        },
        timeout: args.timeout,
    })
}

fn home(folders: &args::Folders) -> Result<Home, Failure> {
    Home::new(&folders.data, &folders.run)
        .map_err(|error| Failure::new(Exit::Usage, format!("bad --data or --run folder: {error}")))
}

fn inputs(files: Vec<std::path::PathBuf>) -> Vec<Input> {
    let input =
        |file: std::path::PathBuf| if file.as_os_str() == "-" { Input::Stdin } else { Input::Path(file) };
    files.into_iter().map(input).collect()
}

fn patience(timeout: Duration) -> Patience {
    (!timeout.is_zero()).then_some(timeout)
}
