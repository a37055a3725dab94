use std::net::TcpListener;
use std::path::Path;

use berth_shim_api::message::{Answer, Call, FromShim, Greeting, Hello, Outcome, Refusal, Request, VERSION};
use berth_types::Timestamp;
use berth_types::task::Container;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;

use super::*;
use crate::assignment::Check;
use crate::homes::Views;
use crate::plan::ProbeKind;
use crate::silent_port::silent_port;

const UID: &str = "0123456789abcdef0123456789abcdef";

/// What a fake shim does with a call to start, each time another one.
#[derive(Debug, Clone, Copy)]
enum Does {
    /// Starts the container and hangs up before it has answered.
    StartsAndHangsUp,
    /// Begins to start it, hangs up, and is ready when it was asked for its state twice.
    BeginsAndHangsUp,
    /// Loses the call and hangs up.
    LosesIt,
    /// Starts the container, as the second call finds out, and hangs up; the state did not show it.
    StartsLateAndHangsUp,
    /// Answers.
    Answers,
}

fn running() -> Running {
    let process = ProcessId::of(std::process::id().cast_signed()).unwrap();
    Running { attempt: 0, process, started_at: Timestamp::from_millis(7) }
}

/// Serves one conversation after another; how often it was asked to start.
async fn serve(listener: UnixListener, mut plan: Vec<Does>) -> usize {
    let (mut state, mut asked, mut looks, mut late) = (ContainerState::Absent, 0, 0, false);
    plan.reverse();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (reader, mut writer) = stream.into_split();
        let mut lines = BufReader::new(reader).lines();
        let hello: Hello = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
        let shim = running().process;
        let welcome = Greeting::Welcome { version: hello.newest, task_uid: UID.into(), shim };
        let mut line = serde_json::to_string(&welcome).unwrap();
        while let Some(next) = {
            writer.write_all(format!("{line}\n").as_bytes()).await.unwrap();
            lines.next_line().await.unwrap_or_default()
        } {
            let Call { id, request } = serde_json::from_str(&next).unwrap();
            let outcome = match request {
                Request::State | Request::Subscribe => {
                    looks += 1;
                    if looks >= 4 && matches!(state, ContainerState::Starting { .. }) {
                        state = ContainerState::Running(running());
                    }
                    let report = ContainerReport { container: "main".into(), state: state.clone() };
                    Outcome::Ok(Answer::State(vec![report]))
                }
                Request::Start(_) => {
                    asked += 1;
                    match plan.pop() {
                        Some(Does::StartsAndHangsUp) => {
                            state = ContainerState::Running(running());
                            break;
                        }
                        Some(Does::BeginsAndHangsUp) => {
                            state = ContainerState::Starting { attempt: 0 };
                            break;
                        }
                        Some(Does::LosesIt) => break,
                        Some(Does::StartsLateAndHangsUp) => {
                            late = true;
                            break;
                        }
                        Some(Does::Answers) if late => {
                            state = ContainerState::Running(running());
                            let message = "attempt 0 is not a new one".into();
                            Outcome::Refused(Refusal { reason: RefusalReason::WrongState, message })
                        }
                        Some(Does::Answers) => Outcome::Ok(Answer::Started(running())),
                        None => panic!("asked to start once more"),
                    }
                }
                // The test is over.
                Request::Shutdown => return asked,
                other => panic!("{other:?}"),
            };
            line = serde_json::to_string(&FromShim::Reply { id, outcome }).unwrap();
        }
    }
}

fn world(dir: &Path) -> (Arc<World>, mpsc::UnboundedReceiver<Event>, Assignment) {
    let places = Places::new(&dir.join("data"), &dir.join("run"), "berth-agent-test");
    std::fs::create_dir_all(places.data()).unwrap();
    let homes = Homes::new(places.clone(), crate::machine::node_says(&[]).unwrap(), Views::Allowed);
    let (journal, _) = Journal::open(&places.journal()).unwrap();
    let shim = SealedShim::load(Path::new("/bin/true")).unwrap();
    let (told, events) = mpsc::unbounded_channel();
    let mut task = Task::default();
    (task.metadata.uid, task.metadata.name) = (UID.into(), "web-1".into());
    task.spec.containers =
        vec![Container { name: "main".into(), command: vec!["true".into()], ..Container::default() }];
    let assignment = Assignment::try_from(&task).unwrap();
    homes.make(&assignment).unwrap();
    let world = World::new(places, homes, journal, Hierarchies::discover().unwrap(), shim, told);
    (Arc::new(world), events, assignment)
}

