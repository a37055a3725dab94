mod deaf;

use std::time::Duration;

use berth_proto::v1::agent_message::Message as FromAgent;
use berth_proto::v1::server_message::Message;
use berth_proto::v1::{
    AgentMessage, Heartbeat, Hello, LogsRequest, PresenceReport, ServerMessage, TunnelChunk,
};
use berth_store::EmbeddedStore;
use berth_store::committer::CommitterOptions;
use berth_store::{At, Group, Write};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use deaf::Deaf;

use crate::tests::lost::Form;

use super::logs::{self, From};
use super::*;

/// One store, and what is done to it from outside.
struct World {
    store: Arc<dyn Store>,
    committer: Committer,
}

impl World {
    fn new() -> Self {
        Self::over(Arc::new(EmbeddedStore::memory()))
    }

    fn over(store: Arc<dyn Store>) -> Self {
        let committer = Committer::new(store.clone(), CommitterOptions::of(1));
        Self { store, committer }
    }

    async fn put(&self, key: &str, json: &str) {
        let write = Write::Put { key: key.to_owned().into(), value: json.to_owned().into(), lease: 0 };
        let group = Group { conditions: Vec::new(), writes: vec![write] };
        self.committer.submit(group, &standing::author()).await.unwrap();
    }

    async fn delete(&self, key: &str) {
        let write = Write::Delete { key: key.to_owned().into() };
        let group = Group { conditions: Vec::new(), writes: vec![write] };
        self.committer.submit(group, &standing::author()).await.unwrap();
    }

    async fn node(&self, name: &str, uid: &str) {
        let json = format!(r#"{{"metadata":{{"name":"{name}","uid":"{uid}"}}}}"#);
        self.put(&format!("{}{name}", keys::NODES), &json).await;
    }

    async fn session(&self, node: &str) -> Option<keys::SessionValue> {
        let (_, kv) = self.store.get(&keys::session(node), At::Latest).await.unwrap();
        kv.as_ref().and_then(keys::read)
    }

    /// A server that is known in the store and sees it.
    async fn server(&self, endpoints: &[&str]) -> Nodes {
        let endpoints = endpoints.iter().map(|endpoint| (*endpoint).to_owned()).collect();
        let committer = self.committer.clone();
        let nodes = Nodes::start(self.store.clone(), committer, "cluster", endpoints, Timing::default());
        eventually("server is ready", async || nodes.server_id().is_some() && nodes.shared.roll().sees())
            .await;
        nodes
    }
}

async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let waited = timeout(Duration::from_secs(60), async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("not within a minute: {what}"));
}

/// An agent's end of a session.
struct Agent {
    to_server: mpsc::Sender<Result<AgentMessage, tonic::Status>>,
    from_server: BoxStream<'static, Result<ServerMessage, tonic::Status>>,
    beats: u64,
}

impl Agent {
    /// A session that is known: the agent heard that it was accepted, and beat.
    async fn open(nodes: &Nodes, node: &str, uid: &str, number: u64) -> Result<Self, Status> {
        let mut agent = Self::ask(nodes, node, uid, number).await?;
        agent.beat().await?;
        Ok(agent)
    }

    async fn ask(nodes: &Nodes, node: &str, uid: &str, number: u64) -> Result<Self, Status> {
        let (to_server, inbound) = mpsc::channel(16);
        let hello = Hello { node: node.into(), node_uid: uid.into(), boot_id: "boot".into(), number };
        to_server.send(Ok(AgentMessage { message: Some(FromAgent::Hello(hello)) })).await.unwrap();
        let from_server = session::open(nodes.shared.clone(), ReceiverStream::new(inbound).boxed()).await?;
        let mut agent = Self { to_server, from_server, beats: 0 };
        assert!(matches!(agent.hears().await, Ok(Message::Accepted(_))));
        Ok(agent)
    }

