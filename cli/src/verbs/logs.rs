//! `ctl logs`: what containers wrote, of one Task or of all Tasks of an App.

use std::io::{self, IsTerminal};

use berth_client::{Change, Error, LogsQuery, ObjectKey, Query, Update};
use berth_types::app::App;
use berth_types::task::Task;
use futures::stream::{FuturesUnordered, StreamExt};

use crate::api::Api;
use crate::failure::{Exit, Failure};
use crate::output::pieces::{Pieces, Reader};
use crate::output::print;
use crate::request::{Attempt, Follow, Logs};

/// One container's log, and what stands before its lines.
#[derive(Clone)]
struct Source {
    query: LogsQuery,
    /// Of the Task: another one of its name is another.
    uid: String,
    prefix: String,
}

/// Prints the logs; those that cannot be had are named, the others printed all the same.
pub async fn run(api: &Api, task: &Logs) -> Result<(), Failure> {
    let sources = sources(api, task).await?;
    let mut last = None;
    match task.follow {
        Follow::Once => {
            for source in &sources {
                last = copy(api, source).await.err().inspect(report).or(last);
            }
        }
        Follow::Changes => {
            let mut copies: FuturesUnordered<_> = sources.iter().map(|source| follow(api, source)).collect();
            while let Some(done) = copies.next().await {
                last = done.err().inspect(report).or(last);
            }
        }
    }
    last.map_or(Ok(()), |failure| Err(Failure::reported(failure.exit)))
}

fn report(failure: &Failure) {
    print::message(&failure.to_string());
}

async fn sources(api: &Api, task: &Logs) -> Result<Vec<Source>, Failure> {
    let mut tasks = Vec::new();
    for target in &task.selection.targets {
        let (kind, name) = (target.kind, target.name.clone().unwrap_or_default());
        let namespace = task.selection.namespace_of(kind);
        match kind.kind {
            "App" => tasks.extend(tasks_of(api, &namespace, &name).await?),
            _ => match api.client.get_as::<Task>(&namespace, &name).await {
                Ok(found) => tasks.push(found),
                Err(Error::NotFound(_)) => return Err(no_such_task(api, &namespace, &name).await),
                Err(error) => return Err(api.failed(&format!("could not get task/{name}"), &error)),
            },
        }
    }
    let many = tasks.len() > 1;
    let mut sources = Vec::new();
    for found in &tasks {
        let names = found.spec.containers.iter().map(|container| container.name.as_str());
        let names: Vec<&str> =
            names.filter(|name| task.container.is_empty() || *name == task.container).collect();
        if names.is_empty() {
            return Err(no_such_container(found, &task.container));
        }
        if found.spec.node_name.is_empty() {
            let name = &found.metadata.name;
            let message = format!("task/{name} has no node yet, and so no log");
            let describe = api.command(&format!("describe task/{name}"), &found.metadata.namespace);
            return Err(
                Failure::new(Exit::Failed, message).hint(format!("`{describe}` says what it waits for"))
            );
        }
        let several = names.len() > 1;
        for name in names {
            let prefix = match (many, several) {
                (_, true) => format!("[{}/{name}] ", found.metadata.name),
                (true, false) => format!("[{}] ", found.metadata.name),
                (false, false) => String::new(),
            };
            sources.push(Source { query: query(task, found, name), uid: found.metadata.uid.clone(), prefix });
        }
    }
    Ok(sources)
}

fn query(task: &Logs, found: &Task, container: &str) -> LogsQuery {
    LogsQuery {
        namespace: found.metadata.namespace.clone(),
        task: found.metadata.name.clone(),
        container: container.into(),
        follow: task.follow == Follow::Changes,
        previous: task.attempt == Attempt::Previous,
        tail_lines: task.tail,
    }
}

async fn tasks_of(api: &Api, namespace: &str, app: &str) -> Result<Vec<Task>, Failure> {
    let query = Query::of::<Task>().in_namespace(namespace).labels(format!("berth.dev/app={app}"));
    let listed = api.client.list_as::<Task>(&query).await;
    let mut tasks =
        listed.map_err(|error| api.failed(&format!("could not list tasks of app/{app}"), &error))?.items;
    // A Task without a node has no log yet, and is no reason to hide those of the others.
    let waiting = tasks.iter().filter(|task| task.spec.node_name.is_empty()).count();
    tasks.retain(|task| !task.spec.node_name.is_empty());
    if waiting > 0 && !tasks.is_empty() {
        print::note(&format!("{waiting} tasks of app/{app} have no node yet"));
    }
    if tasks.is_empty() && !is_app(api, namespace, app).await? {
        return Err(Failure::new(Exit::Failed, format!("app/{app} not found")));
    }
    if tasks.is_empty() {
        let why = if waiting > 0 { "has no task with a node yet" } else { "has no tasks" };
        return Err(Failure::new(Exit::Failed, format!("app/{app} {why}")));
    }
    Ok(tasks)
}

