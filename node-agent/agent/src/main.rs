//! bin `node-agent`: reads its configuration, takes on what an earlier one left, and runs until it is told to end.

mod config;

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use berth_agent::agent::Agent;
use berth_agent::assignment::TaskUid;
use berth_agent::blocking::blocking;
use berth_agent::execute::World;
use berth_agent::homes::{Homes, Views};
use berth_agent::journal::{Journal, JournalError, Record};
use berth_agent::machine::{Machine, node_says};
use berth_agent::membership::{Candidate, Membership, MembershipError, check_name};
use berth_agent::node_lock::{self, Holder, NoNodeLock, NodeLock};
use berth_agent::places::Places;
use berth_agent::plan::State;
use berth_agent::recover::recover;
use berth_agent::sweep::{leftovers, sweep};
use berth_agent::{alone, disk, lives, selftest, simulate};
use berth_client::Client;
use berth_daemon::AnyError;
use berth_shim_api::SealedShim;
use berth_shim_api::cgroup::Hierarchies;
use berth_types::{Clock, SteadyClock};
use clap::Parser;
use rustix::fs::FlockOperation;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::mpsc;

use crate::config::{Config, Flags, Form, Pace};

/// How long an agent that was killed may take to let go of its folder.
const ENDING: Duration = Duration::from_secs(3);

/// Why an agent ends when the store was restored: what it knows of the store is of another history. Containers run on.
const OTHER_HISTORY: &str = "the store was restored or replaced: this agent starts anew";

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|word| word == selftest::INSIDE) {
        return ExitCode::from(selftest::look_inside());
    }
    if std::env::args().nth(1).is_some_and(|word| word == alone::INSIDE) {
        return alone::run_inside();
    }
    let own = std::env::current_exe().unwrap_or_default();
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let config = match berth_daemon::begin(|| Config::read(Flags::parse(), &own, &hostname)) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    berth_daemon::end(runtime.map_err(AnyError::from).and_then(|runtime| runtime.block_on(run(config))))
}

async fn run(config: Config) -> Result<(), AnyError> {
    let stop = berth_daemon::told_to_end()?;
    match config.form {
        Form::Simulated { nodes } => {
            let servers = &config.servers;
            let about = simulate::About {
                prefix: config.node_name,
                count: nodes,
                ports: config.ports,
                address: config.address,
                reconnect: config.pace.reconnect,
            };
            let fleet = simulate::Fleet::new(servers, config.pace.client, about)?;
            let client = fleet.client();
            tokio::select! {
                ended = fleet.run() => ended.map_err(AnyError::from).map(|never| match never {}),
                () = client.store_replaced() => Err(OTHER_HISTORY.into()),
                () = stop => Ok(()),
            }
        }
        Form::Machine { data, run, shim, views, cgroup_parent, disk_pressure } => {
            let client = Client::with_options(&config.servers, config.pace.client.clone())?;
            let machine = Setup {
                servers: config.servers,
                node_name: config.node_name,
                ports: config.ports,
                address: config.address,
                pace: config.pace,
                data,
                run,
                shim,
                views,
                cgroup_parent,
                disk_pressure,
            };
            machine.start(client, stop).await
        }
    }
}

/// Each Task takes two open files, and some hundred would reach the usual soft limit of 1024. Containers have limits of
/// their own.
fn allow_open_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// What an agent of a machine is made of.
struct Setup {
    servers: Vec<String>,
    node_name: String,
    ports: berth_types::node::PortRange,
    address: String,
    pace: Pace,
    data: PathBuf,
    run: PathBuf,
    shim: PathBuf,
    views: Views,
    cgroup_parent: Option<String>,
    disk_pressure: u8,
}