    async fn hears(&mut self) -> Result<Message, Status> {
        let next = timeout(Duration::from_secs(60), self.from_server.next()).await.expect("silence");
        match next {
            Some(message) => Ok(message.map_err(|grpc| berth_proto::from_grpc(&grpc))?.message.unwrap()),
            None => Err(Status::new(Reason::Unavailable, "the stream ended")),
        }
    }

    async fn beat(&mut self) -> Result<(), Status> {
        self.beats += 1;
        let beat = FromAgent::Heartbeat(Heartbeat { sequence: self.beats });
        let _ = self.to_server.send(Ok(AgentMessage { message: Some(beat) })).await;
        match self.hears().await? {
            Message::Heartbeat(answer) => assert_eq!(answer.sequence, self.beats),
            other => panic!("no answer to a heartbeat: {other:?}"),
        }
        Ok(())
    }

    /// Beats every two seconds for this many seconds.
    async fn live(&mut self, seconds: u64) -> Result<(), Status> {
        let mut beats = tokio::time::interval(Duration::from_secs(2));
        for _ in 0..seconds / 2 {
            beats.tick().await;
            self.beat().await?;
        }
        Ok(())
    }
}

/// Servers and sessions put keys that must be absent, too.
#[tokio::test]
async fn the_key_of_a_server_or_a_session_that_was_put_and_removed_is_not_put_again() {
    for form in Form::each().await {
        let world = World::over(form.store.clone());
        let committer = world.committer.clone();
        form.lose(keys::SERVERS);
        let lost = Nodes::start(world.store.clone(), committer, "cluster", Vec::new(), Timing::default());
        eventually("the server's key was put", async || form.has_lost() && lost.server_id().is_some()).await;
        let key = format!("{}{}", keys::SERVERS, lost.server_id().unwrap());
        assert_eq!(form.puts(keys::SERVERS).await, [(key, 1)].into(), "{}", form.name);

        world.node("n", "uid").await;
        let nodes = world.server(&[]).await;
        for (number, is_lost) in [(1, true), (2, false), (3, true)] {
            if is_lost {
                form.lose(keys::SESSIONS);
            }
            let mut agent = Agent::ask(&nodes, "n", "uid", number).await.unwrap();
            // The session's key is put with the first beat. The session may be over before the beat is answered.
            let beaten = agent.beat().await;
            assert!(form.has_lost(), "{}, {number}: {beaten:?}", form.name);
            let put = usize::try_from(number).unwrap();
            assert_eq!(form.puts(keys::SESSIONS).await, [(keys::SESSIONS.to_owned() + "n", put)].into());
        }
    }
}

