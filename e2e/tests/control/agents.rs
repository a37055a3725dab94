use std::time::{Duration, Instant};

use berth_client::{
    Client, FromServer, Hello, LogsQuery, ObjectKey, Presence, PresenceState, PresenceStream, Session, Write,
};
use berth_server::Timing;
use berth_types::node::Node;
use berth_types::task::Task;
use bytes::Bytes;
use futures::StreamExt;

use crate::plane::{LIMIT, Plane, client, eventually, node};

async fn open(client: &Client, node: &Node, number: u64) -> Session {
    let hello = Hello {
        node: node.metadata.name.clone(),
        node_uid: node.metadata.uid.clone(),
        boot_id: "boot".into(),
        number,
    };
    let opens = async || client.session(&hello).await.map_err(|why| why.to_string());
    let mut session = eventually("a session is opened", opens).await;
    // The server makes it known when the agent shows that it heard so.
    session.heartbeat(0).await.unwrap();
    assert_eq!(session.next().await.unwrap(), FromServer::HeartbeatAnswered { sequence: 0 });
    session
}

/// Waits until the stream says this of the node.
async fn sees(presence: &mut PresenceStream, name: &str, wanted: impl Fn(PresenceState) -> bool) {
    let seen = tokio::time::timeout(LIMIT, async {
        loop {
            let (Presence::All { nodes, .. } | Presence::Changes { nodes, .. }) =
                presence.next().await.unwrap()
            else {
                continue;
            };
            if nodes.iter().any(|node| node.node == name && wanted(node.state)) {
                return;
            }
        }
    });
    seen.await.expect("presence did not say it in time");
}

#[tokio::test]
async fn an_agent_whose_server_is_killed_is_present_again_at_the_other_before_anybody_misses_it() {
    its_server_is_killed(Plane::new()).await;
}

#[tokio::test]
async fn an_agent_whose_server_is_killed_is_present_again_at_the_other_on_etcd_too() {
    its_server_is_killed(Plane::on_etcd("3.5.1").await).await;
}

/// A fifth of the usual times.
fn soon() -> Timing {
    Timing {
        server_ttl: Duration::from_secs(2),
        renew_every: Duration::from_millis(400),
        answer_margin: Duration::from_millis(600),
        heartbeat: Duration::from_millis(400),
        silence: Duration::from_millis(1200),
        tick: Duration::from_millis(100),
        late: Duration::from_millis(400),
        server_lost_grace: Duration::from_secs(2),
        judge_after: Duration::from_secs(3),
        ..Timing::default()
    }
}

async fn its_server_is_killed(plane: Plane) {
    let (one, two) = (plane.apiserver_timed("one", soon()).await, plane.apiserver_timed("two", soon()).await);
    let (agent, observer) = (client(&[&one, &two]), client(&[&two]));
    let node = agent.write_as::<Node>(&Write::create(&node("n1"))).await.unwrap();
    let mut presence = observer.presence();
    let mut session = open(&agent, &node, 1).await;
    sees(&mut presence, "n1", |state| state == PresenceState::Present).await;
    session.heartbeat(7).await.unwrap();
    assert_eq!(session.next().await.unwrap(), FromServer::HeartbeatAnswered { sequence: 7 });
    one.kill();
    assert!(session.next().await.is_err());
    session.leave();
    let mut moved = open(&agent, &node, 2).await;
    let mut sequence = 0;
    let beats = async {
        loop {
            sequence += 1;
            moved.heartbeat(sequence).await.unwrap();
            moved.next().await.unwrap();
            tokio::time::sleep(soon().heartbeat).await;
        }
    };
    // The killed server's key runs out, a little late on etcd, and its nodes have some time more: whoever is missed is
    // called absent by then.
    let judged = soon().server_ttl + soon().server_lost_grace + Duration::from_secs(1);
    let absent = sees(&mut presence, "n1", |state| state != PresenceState::Present);
    tokio::select! {
        () = beats => {}
        () = absent => panic!("a node with a session was called absent"),
        () = tokio::time::sleep(judged) => {}
    }
    let silent = Instant::now();
    sees(&mut presence, "n1", |state| matches!(state, PresenceState::Absent(_))).await;
    assert!(silent.elapsed() < Duration::from_secs(15), "{:?}", silent.elapsed());
}

#[tokio::test]
async fn a_log_is_read_at_a_server_that_does_not_have_the_session() {
    let plane = Plane::new();
    let (one, two) = (plane.apiserver("one").await, plane.apiserver("two").await);
    let (agent, reader) = (client(&[&one]), client(&[&two]));
    let node = agent.write_as::<Node>(&Write::create(&node("n1"))).await.unwrap();
    place(&agent, &node).await;
    let mut session = open(&agent, &node, 1).await;
    let query = LogsQuery { namespace: "default".into(), task: "web-0".into(), ..LogsQuery::default() };
    let mut presence = reader.presence();
    sees(&mut presence, "n1", |state| state == PresenceState::Present).await;
    let reading = tokio::spawn(async move {
        let chunks = reader.logs(&query).await.map_err(|why| why.to_string())?;
        Ok::<_, String>(chunks.map(|chunk| chunk.map_err(|why| why.to_string())).collect::<Vec<_>>().await)
    });
    let FromServer::OpenLogs(asked) = session.next().await.unwrap() else { panic!("no request for logs") };
    assert_eq!(asked.logs.task, "web-0");
    let lines = [Ok(Bytes::from("one\n")), Ok(Bytes::from("two\n")), Err("the disk is gone".to_owned())];
    session.tunnels().open(&asked.id, futures::stream::iter(lines)).await.unwrap();
    let read = reading.await.unwrap().unwrap();
    assert_eq!(read, [Ok("one\n".into()), Ok("two\n".into()), Err("the disk is gone".to_owned())]);
}

/// A Task that is bound to the node.
async fn place(client: &Client, node: &Node) {
    let task = serde_json::json!({
        "apiVersion": "berth.dev/v1",
        "kind": "Task",
        "metadata": { "namespace": "default", "name": "web-0" },
        "spec": { "containers": [{ "name": "main", "command": ["/bin/true"] }] },
    });
    let task = client.write_as::<Task>(&Write::create_json(&task)).await.unwrap();
    let status = serde_json::json!({ "status": {
        "capacity": { "cpu": "4", "memory": "4Gi" },
        "allocatable": { "cpu": "4", "memory": "4Gi" },
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "AgentPresent", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
    }});
    let ready =
        client.write_as::<Node>(&Write::patch_status::<Node>("", &node.metadata.name, status)).await.unwrap();
    let item = berth_client::BindItem {
        namespace: "default".into(),
        task: "web-0".into(),
        task_uid: task.metadata.uid,
        node: ready.metadata.name.clone(),
        node_uid: ready.metadata.uid.clone(),
        node_version: ready.metadata.resource_version.clone(),
        ports: Vec::new(),
    };
    let outcomes = client.bind(&[item], None).await.unwrap();
    let bound = outcomes[0].as_ref().unwrap().read::<Task>().unwrap();
    assert_eq!(bound.spec.node_name, "n1");
    assert!(client.get(&ObjectKey::to(&bound)).await.is_ok());
}
