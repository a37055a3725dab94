//! From what was typed to what it means.

use std::time::Duration;

use super::{
    Absent, Apply, Attempt, BusyNodes, Columns, Conflicts, Data, Delete, Down, Follow, Foreground, Form, Get,
    Goal, Logs, Look, Managers, OldEtcd, Patience, Request, RolloutStatus, Scale, Scope, Selection, Shown,
    Task, Up, Version, VersionOf, Wait,
};
use crate::args::{self, Cli, Format, RolloutVerb, Verb};
use crate::cluster::folders::Home;
use crate::cluster::machine;
use crate::failure::{Exit, Failure};
use crate::manifest::Input;

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
    if args.grace_period.is_some() && selection.targets.iter().any(|target| target.kind.kind != "Task") {
        return Err(Failure::new(Exit::Usage, "only a task has a grace period"));
    }
    Ok(Delete {
        selection,
        inputs: inputs(args.files.files),
        cascade: args.cascade,
        grace: args.grace_period,
        absent: if args.ignore_not_found { Absent::Passes } else { Absent::Fails },
        wait: args.wait.then(|| patience(args.timeout)),
        busy_nodes: if args.yes { BusyNodes::Delete } else { BusyNodes::Ask },
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
        let known = ["true", "false", "unknown"].iter().any(|word| status.eq_ignore_ascii_case(word));
        if name.is_empty() || !known {
            return Err(unknown());
        }
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
