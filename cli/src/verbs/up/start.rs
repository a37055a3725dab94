//! Starting the parts in the order in which they need each other.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use berth_client::{ObjectKey, Version};
use berth_types::Condition;
use berth_types::node::Node;

use super::{ALL_LINES, Api, Exit, Failure, LINES, Parts, Progress, Up, tail};
use crate::args;
use crate::cluster::node_locks;
use crate::cluster::parts::Part;
use crate::manifest::visible;
use crate::request::OldEtcd;
use crate::suggested::quoted;
use crate::verbs::up::parts;

/// Between two looks at what is waited for.
pub const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Starts every part; gives what to say once the node is ready.
pub async fn all(
    kept: &mut Parts,
    task: &Up,
    programs: &Path,
    logs: &Logs,
    progress: &mut Progress,
) -> Result<String, Failure> {
    refuse_second_agent(task)?;
    kept.keep(apiserver(task, programs, &task.home.server()));
    let api = socket(kept, task, logs, progress).await?;
    let version = or_ended(kept, logs, answer(&api)).await??;
    claim(task, &version)?;
    kept.keep(controllers(task, programs));
    kept.keep(agent(task, programs));
    or_ended(kept, logs, ready(&api, task, progress)).await?;
    Ok(greeting(task, &version))
}

/// The agent would refuse too; but a copied store says that its node is ready.
fn refuse_second_agent(task: &Up) -> Result<(), Failure> {
    let Some(cluster) = task.home.cluster() else { return Ok(()) };
    let locks = Path::new(node_locks::FOLDER);
    let Some(holder) = node_locks::other_agent(locks, &cluster, &task.node, &task.home.agent_data()) else {
        return Ok(());
    };
    let message = format!("node {} of this cluster already runs on this machine", task.node);
    Err(Failure::new(Exit::Conflict, message).detail(format!("its agent: {holder}")).hint(
        "a copy of a data folder cannot run beside the original: stop that one first, or use another machine",
    ))
}

/// How long each log was before: what is shown after a failure is of this run.
pub struct Logs {
    lengths: Vec<(&'static str, u64)>,
    /// Whether they go with all that this run made, if it fails.
    pub go: bool,
}

impl Logs {
    /// As they are before anything starts.
    pub fn before(task: &Up, go: bool) -> Self {
        let length = |name| std::fs::metadata(log(task, name)).map_or(0, |file| file.len());
        let lengths = ["apiserver", "controllers", "node-agent"].map(|name| (name, length(name))).to_vec();
        Self { lengths, go }
    }

