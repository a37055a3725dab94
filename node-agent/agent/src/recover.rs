//! After a start: what an earlier agent of this node left is taken on, and nothing of it restarts for that.
//!
//! The node has no session before all of it is taken on, so no Task may hold up the others: all are asked at once, and
//! what a shim is still creating is adopted as it is and settled later.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use berth_shim_api::message::{ContainerReport, ContainerState};
use berth_types::Timestamp;
use futures::StreamExt;
use futures::stream;

use crate::alone::suspects;
use crate::assignment::{Assignment, TaskUid};
use crate::blocking::blocking;
use crate::execute::{World, end};
use crate::journal::{Memory, RememberedTask};
use crate::logs::begun;
use crate::plan::{Attempt, Event, Home, RunState, TaskRun};
use crate::remember::{Alive, recall};
use crate::shim::{self, Conversation, ShimError};

/// How long a shim that lives may take to talk, and to tell what it does.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most Tasks that are taken on at once.
const AT_ONCE: usize = 64;

/// A Task of an earlier agent.
#[derive(Debug)]
pub struct Recovered {
    /// As it goes on.
    pub run: TaskRun,
    /// With its shim, if that is there.
    pub conversation: Option<Conversation>,
    /// Of its containers' images.
    pub digests: Vec<String>,
    /// The attempts that its shim is still creating.
    pub starting: Vec<Attempt>,
    /// What happened meanwhile.
    pub events: Vec<Event>,
    /// Whether its preparation was under way when an earlier agent died, or ended soon after another one died.
    pub suspect: bool,
}

/// Takes on every Task that the journal remembers. Shims of an earlier boot are gone with it.
pub async fn recover(world: &Arc<World>, memory: &Memory, boot_id: &str, now: Timestamp) -> Vec<Recovered> {
    let same_boot = memory.boot == boot_id;
    // An agent that stopped on a signal was not killed by what it prepared. But if an earlier agent crashed shortly before,
    // the cause may be among the unfinished preparations. A wrong suspicion costs only a process.
    let died = same_boot && (memory.lives.died_in(boot_id) || memory.lives.died_lately(now));
    let tasks = memory.tasks.iter().filter_map(|(uid, known)| Some((TaskUid::parse(uid)?, known)));
    let taken_on = tasks.map(|(uid, known)| take_on(world, uid, known, same_boot, now));
    let mut recovered: Vec<Recovered> = stream::iter(taken_on).buffer_unordered(AT_ONCE).collect().await;
    recovered.iter_mut().for_each(|task| task.suspect &= died);
    recovered
}

async fn take_on(
    world: &Arc<World>,
    uid: TaskUid,
    known: &RememberedTask,
    same_boot: bool,
    now: Timestamp,
) -> Recovered {
    if let (true, Some(process)) = (same_boot, known.shim) {
        world.knows_shim(&uid, process);
    }
    if known.ending.is_some() {
        let run = recall(&uid, known, &BTreeMap::new(), Home::None, now);
        return Recovered::without_shim(run, Vec::new(), false);
    }
    let found = if same_boot { reach(world, &uid, known).await } else { None };
    match found {
        Some((reports, conversation)) => {
            let digests = digests(world, known).await;
            adopt(&uid, known, &reports, (conversation, digests), now)
        }
        None => lost(world, &uid, known, now).await,
    }
}

impl Recovered {
    fn without_shim(run: TaskRun, events: Vec<Event>, suspect: bool) -> Self {
        let (digests, starting) = (Vec::new(), Vec::new());
        Self { run, conversation: None, digests, starting, events, suspect }
    }
}