struct Watcher(BoxStream<'static, PresenceReport>);

impl Watcher {
    fn of(nodes: &Nodes) -> Self {
        Self(presence::reports(nodes.shared.clone()).boxed())
    }

    async fn next(&mut self) -> String {
        let report = timeout(Duration::from_secs(60), self.0.next()).await.expect("no report").unwrap();
        let mut text = if report.believed { "believed".to_owned() } else { "not believed".into() };
        for node in report.nodes {
            let state = match (node.removed, node.present) {
                (true, _) => "removed",
                (false, true) => "present",
                (false, false) => "away",
            };
            text += &format!(", {} {state}", node.node);
        }
        text
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_keeps_its_session_by_beating_and_loses_it_by_silence() {
    let world = World::new();
    world.node("n1", "u1").await;
    let nodes = world.server(&[]).await;
    let mut agent = Agent::open(&nodes, "n1", "u1", 1).await.unwrap();
    agent.live(60).await.unwrap();
    assert_eq!(world.session("n1").await.unwrap().number, 1);
    let last = Instant::now();
    let ended = agent.hears().await.unwrap_err();
    assert_eq!(ended.message, "node `n1` was silent for 6s");
    let silent = last.elapsed();
    assert!(silent >= Duration::from_secs(5) && silent <= Duration::from_secs(8), "{silent:?}");
    assert_eq!(world.session("n1").await, None);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_hear_that_it_was_accepted_has_no_session() {
    let world = World::new();
    world.node("n1", "u1").await;
    let nodes = world.server(&[]).await;
    let mut deaf = Agent::ask(&nodes, "n1", "u1", 1).await.unwrap();
    let asked = Instant::now();
    let ended = deaf.hears().await.unwrap_err();
    assert_eq!(ended.message, "node `n1` said nothing for 6s after its hello");
    assert!(asked.elapsed() >= Duration::from_secs(6));
    assert_eq!(world.session("n1").await, None);
    assert!(Agent::open(&nodes, "n1", "u1", 1).await.is_ok(), "its number is not taken");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_hangs_up_is_present_until_its_silence_counts() {
    let world = World::new();
    world.node("n1", "u1").await;
    let nodes = world.server(&[]).await;
    let agent = Agent::open(&nodes, "n1", "u1", 1).await.unwrap();
    drop(agent);
    let mut again = Agent::open(&nodes, "n1", "u1", 2).await.unwrap();
    again.live(20).await.unwrap();
    assert_eq!(world.session("n1").await.unwrap().number, 2);
    drop(again);
    eventually("the session ends", async || world.session("n1").await.is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_needs_the_node_and_a_larger_number() {
    let world = World::new();
    world.node("n1", "u1").await;
    let nodes = world.server(&[]).await;
    let _first = Agent::open(&nodes, "n1", "u1", 5).await.unwrap();
    for (node, uid, number, reason) in [
        ("n1", "u1", 5, Reason::Conflict),
        ("n1", "u1", 4, Reason::Conflict),
        ("n1", "u2", 6, Reason::NotFound),
        ("n2", "u1", 6, Reason::NotFound),
    ] {
        let refused = Agent::open(&nodes, node, uid, number).await.err().expect("refused");
        assert_eq!(refused.reason, reason, "{node} {uid} {number}");
    }
    world.node("n1", "u2").await;
    assert!(Agent::open(&nodes, "n1", "u2", 1).await.is_ok(), "a new incarnation counts anew");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_moved_is_not_answered_where_it_was() {
    let world = World::new();
    world.node("n1", "u1").await;
    let (one, two) = (world.server(&[]).await, world.server(&[]).await);
    let mut before = Agent::open(&one, "n1", "u1", 1).await.unwrap();
    let mut after = Agent::open(&two, "n1", "u1", 2).await.unwrap();
    eventually("the first server sees it", async || one.shared.sessions().get("n1").is_none()).await;
    assert!(before.beat().await.is_err());
    after.live(30).await.unwrap();
    assert_eq!(world.session("n1").await.unwrap().server, two.server_id().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_lost_its_key_closes_its_sessions_and_takes_a_new_id() {
    let world = World::new();
    world.node("n1", "u1").await;
    let (one, two) = (world.server(&[]).await, world.server(&[]).await);
    let mut agent = Agent::open(&one, "n1", "u1", 1).await.unwrap();
    let mut watcher = Watcher::of(&two);
    assert_eq!(watcher.next().await, "not believed, n1 present");
    agent.live(18).await.unwrap();
    assert_eq!(watcher.next().await, "believed");
    let old = one.shared.standing.borrow().clone().unwrap();
    world.store.lease_revoke(old.lease).await.unwrap();
    eventually("a new id", async || one.server_id().is_some_and(|id| id != old.id)).await;
    assert!(agent.beat().await.is_err());
    let lost = Instant::now();
    assert_eq!(watcher.next().await, "believed, n1 away");
    assert!(lost.elapsed() >= Duration::from_secs(7), "{:?}", lost.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_renew_its_lease_answers_no_heartbeat_and_judges_nobody() {
    let store = Arc::new(Deaf::default());
    let world = World::over(store.clone());
    let nodes = world.server(&[]).await;
    world.node("n1", "u1").await;
    let mut watcher = Watcher::of(&nodes);
    let mut agent = Agent::open(&nodes, "n1", "u1", 1).await.unwrap();
    eventually("the node is seen", async || nodes.shared.roll().session("n1").is_some()).await;
    assert_eq!(watcher.next().await, "believed, n1 present");
    agent.live(10).await.unwrap();
    store.turn_deaf();
    let last_good =
        nodes.shared.standing.borrow().clone().unwrap().valid_until - Timing::default().server_ttl;
    assert_eq!(watcher.next().await, "not believed");
    let refused = agent.live(20).await.unwrap_err();
    assert_eq!(refused.reason, Reason::Unavailable);
    let answered = last_good.elapsed();
    assert!(answered >= Duration::from_secs(5) && answered <= Duration::from_secs(8), "{answered:?}");
    store.hear_again();
    eventually("the server is sure of its key", async || {
        nodes.shared.valid_standing(Timing::default().answer_margin).is_some()
    })
    .await;
    let mut again = Agent::open(&nodes, "n1", "u1", 2).await.unwrap();
    again.live(20).await.unwrap();
    assert_eq!(watcher.next().await, "believed");
}

#[tokio::test(start_paused = true)]
async fn a_session_of_a_node_that_was_deleted_ends() {
    let world = World::new();
    world.node("n1", "u1").await;
    let nodes = world.server(&[]).await;
    let mut watcher = Watcher::of(&nodes);
    assert_eq!(watcher.next().await, "not believed, n1 away");
    let mut agent = Agent::open(&nodes, "n1", "u1", 1).await.unwrap();
    assert_eq!(watcher.next().await, "not believed, n1 present");
    world.delete(&format!("{}n1", keys::NODES)).await;
    assert_eq!(watcher.next().await, "not believed, n1 removed");
    assert_eq!(agent.hears().await.unwrap_err().reason, Reason::NotFound);
    assert_eq!(world.session("n1").await, None);
}

#[tokio::test(start_paused = true)]
async fn the_first_server_of_an_empty_cluster_is_believed_at_once() {
    let world = World::new();
    let nodes = world.server(&[]).await;
    let mut watcher = Watcher::of(&nodes);
    assert_eq!(watcher.next().await, "believed");
    world.node("n1", "u1").await;
    assert_eq!(watcher.next().await, "believed, n1 away");
    let _agent = Agent::open(&nodes, "n1", "u1", 1).await.unwrap();
    assert_eq!(watcher.next().await, "believed, n1 present");
    let second = world.server(&[]).await;
    assert_eq!(Watcher::of(&second).next().await, "not believed, n1 present");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_leaves_its_nodes_time_to_go_elsewhere() {
    let world = World::new();
    world.node("n1", "u1").await;
    let (one, two) = (world.server(&[]).await, world.server(&[]).await);
    let mut agent = Agent::open(&one, "n1", "u1", 1).await.unwrap();
    let mut watcher = Watcher::of(&two);
    assert_eq!(watcher.next().await, "not believed, n1 present");
    one.stop().await.unwrap();
    assert_eq!(agent.hears().await.unwrap_err().message, "the server stops");
    let mut moved = Agent::open(&two, "n1", "u1", 2).await.unwrap();
    moved.live(20).await.unwrap();
    assert_eq!(watcher.next().await, "believed");
}

async fn bound_task(world: &World) {
    world.node("n1", "u1").await;
    world
        .put("/berth/berth.dev/tasks/shop/web-1", r#"{"metadata":{"uid":"t1"},"spec":{"nodeName":"n1"}}"#)
        .await;
    world.put("/berth/berth.dev/tasks/shop/new", r#"{"metadata":{"uid":"t2"},"spec":{}}"#).await;
}

fn log_of(task: &str) -> LogsRequest {
    LogsRequest { namespace: "shop".into(), task: task.into(), ..LogsRequest::default() }
}

/// The error that a reader of a log gets after `end` of its tunnel; none if it is the end of the log.
async fn reader_after(end: impl FnOnce(mpsc::Sender<Result<TunnelChunk, tonic::Status>>)) -> Option<String> {
    let world = World::new();
    bound_task(&world).await;
    let nodes = world.server(&[]).await;
    let mut agent = Agent::open(&nodes, "n1", "u1", 1).await.unwrap();
    let shared = nodes.shared.clone();
    let reader = tokio::spawn(async move { logs::open(&shared, log_of("web-1"), From::Client).await });
    let Message::OpenLogs(asked) = agent.hears().await.unwrap() else { panic!("no request for logs") };
    assert_eq!(asked.request.unwrap().task_uid, "t1");
    let (to_reader, tunnel) = mpsc::channel(4);
    let shared = nodes.shared.clone();
    let carried = tokio::spawn(async move { shared.tunnels.carry(ReceiverStream::new(tunnel)).await });
    let chunk = |id: &str, data: &str| {
        Ok(TunnelChunk { id: id.into(), data: data.to_owned().into(), ..Default::default() })
    };
    to_reader.send(chunk(&asked.id, "")).await.unwrap();
    let mut chunks = reader.await.unwrap().expect("opened");
    to_reader.send(chunk("", "one\ntwo\n")).await.unwrap();
    assert_eq!(chunks.next().await.unwrap().unwrap().data, "one\ntwo\n");
    end(to_reader);
    let last = chunks.next().await.map(|chunk| chunk.unwrap_err().message().to_owned());
    assert!(carried.await.unwrap().is_ok());
    last
}

#[tokio::test(start_paused = true)]
async fn a_log_comes_back_through_the_session_of_its_node() {
    let ends = TunnelChunk { ends: true, ..Default::default() };
    assert_eq!(reader_after(|to_reader| to_reader.try_send(Ok(ends)).unwrap()).await, None);
    let gone = TunnelChunk { error: "the log is gone".into(), ..Default::default() };
    let reason = reader_after(|to_reader| to_reader.try_send(Ok(gone)).unwrap()).await;
    assert_eq!(reason.as_deref(), Some("the log is gone"));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_breaks_off_is_not_taken_for_one_that_ends() {
    let broken = tonic::Status::unavailable("the connection is gone");
    let broken = reader_after(|to_reader| to_reader.try_send(Err(broken)).unwrap()).await;
    let dropped = reader_after(drop).await;
    assert_eq!([broken, dropped].map(Option::unwrap), ["the node's agent went away"; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_goes_away_ends_the_tunnel() {
    let world = World::new();
    bound_task(&world).await;
    let nodes = world.server(&[]).await;
    let mut agent = Agent::open(&nodes, "n1", "u1", 1).await.unwrap();
    let shared = nodes.shared.clone();
    let reader = tokio::spawn(async move { logs::open(&shared, log_of("web-1"), From::Client).await });
    let Message::OpenLogs(asked) = agent.hears().await.unwrap() else { panic!("no request for logs") };
    let (to_reader, tunnel) = mpsc::channel(4);
    to_reader.send(Ok(TunnelChunk { id: asked.id, ..Default::default() })).await.unwrap();
    let shared = nodes.shared.clone();
    let carried = tokio::spawn(async move { shared.tunnels.carry(ReceiverStream::new(tunnel)).await });
    drop(reader.await.unwrap().expect("opened"));
    assert!(timeout(Duration::from_secs(5), carried).await.expect("still open").unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn why_there_is_no_log_is_said() {
    let world = World::new();
    bound_task(&world).await;
    let nodes = world.server(&[]).await;
    for (task, reason, message) in [
        ("none", Reason::NotFound, "Task `none` was not found"),
        ("new", Reason::BadRequest, "task `new` has no log yet: it is not placed on a node"),
        ("web-1", Reason::Unavailable, "node `n1` is not connected at present; try again when it is back"),
    ] {
        let refused = logs::open(&nodes.shared, log_of(task), From::Client).await.err().expect("refused");
        assert_eq!((refused.reason, refused.message.as_str()), (reason, message));
    }
    let _agent = Agent::open(&nodes, "n1", "u1", 1).await.unwrap();
    let refused = logs::open(&nodes.shared, log_of("web-1"), From::Client).await.err().expect("refused");
    assert_eq!(refused.message, "the agent of node `n1` did not open the log in time");
}