    fn start_of(&self, part: &str) -> u64 {
        self.lengths.iter().find(|(name, _)| *name == part).map_or(0, |(_, length)| *length)
    }
}

/// The last warning or error of each part, in the order of their start: what came too late has its reason there.
pub fn last_complaint(task: &Up, logs: &Logs) -> Vec<String> {
    let complains = |line: &String| line.contains(" WARN ") || line.contains("ERROR ");
    let of = |(name, start): &(&'static str, u64)| {
        let last = tail(&log(task, name), *start, usize::MAX).into_iter().rfind(complains)?;
        Some(format!("{name}: {last}"))
    };
    logs.lengths.iter().filter_map(of).collect()
}

fn log(task: &Up, name: &str) -> std::path::PathBuf {
    task.home.logs().join(format!("{name}.log"))
}

/// Waits for `work`, unless a part ends before: then nothing will come of it.
async fn or_ended<T>(kept: &mut Parts, logs: &Logs, work: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::select! {
        done = work => Ok(done),
        ended = kept.ended() => {
            let failure = Failure::new(Exit::Failed, format!("{} ended at once ({})", ended.part, ended.how));
            let most = if logs.go { ALL_LINES } else { LINES };
            let lines = tail(&ended.log, logs.start_of(ended.part), most);
            let failure = lines.iter().fold(failure, |failure, line| failure.detail(visible(line)));
            let hint = format!("its whole log is {}", ended.log.display());
            Err(if logs.go { failure } else { failure.hint(hint) })
        }
    }
}

async fn socket(kept: &mut Parts, task: &Up, logs: &Logs, progress: &mut Progress) -> Result<Api, Failure> {
    let there = async {
        while !task.home.socket().exists() {
            progress.show("waiting for the apiserver to listen");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    or_ended(kept, logs, there).await?;
    Api::at(&[task.home.server()])
}

async fn answer(api: &Api) -> Result<Version, Failure> {
    api.client.version().await.map_err(|error| api.failed("the apiserver does not answer", &error))
}

/// The data folder belongs to one cluster for ever: images and journal of another would be taken for ours.
fn claim(task: &Up, version: &Version) -> Result<(), Failure> {
    match task.home.cluster() {
        Some(owner) if owner != version.cluster_uid => {
            let data = task.home.data.display();
            Err(Failure::new(Exit::Conflict, format!("the data folder {data} belongs to another cluster"))
                .detail(format!(
                    "it belongs to {owner}; the store ({}) is of {}",
                    version.store, version.cluster_uid
                ))
                .hint(format!(
                    "choose another --data folder, or remove this one by `{}`",
                    task.home.command("down --delete-data")
                )))
        }
        Some(_) => Ok(()),
        None => task.home.claim(&version.cluster_uid).map_err(|error| {
            Failure::new(Exit::Failed, format!("could not write to {}: {error}", task.home.data.display()))
        }),
    }
}

async fn ready(api: &Api, task: &Up, progress: &mut Progress) {
    let key = ObjectKey::of::<Node>("", &task.node);
    loop {
        let why = match api.client.get_as::<Node>(&key.namespace, &key.name).await {
            Ok(node) if Condition::holds(&node.status.conditions, "Ready") => return,
            Ok(node) => match Condition::find(&node.status.conditions, "Ready") {
                Some(ready) => ready.message.clone(),
                None => "its state is not known yet".into(),
            },
            Err(_) => "it has not registered yet".into(),
        };
        progress.show(&format!("waiting for node {}: {why}", task.node));
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The apiserver over the store of this run, with its API at `server`.
pub fn apiserver(task: &Up, programs: &Path, server: &str) -> Part {
    let store: OsString = if task.etcd.is_empty() {
        [OsString::from("embedded:"), task.home.store().into()].into_iter().collect()
    } else {
        format!("etcd:{}", task.etcd.join(",")).into()
    };
    let mut args: Vec<OsString> = vec!["--store".into(), store, "--listen".into(), server.into()];
    if task.old_etcd == OldEtcd::Taken {
        args.push("--allow-unsupported-etcd".into());
    }
    part("apiserver", args, task, programs)
}

fn controllers(task: &Up, programs: &Path) -> Part {
    part("controllers", vec!["--server".into(), task.home.server().into()], task, programs)
}

fn agent(task: &Up, programs: &Path) -> Part {
    let args: Vec<OsString> = vec![
        "--server".into(),
        task.home.server().into(),
        "--data".into(),
        task.home.agent_data().into(),
        "--run".into(),
        task.home.agent_run().into(),
        "--node-name".into(),
        task.node.clone().into(),
        "--ports".into(),
        task.ports.clone().into(),
        "--allow-host-root".into(),
    ];
    part("node-agent", args, task, programs)
}

fn part(name: &'static str, args: Vec<OsString>, task: &Up, programs: &Path) -> parts::Part {
    Part { name, program: programs.join(name), args, log: log(task, name) }
}

fn greeting(task: &Up, version: &Version) -> String {
    let (server, data) = (task.home.server(), task.home.data.display().to_string());
    let cluster = version.cluster_uid.get(..8).unwrap_or(&version.cluster_uid);
    let mut text = format!("Berth is up: cluster {cluster}, node {} is ready\n\n", task.node);
    let mut fact = |name: &str, value: &str| text.push_str(&format!("  {name:<9}{value}\n"));
    fact("API", &server);
    fact("store", &version.store);
    fact("data", &data);
    fact("logs", &task.home.logs().display().to_string());
    text.push_str("\nType next:\n\n");
    if server != args::SERVER {
        text.push_str(&format!("  export CTL_SERVER={}\n", quoted(&server)));
    }
    text.push_str("  ctl apply -f manifests/hello.yaml\n  ctl get apps,tasks\n\n");
    text.push_str(match task.place {
        crate::request::Foreground::Here => "Ctrl-C stops Berth and leaves what it runs running. ",
        crate::request::Foreground::Elsewhere | crate::request::Foreground::Detached => "",
    });
    text.push_str(&format!("`{}` stops Berth and everything it runs.\n", task.home.command("down")));
    text
}
