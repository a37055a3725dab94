//! After a start: what an earlier agent of this node left is taken on, and nothing of it restarts for that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use berth_shim_api::message::{ContainerReport, ContainerState};
use berth_types::Timestamp;

use crate::alone::suspects;
use crate::assignment::{Assignment, TaskUid};
use crate::blocking::blocking;
use crate::execute::{World, end};
use crate::journal::{Memory, RememberedTask};
use crate::logs::begun;
use crate::plan::{Attempt, Event, Home, TaskRun};
use crate::remember::{Alive, recall};
use crate::shim::{self, Conversation, ShimError};

/// How long a shim that lives may take to talk.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a shim may take to create the container it was asked for before.
const CREATION: Duration = Duration::from_secs(60);

/// A Task of an earlier agent.
#[derive(Debug)]
pub struct Recovered {
    /// As it goes on.
    pub run: TaskRun,
    /// With its shim, if that is there.
    pub conversation: Option<Conversation>,
    /// Of its containers' images.
    pub digests: Vec<String>,
    /// What happened meanwhile.
    pub events: Vec<Event>,
    /// Whether its preparation was under way when the earlier agent died.
    pub suspect: bool,
}

/// Takes on every Task that the journal remembers. Shims of an earlier boot are gone with it.
pub async fn recover(world: &Arc<World>, memory: &Memory, boot_id: &str, now: Timestamp) -> Vec<Recovered> {
    let same_boot = memory.boot == boot_id;
    // What was under way when an agent was told to end did not end it.
    let died = same_boot && memory.lives.died_in(boot_id);
    let mut recovered = Vec::new();
    for (uid, known) in &memory.tasks {
        let Some(uid) = TaskUid::parse(uid) else { continue };
        if let (true, Some(process)) = (same_boot, known.shim) {
            world.knows_shim(&uid, process);
        }
        if known.ending.is_some() {
            let run = recall(&uid, known, &BTreeMap::new(), Home::None, now);
            let (digests, events) = (Vec::new(), Vec::new());
            recovered.push(Recovered { run, conversation: None, digests, events, suspect: false });
            continue;
        }
        let found = if same_boot { reach(world, &uid, known).await } else { None };
        let mut next = match found {
            Some((reports, conversation)) => {
                let digests = digests(world, known).await;
                adopt(&uid, known, &reports, (conversation, digests), now)
            }
            None => lost(world, &uid, known, now).await,
        };
        next.suspect &= died;
        recovered.push(next);
    }
    recovered
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
            let reports = settled_reports(first).await?;
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

/// What every container does, once none is being created any more.
async fn settled_reports(conversation: Conversation) -> Result<Vec<ContainerReport>, ShimError> {
    let shim = conversation.shim.clone();
    let ask = async move {
        let patience = tokio::time::Instant::now() + CREATION;
        loop {
            let reports = shim.state().await?;
            let starting = reports.iter().any(|r| matches!(r.state, ContainerState::Starting { .. }));
            if !starting || tokio::time::Instant::now() > patience {
                return Ok(reports);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        reports = ask => reports,
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
                ContainerState::Running(running) => {
                    Alive { number: running.attempt, since: running.started_at }
                }
                ContainerState::Exited(record) => Alive { number: record.attempt, since: record.started_at },
                ContainerState::Absent | ContainerState::Starting { .. } => return None,
            };
            Some((report.container.clone(), alive))
        })
        .collect();
    // Ready once ends are pushed: whoever keeps the conversation says so, and tells ends seen before.
    let run = recall(uid, known, &alive, Home::Preparing, now);
    let begun = |name: &str, number| alive.get(name).is_some_and(|alive| alive.number >= number);
    let suspect = suspects(known, true, begun);
    Recovered { run, conversation: Some(conversation), digests, events: Vec::new(), suspect }
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
        let since = record(name, number).map_or(asked, |r| r.started_at);
        ran(name, number).then(|| (name.clone(), Alive { number, since }))
    });
    let suspect = suspects(known, false, ran);
    let run = recall(uid, known, &alive.collect(), Home::Lost, now);
    let ends = records.iter().map(|record| end(uid, record)).collect();
    let events = vec![Event::ShimLost { task: uid.clone(), ends, begun }];
    Recovered { run, conversation: None, digests: Vec::new(), events, suspect }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use berth_shim_api::SealedShim;
    use berth_shim_api::cgroup::Hierarchies;
    use berth_types::task::Task;
    use tokio::sync::mpsc;

    use super::*;
    use crate::homes::{Homes, Views};
    use crate::journal::{Journal, Record};
    use crate::lives::Lives;
    use crate::places::Places;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_being_prepared_is_suspected_only_after_a_death_in_this_boot() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::new(dir.path(), dir.path(), "berth-recover-test");
        let homes = Homes::new(places.clone(), crate::machine::node_says(&[]).unwrap(), Views::Allowed);
        let (journal, _) = Journal::open(&places.journal()).unwrap();
        let shim = SealedShim::load(Path::new("/bin/true")).unwrap();
        let (told, _events) = mpsc::unbounded_channel();
        let hierarchies = Hierarchies::discover().unwrap();
        let world = Arc::new(World::new(places, homes, journal, hierarchies, shim, told));
        let now = Timestamp::from_millis(0);
        let begun = |boot| Lives::default().begun(boot, now);
        for (what, boot, lives, expected) in [
            ("it died", "this", begun("this"), true),
            ("it was told to end", "this", begun("this").ended(), false),
            ("it is of an earlier boot", "earlier", begun("earlier"), false),
            ("it died before it knew what an earlier boot left", "earlier", begun("this"), false),
        ] {
            let mut task = Task::default();
            task.metadata.uid = "0123456789abcdef".repeat(2);
            let mut memory = Memory { lives, ..Memory::default() };
            memory.take(Record::Boot { id: boot.into() });
            memory.take(Record::Task { task: Box::new(task) });
            let recovered = recover(&world, &memory, "this", now).await;
            assert_eq!(recovered.iter().map(|task| task.suspect).collect::<Vec<_>>(), [expected], "{what}");
        }
    }
}
