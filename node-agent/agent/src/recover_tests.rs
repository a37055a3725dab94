use std::path::Path;

use berth_shim_api::cgroup::Hierarchies;
use berth_shim_api::message::{
    Answer, Call, FromShim, Greeting, Hello, Outcome, Refusal, RefusalReason, Request, Running, VERSION,
};
use berth_shim_api::{ProcessId, SealedShim};
use berth_types::task::{Container, Task};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Barrier, mpsc, watch};

use super::*;
use crate::execute::Executor;
use crate::homes::{Homes, Views};
use crate::journal::{Journal, Record, RememberedContainer};
use crate::lives::{Lives, WITHIN};
use crate::places::Places;

const TASKS: u32 = 8;

fn process() -> ProcessId {
    ProcessId::of(std::process::id().cast_signed()).unwrap()
}

fn running() -> ContainerState {
    let started_at = Timestamp::from_millis(7);
    ContainerState::Running(Running { attempt: 3, process: process(), started_at })
}

fn world(dir: &Path) -> (Arc<World>, mpsc::UnboundedReceiver<Event>) {
    let places = Places::new(&dir.join("data"), &dir.join("run"), "berth-agent-test");
    std::fs::create_dir_all(places.data()).unwrap();
    let homes = Homes::new(places.clone(), crate::machine::node_says(&[]).unwrap(), Views::Allowed);
    let (journal, _) = Journal::open(&places.journal()).unwrap();
    let shim = SealedShim::load(Path::new("/bin/true")).unwrap();
    let (told, events) = mpsc::unbounded_channel();
    (Arc::new(World::new(places, homes, journal, Hierarchies::discover().unwrap(), shim, told)), events)
}

/// A Task whose shim was asked for attempt 3 of its container.
fn known(uid: &TaskUid) -> RememberedTask {
    let mut task = Task::default();
    (task.metadata.uid, task.metadata.name) = (uid.to_string(), "web-1".into());
    task.spec.containers =
        vec![Container { name: "main".into(), command: vec!["true".into()], ..Container::default() }];
    let main = RememberedContainer { attempt: 3, begun: Some(Timestamp::from_millis(5)), exits: Vec::new() };
    let containers = BTreeMap::from([("main".to_owned(), main)]);
    RememberedTask { task, shim: Some(process()), containers, stop: None, ending: None }
}

/// A shim that greets once `together` many were called, and whose container does what `does` says.
async fn serve(
    listener: UnixListener,
    uid: TaskUid,
    together: Arc<Barrier>,
    does: watch::Receiver<ContainerState>,
) {
    let (first, _) = listener.accept().await.unwrap();
    together.wait().await;
    let mut conversations = tokio::task::JoinSet::new();
    conversations.spawn(converse(first, uid.clone(), does.clone()));
    loop {
        let (next, _) = listener.accept().await.unwrap();
        conversations.spawn(converse(next, uid.clone(), does.clone()));
    }
}

async fn converse(stream: UnixStream, uid: TaskUid, does: watch::Receiver<ContainerState>) {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    let _: Hello = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    let welcome = Greeting::Welcome { version: VERSION, task_uid: uid.to_string(), shim: process() };
    let mut line = serde_json::to_string(&welcome).unwrap();
    while writer.write_all(format!("{line}\n").as_bytes()).await.is_ok() {
        let Ok(Some(next)) = lines.next_line().await else { return };
        let Call { id, request } = serde_json::from_str(&next).unwrap();
        let outcome = match request {
            Request::State | Request::Subscribe => {
                let state = does.borrow().clone();
                Outcome::Ok(Answer::State(vec![ContainerReport { container: "main".into(), state }]))
            }
            other => {
                Outcome::Refused(Refusal { reason: RefusalReason::WrongState, message: format!("{other:?}") })
            }
        };
        line = serde_json::to_string(&FromShim::Reply { id, outcome }).unwrap();
    }
}