async fn is_app(api: &Api, namespace: &str, name: &str) -> Result<bool, Failure> {
    match api.client.get_as::<App>(namespace, name).await {
        Ok(_) => Ok(true),
        Err(Error::NotFound(_)) => Ok(false),
        Err(error) => Err(api.failed(&format!("could not get app/{name}"), &error)),
    }
}

async fn no_such_task(api: &Api, namespace: &str, name: &str) -> Failure {
    let failure = Failure::new(Exit::Failed, format!("task/{name} not found"));
    match is_app(api, namespace, name).await {
        Ok(true) => {
            let command = api.command(&format!("logs app/{name}"), namespace);
            failure.hint(format!("for all Tasks of the App: {command}"))
        }
        Ok(false) | Err(_) => {
            failure.hint(format!("`{}` lists those that there are", api.command("get tasks", namespace)))
        }
    }
}

fn no_such_container(task: &Task, name: &str) -> Failure {
    let known: Vec<&str> = task.spec.containers.iter().map(|container| container.name.as_str()).collect();
    let message = format!("task/{} has no container `{name}`", task.metadata.name);
    Failure::new(Exit::Failed, message).hint(format!("it has {}", known.join(", ")))
}

/// Goes on with the next attempt of the container, until the Task is at its end.
async fn follow(api: &Api, source: &Source) -> Result<(), Failure> {
    let Source { query, uid, .. } = source;
    let key = ObjectKey::of::<Task>(&query.namespace, &query.task);
    let failed = |error: &Error| api.failed(&format!("could not watch task/{}", query.task), error);
    let mut watch = api.client.watch_as::<Task>(
        &Query::of::<Task>()
            .in_namespace(key.namespace.clone())
            .fields(format!("metadata.name={}", key.name)),
    );
    let mut next = source.clone();
    loop {
        let attempt = match api.client.get_as::<Task>(&key.namespace, &key.name).await {
            Ok(task) => restarts(&task, &query.container),
            Err(Error::NotFound(_)) => return Ok(()),
            Err(error) => return Err(failed(&error)),
        };
        copy(api, &next).await?;
        if query.previous {
            return Ok(());
        }
        // What the next attempt wrote is new from its first line on.
        next.query.tail_lines = None;
        loop {
            let task = match newest(watch.next().await.map_err(|error| failed(&error))?) {
                News::Task(task) => task,
                News::Gone => return Ok(()),
                News::None => continue,
            };
            if task.metadata.uid != *uid || matches!(task.status.phase.as_str(), "Succeeded" | "Failed") {
                return Ok(());
            }
            if restarts(&task, &query.container) > attempt {
                break;
            }
        }
    }
}

/// What an update says about the one Task that is watched.
enum News {
    Task(Box<Task>),
    Gone,
    None,
}

fn newest(update: Update<Task>) -> News {
    match update {
        Update::Initial { mut objects, .. } | Update::Restarted { mut objects, .. } => {
            objects.pop().map_or(News::Gone, |task| News::Task(Box::new(task)))
        }
        Update::Changes { changes, .. } => match changes.into_iter().next_back() {
            Some(Change::Added(task) | Change::Modified(task)) => News::Task(Box::new(task)),
            Some(Change::Deleted(_)) => News::Gone,
            None => News::None,
        },
        Update::Bookmark { .. } => News::None,
    }
}

/// How often a container was started again.
fn restarts(task: &Task, container: &str) -> u32 {
    let status = task.status.container_statuses.iter().find(|status| status.name == container);
    status.map_or(0, |status| status.restart_count)
}

async fn copy(api: &Api, source: &Source) -> Result<(), Failure> {
    let step =
        format!("could not read the log of task/{}, container {}", source.query.task, source.query.container);
    let mut chunks = api.client.logs(&source.query).await.map_err(|error| api.failed(&step, &error))?;
    let reader = if io::stdout().is_terminal() { Reader::Terminal } else { Reader::Program };
    let mut pieces = Pieces::new(reader, &source.prefix);
    let mut outcome = Ok(());
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) => print::raw(&pieces.take(&chunk)),
            Err(error) => {
                outcome = Err(api.failed(&step, &error));
                break;
            }
        }
        print::settled().await;
    }
    print::raw(&pieces.end());
    outcome
}