impl Setup {
    async fn start(self, client: Client, stop: impl Future<Output = ()>) -> Result<(), AnyError> {
        tokio::pin!(stop);
        allow_open_files();
        for folder in [&self.data, &self.run] {
            close_to_others(folder)?;
        }
        let _lock = lock(&self.data).await?;
        let (journal, memory) = Journal::open(&self.data.join("journal"))?;
        check_name(memory.identity.as_ref(), &self.node_name)?;
        let cluster = tokio::select! {
            uid = cluster_uid(&self.data, &client, self.pace.reconnect) => uid,
            () = &mut stop => return Ok(()),
        };
        // Before any cgroup is touched: another agent of this Node uses the same ones.
        let _node_lock = self.lock_node(&cluster).await?;
        let default_parent = || format!("berth-{}", cluster.get(..8).unwrap_or(&cluster));
        let cgroup_parent = self.cgroup_parent.clone().unwrap_or_else(default_parent);
        let machine = Machine::look(&self.data)?;
        let places = Places::new(&self.data, &self.run, &cgroup_parent);
        let shim = SealedShim::load(&self.shim)?;
        let hierarchies = Hierarchies::discover()?;
        let node = node_says(&self.berths_folders())?;
        let (events_in, events) = mpsc::unbounded_channel();
        let (news_in, news) = mpsc::unbounded_channel();
        // The agent decides on one look before the next one is worth anything.
        let (looks_in, looks) = mpsc::channel(1);
        let homes = Homes::new(places.clone(), node.clone(), self.views).up_to(self.disk_pressure);
        let test_homes = selftest::places(&places, &cgroup_parent)
            .map(|places| Homes::new(places, node.clone(), Views::Allowed));
        let test_hierarchies = hierarchies.clone();
        let shim = blocking(move || {
            let bench = selftest::Bench { homes: &test_homes, hierarchies: &test_hierarchies, shim: &shim };
            bench.test().map(|()| shim)
        })
        .await?;
        let world = Arc::new(World::new(places, homes, journal.clone(), hierarchies, shim, events_in));

        let clock = SteadyClock;
        let journalled: HashMap<TaskUid, _> = memory
            .tasks
            .iter()
            .filter_map(|(uid, known)| Some((TaskUid::parse(uid)?, Arc::new(known.task.clone()))))
            .collect();
        let unknown = leftovers(&world, &journalled.keys().cloned().collect::<BTreeSet<_>>());
        let known = (State::new(self.pace.unknown_tasks), journalled);
        let mut agent = Agent::new(world.clone(), client.clone(), clock, self.address.clone(), known);
        let boot_id = machine.info.boot_id.clone();
        let lives = memory.lives.clone().begun(&boot_id, clock.now());
        // On disk before anything can end this agent. Without room now, the journal writes it before anything else.
        append_if_room(&journal, Record::Lives(lives.clone())).await?;
        berth_failpoint::reach("agent.recover.before");
        agent.adopt(recover(&world, &memory, &boot_id, clock.now()).await);
        berth_failpoint::reach("agent.recover.after");
        if memory.boot != boot_id {
            // Without room now, the journal writes it before anything else.
            append_if_room(&journal, Record::Boot { id: boot_id }).await?;
        }
        if let (Some(identity), true) = (&memory.identity, lives.is_loop(clock.now())) {
            let told = lives::tell_once(&client, identity, &lives);
            // In vain without a server; it is told again below.
            let _ = tokio::time::timeout(lives::TELL_FIRST, told).await;
        }
        let candidate = Candidate {
            name: self.node_name,
            machine,
            ports: self.ports,
            address: self.address,
            reconnect: self.pace.reconnect,
            unknown_tasks: self.pace.unknown_tasks,
        };
        let known = (memory.identity, memory.session);
        let membership = Membership::new(client.clone(), world.clone(), candidate, known, news_in);
        let node = membership.node();
        // An end that is asked for, or meant to be followed by another start, is no death.
        let told_to_end = async {
            let journalled = journal.append(vec![Record::Lives(lives.clone().ended())]).await;
            journalled.unwrap_or_else(|error| tracing::warn!(error = %error, "counts as a death"));
        };
        tokio::select! {
            () = agent.run(events, news, looks, &mut stop) => {
                tracing::info!("the agent ends; containers run on");
                told_to_end.await;
                Ok(())
            }
            refused = membership.run() => {
                let refused: Result<(), _> = refused.map(|never| match never {});
                if let Err(MembershipError::OtherHistory(_)) = refused {
                    told_to_end.await;
                }
                refused.map_err(AnyError::from)
            }
            () = client.store_replaced() => {
                told_to_end.await;
                Err(OTHER_HISTORY.into())
            }
            () = lives::tell(&client, node, &lives) => Ok(()),
            () = journal.broken() => Err(JournalError::Broken.into()),
            () = disk::watch(world.places.clone(), self.disk_pressure, looks_in) => Ok(()),
            () = sweep(world, unknown, self.pace.unknown_tasks) => Ok(()),
        }
    }

    /// Has no other agent of this machine be this Node. One that was killed may take a moment to end.
    async fn lock_node(&self, cluster: &str) -> Result<NodeLock, NoNodeLock> {
        let holder = Holder { cluster, node: &self.node_name, data: &self.data, run: &self.run };
        let patience = tokio::time::Instant::now() + ENDING;
        loop {
            match NodeLock::take(Path::new(node_lock::FOLDER), &holder) {
                Err(NoNodeLock::Held { .. }) if tokio::time::Instant::now() < patience => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                taken => return taken,
            }
        }
    }

    /// What no Task may reach: our folders, those of the control plane beside us, and the servers' sockets.
    fn berths_folders(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.data.clone(), self.run.clone()];
        let whole = self.data.parent().filter(|parent| parent.join("cluster").is_file());
        folders.extend(whole.map(Path::to_path_buf));
        let sockets = self.servers.iter().filter_map(|server| server.strip_prefix("unix:"));
        let beside = sockets.filter_map(|socket| Path::new(socket).parent()).map(Path::to_path_buf);
        folders.extend(beside.filter(|folder| folder.components().count() > 2));
        folders
    }
}

/// An agent must start on a full disk too: only it can remove what fills that.
async fn append_if_room(journal: &Journal, record: Record) -> Result<(), JournalError> {
    match journal.append(vec![record]).await {
        Err(JournalError::NotNow { .. }) => Ok(()),
        other => other,
    }
}

/// A container may own set-uid files in its sandbox, which no other user of the machine may come to.
fn close_to_others(folder: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

/// Two agents on one folder would each restart what the other runs. One that was killed may take a moment to end.
async fn lock(data: &Path) -> Result<File, AnyError> {
    let file = File::create(data.join("lock"))?;
    let patience = tokio::time::Instant::now() + ENDING;
    while rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        if tokio::time::Instant::now() > patience {
            return Err(format!("another node agent uses data folder {}", data.display()).into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(file)
}

/// As the folder says, or else the first server that answers.
async fn cluster_uid(data: &Path, client: &Client, pause: Duration) -> String {
    if let Ok(uid) = fs::read_to_string(data.join("cluster")) {
        return uid.trim().to_owned();
    }
    loop {
        match client.version().await {
            Ok(version) => return version.cluster_uid,
            Err(error) => {
                tracing::warn!(error = %error, "no server answers yet");
                tokio::time::sleep(pause).await;
            }
        }
    }
}