async fn next(events: &mut mpsc::UnboundedReceiver<Event>) -> Event {
    tokio::time::timeout(Duration::from_secs(60), events.recv()).await.expect("it is told in time").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_breaks_during_a_start_loses_nothing_and_starts_nothing_twice() {
    use Does::{Answers, BeginsAndHangsUp, LosesIt, StartsAndHangsUp, StartsLateAndHangsUp};
    for plan in [
        vec![Answers],
        vec![StartsAndHangsUp],
        vec![BeginsAndHangsUp],
        vec![LosesIt, Answers],
        vec![LosesIt, LosesIt, StartsAndHangsUp],
        vec![StartsLateAndHangsUp, Answers],
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (world, mut events, assignment) = world(dir.path());
        let listener = UnixListener::bind(world.places.socket(&assignment.uid)).unwrap();
        let shim = tokio::spawn(serve(listener, plan.clone()));
        let conversation = shim::connect(&world.places.socket(&assignment.uid), UID).await.unwrap();
        let mut executor = Executor::new(world.clone());
        executor.keep(assignment.uid.clone(), conversation, Vec::new(), Vec::new());
        assert!(matches!(next(&mut events).await, Event::Prepared { .. }));
        let attempt = Attempt { task: assignment.uid.clone(), container: "main".into(), number: 0 };
        executor.begin(Action::Start(attempt.clone()), Some(&assignment), None);
        let told = next(&mut events).await;
        assert_eq!(told, Event::Started { attempt, outcome: Ok(Timestamp::from_millis(7)) }, "{plan:?}");
        let talking = world.talking_shim(&assignment.uid).await.unwrap();
        // The fake shim has nothing to say to that but the end of the conversation.
        let (_, asked) = tokio::join!(talking.shutdown(), shim);
        assert_eq!(asked.unwrap(), plan.len(), "{plan:?}");
    }
}

/// A container that was only created holds the socket of its shim until its program runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_shim_is_lost_with_its_process_though_its_socket_stays_open() {
    let dir = tempfile::tempdir().unwrap();
    let (world, mut events, assignment) = world(dir.path());
    let listener = UnixListener::bind(world.places.socket(&assignment.uid)).unwrap();
    let mut process = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let shim = ProcessId::of(process.id().cast_signed()).unwrap();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (reader, mut writer) = stream.into_split();
        let mut lines = BufReader::new(reader).lines();
        lines.next_line().await.unwrap().unwrap();
        let welcome = Greeting::Welcome { version: VERSION, task_uid: UID.into(), shim };
        let mut line = serde_json::to_string(&welcome).unwrap();
        loop {
            writer.write_all(format!("{line}\n").as_bytes()).await.unwrap();
            let Some(next) = lines.next_line().await.unwrap_or_default() else { return };
            let Call { id, .. } = serde_json::from_str(&next).unwrap();
            let outcome = Outcome::Ok(Answer::State(vec![]));
            line = serde_json::to_string(&FromShim::Reply { id, outcome }).unwrap();
        }
    });
    let conversation = shim::connect(&world.places.socket(&assignment.uid), UID).await.unwrap();
    let mut executor = Executor::new(world.clone());
    executor.keep(assignment.uid.clone(), conversation, Vec::new(), Vec::new());
    assert!(matches!(next(&mut events).await, Event::Prepared { .. }));
    process.kill().unwrap();
    assert!(matches!(next(&mut events).await, Event::ShimLost { .. }));
    serving.await.unwrap();
    process.wait().unwrap();
}

/// A port on which this process listens, as a Task's, and what is said of it.
fn held(assignment: &Assignment, assigned: bool) -> (TcpListener, Assignment, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let number = listener.local_addr().unwrap().port();
    let ports = vec![TaskPort { number, assigned }];
    let name = std::fs::read_to_string("/proc/self/comm").unwrap();
    let text = format!("port {number} is held by {} (pid {})", name.trim_end(), std::process::id());
    (listener, Assignment { ports, ..assignment.clone() }, text)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_started_on_a_port_that_a_stranger_holds() {
    let dir = tempfile::tempdir().unwrap();
    let (world, mut events, assignment) = world(dir.path());
    let listener = UnixListener::bind(world.places.socket(&assignment.uid)).unwrap();
    let shim = tokio::spawn(serve(listener, vec![Does::Answers]));
    let conversation = shim::connect(&world.places.socket(&assignment.uid), UID).await.unwrap();
    let mut executor = Executor::new(world.clone());
    executor.keep(assignment.uid.clone(), conversation, Vec::new(), Vec::new());
    assert!(matches!(next(&mut events).await, Event::Prepared { .. }));
    let attempt = Attempt { task: assignment.uid.clone(), container: "main".into(), number: 0 };
    for (assigned, reason) in [(true, PORT_HELD), (false, CREATE_ERROR)] {
        let (_stranger, assignment, message) = held(&assignment, assigned);
        executor.begin(Action::Start(attempt.clone()), Some(&assignment), None);
        let outcome = Err(Trouble { reason, message });
        assert_eq!(next(&mut events).await, Event::Started { attempt: attempt.clone(), outcome });
    }
    let (_bound, number) = silent_port();
    let assignment = Assignment { ports: vec![TaskPort { number, assigned: false }], ..assignment };
    executor.begin(Action::Start(attempt.clone()), Some(&assignment), None);
    let outcome = Ok(Timestamp::from_millis(7));
    assert_eq!(next(&mut events).await, Event::Started { attempt, outcome });
    let talking = world.talking_shim(&assignment.uid).await.unwrap();
    let (_, asked) = tokio::join!(talking.shutdown(), shim);
    assert_eq!(asked.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_answer_on_a_port_of_the_task_counts_only_if_it_is_the_tasks() {
    let dir = tempfile::tempdir().unwrap();
    let (world, mut events, assignment) = world(dir.path());
    let mut executor = Executor::new(world);
    let attempt = Attempt { task: assignment.uid.clone(), container: "main".into(), number: 0 };
    let (_stranger, held, message) = held(&assignment, false);
    let port = held.ports[0].number;
    for probe in [ProbeKind::Readiness, ProbeKind::Liveness] {
        // On a port that is not one of the Task's, any answer counts.
        for (assignment, finding) in
            [(&held, Finding::PortHeld { port, message: message.clone() }), (&assignment, Finding::Good)]
        {
            let (attempt, check) = (attempt.clone(), Check::Tcp { port });
            let action =
                Action::Check { attempt: attempt.clone(), probe, check, timeout: Duration::from_secs(60) };
            executor.begin(action, Some(assignment), None);
            assert_eq!(next(&mut events).await, Event::Checked { attempt, probe, finding });
        }
    }
}