async fn next(events: &mut mpsc::UnboundedReceiver<Event>) -> Event {
    tokio::time::timeout(Duration::from_secs(60), events.recv()).await.expect("it is told in time").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_shims_are_asked_at_once_and_what_they_are_creating_is_adopted_and_settled_later() {
    let dir = tempfile::tempdir().unwrap();
    let (world, mut events) = world(dir.path());
    let together = Arc::new(Barrier::new(TASKS as usize));
    let (does, doing) = watch::channel(ContainerState::Starting { attempt: 3 });
    let mut shims = tokio::task::JoinSet::new();
    let lives = Lives::default().begun("boot", Timestamp::from_millis(0));
    let mut memory = Memory { boot: "boot".into(), lives, ..Memory::default() };
    for number in 0..TASKS {
        let uid = TaskUid::parse(&number.to_string().repeat(32)).unwrap();
        let socket = world.places.socket(&uid);
        std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
        shims.spawn(serve(UnixListener::bind(socket).unwrap(), uid.clone(), together.clone(), doing.clone()));
        memory.tasks.insert(uid.to_string(), known(&uid));
    }
    let recovered = recover(&world, &memory, "boot", Timestamp::from_millis(9)).await;
    assert_eq!(recovered.len(), TASKS as usize);
    let mut executor = Executor::new(world.clone());
    for Recovered { run, conversation, digests, starting, events, suspect } in recovered {
        let main = &run.containers[0];
        assert_eq!((&main.state, main.attempt), (&RunState::Starting, 3));
        assert_eq!((events, suspect), (vec![], false));
        executor.keep(run.uid().clone(), conversation.expect("its shim lives"), digests, starting);
    }
    for _ in 0..TASKS {
        assert!(matches!(next(&mut events).await, Event::Prepared { outcome: Ok(_), .. }));
    }
    does.send(running()).unwrap();
    for _ in 0..TASKS {
        let told = next(&mut events).await;
        let Event::Started { attempt, outcome } = told else { panic!("{told:?}") };
        assert_eq!((attempt.number, outcome), (3, Ok(Timestamp::from_millis(7))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adopted_attempt_that_cannot_be_created_is_told_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let (world, mut events) = world(dir.path());
    let uid = TaskUid::parse(&"7".repeat(32)).unwrap();
    let socket = world.places.socket(&uid);
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let (does, doing) = watch::channel(ContainerState::Starting { attempt: 3 });
    let listener = UnixListener::bind(&socket).unwrap();
    let _shim = tokio::spawn(serve(listener, uid.clone(), Arc::new(Barrier::new(1)), doing));
    let conversation = shim::connect(&socket, uid.as_str()).await.unwrap();
    let attempt = Attempt { task: uid.clone(), container: "main".into(), number: 3 };
    let mut executor = Executor::new(world.clone());
    executor.keep(uid, conversation, Vec::new(), vec![attempt.clone()]);
    assert!(matches!(next(&mut events).await, Event::Prepared { .. }));
    does.send(ContainerState::Absent).unwrap();
    let told = next(&mut events).await;
    let Event::Started { attempt: of, outcome: Err(trouble) } = told else { panic!("{told:?}") };
    assert_eq!((of, trouble.reason), (attempt, "CreateError"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_being_prepared_is_suspected_only_after_a_death_in_this_boot_and_until_that_is_long_ago() {
    let dir = tempfile::tempdir().unwrap();
    let (world, _events) = world(dir.path());
    let now = Timestamp::from_millis(0).plus(WITHIN);
    let begun = |boot| Lives::default().begun(boot, now);
    let ended_after_death = |at: Timestamp| begun("this").begun("this", at).ended();
    for (what, boot, lives, expected) in [
        ("it died", "this", begun("this"), true),
        ("it was told to end", "this", begun("this").ended(), false),
        ("it was told to end, the one before it died", "this", ended_after_death(now), true),
        ("the one before it died long ago", "this", ended_after_death(Timestamp::from_millis(0)), false),
        ("it is of an earlier boot, the one before it died", "earlier", ended_after_death(now), false),
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