/// What the Task's shim says, and a conversation to go on with; none when it is gone.
async fn reach(
    world: &Arc<World>,
    uid: &TaskUid,
    known: &RememberedTask,
) -> Option<(Vec<ContainerReport>, Conversation)> {
    let socket = world.places.socket(uid);
    let patience = tokio::time::Instant::now() + PATIENCE;
    loop {
        let talk = async {
            let first = shim::connect(&socket, uid.as_str()).await?;
            let reports = ask(first).await?;
            Ok::<_, ShimError>((reports, shim::connect(&socket, uid.as_str()).await?))
        };
        match talk.await {
            Ok(found) => return Some(found),
            Err(error) => {
                let alive = known.shim.is_some_and(|process| process.runs());
                if !alive || tokio::time::Instant::now() > patience {
                    tracing::warn!(task = %uid, error = %error, "a shim cannot be reached");
                    return None;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// What every container does.
async fn ask(conversation: Conversation) -> Result<Vec<ContainerReport>, ShimError> {
    let shim = conversation.shim.clone();
    tokio::select! {
        reports = tokio::time::timeout(PATIENCE, shim.state()) => reports.map_err(|_| ShimError::Silent)?,
        () = conversation.talk(|_| ()) => Err(ShimError::Gone),
    }
}

/// Of the images that its containers run, as they were when it was prepared.
async fn digests(world: &Arc<World>, known: &RememberedTask) -> Vec<String> {
    let Ok(assignment) = Assignment::try_from(&known.task) else { return Vec::new() };
    let machine = world.clone();
    blocking(move || machine.homes.digests(&assignment)).await
}

fn adopt(
    uid: &TaskUid,
    known: &RememberedTask,
    reports: &[ContainerReport],
    (conversation, digests): (Conversation, Vec<String>),
    now: Timestamp,
) -> Recovered {
    let alive: BTreeMap<String, Alive> = reports
        .iter()
        .filter_map(|report| {
            let alive = match &report.state {
                ContainerState::Starting { attempt } => Alive { number: *attempt, since: None },
                ContainerState::Running(running) => {
                    Alive { number: running.attempt, since: Some(running.started_at) }
                }
                ContainerState::Exited(record) => {
                    Alive { number: record.attempt, since: Some(record.started_at) }
                }
                ContainerState::Absent => return None,
            };
            Some((report.container.clone(), alive))
        })
        .collect();
    // Ready once ends are pushed: whoever keeps the conversation says so, and tells ends seen before.
    let run = recall(uid, known, &alive, Home::Preparing, now);
    let begun = |name: &str, number| alive.get(name).is_some_and(|alive| alive.number >= number);
    let suspect = suspects(known, true, begun);
    let starting = run.containers.iter().filter(|container| container.state == RunState::Starting);
    let starting = starting.map(|container| Attempt {
        task: uid.clone(),
        container: container.program.name.clone(),
        number: container.attempt,
    });
    let (starting, events) = (starting.collect(), Vec::new());
    Recovered { run, conversation: Some(conversation), digests, starting, events, suspect }
}

/// A Task whose shim is gone: nothing of it may run on, and the ends that were recorded are told with their codes.
async fn lost(world: &Arc<World>, uid: &TaskUid, known: &RememberedTask, now: Timestamp) -> Recovered {
    let (machine, task) = (world.clone(), uid.clone());
    let records = blocking(move || {
        let subtree = machine.hierarchies.subtree(&machine.places.task_cgroup(&task));
        if let Err(error) = subtree.remove(PATIENCE) {
            tracing::error!(task = %task, error = %error, "the containers of a lost shim could not be removed");
        }
        (machine.exit_records(&task), begun(&machine.places, &task))
    });
    let (records, begun) = records.await;
    let record = |name: &str, number| records.iter().find(|r| r.container == name && r.attempt == number);
    let ran = |name: &str, number| {
        let attempt = Attempt { task: uid.clone(), container: name.to_owned(), number };
        record(name, number).is_some() || begun.contains(&attempt)
    };
    let alive = known.containers.iter().filter_map(|(name, container)| {
        let (number, asked) = (container.attempt, container.begun.unwrap_or(now));
        let since = Some(record(name, number).map_or(asked, |r| r.started_at));
        ran(name, number).then(|| (name.clone(), Alive { number, since }))
    });
    let suspect = suspects(known, false, ran);
    let run = recall(uid, known, &alive.collect(), Home::Lost, now);
    let ends = records.iter().map(|record| end(uid, record)).collect();
    let events = vec![Event::ShimLost { task: uid.clone(), ends, begun }];
    Recovered::without_shim(run, events, suspect)
}

#[cfg(test)]
#[path = "recover_tests.rs"]
mod tests;
