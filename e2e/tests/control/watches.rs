//! Watches that were away, cut or slow: a client gets every difference, or is told to list again; never silence.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use berth_client::{Atomicity, Change, Client, ObjectKey, Query, Update, Watch, Write};
use berth_proto::v1 as wire;
use berth_proto::v1::resources_client::ResourcesClient;
use berth_types::core::Event;
use berth_types::{Reason, Resource};
use serde_json::{Value, json};
use tonic::transport::{Channel, Endpoint};

use crate::plane::{Apiserver, LIMIT, Plane, client};
use crate::severed::Severed;

const ETCD: &str = "3.5.1";

fn event(name: &str, text: &str) -> Value {
    json!({
        "apiVersion": Event::API_VERSION,
        "kind": Event::KIND,
        "metadata": {"namespace": "default", "name": name, "annotations": {"example.org/text": text}},
        "involvedObject": {"apiVersion": "v1", "kind": "Namespace", "name": "default"},
        "reason": "Written",
        "type": "Normal",
    })
}

/// A watcher's idea of all objects: version by name.
#[derive(Debug, Default, PartialEq, Eq)]
struct Idea(BTreeMap<String, String>);

impl Idea {
    fn of(objects: &[Value]) -> Self {
        Self(objects.iter().map(|object| (name(object), version(object))).collect())
    }

    fn take(&mut self, update: &Update<Value>) {
        match update {
            Update::Initial { objects, .. } | Update::Restarted { objects, .. } => *self = Self::of(objects),
            Update::Changes { changes, .. } => {
                for change in changes {
                    match change {
                        Change::Added(object) | Change::Modified(object) => {
                            self.0.insert(name(object), version(object));
                        }
                        Change::Deleted(object) => drop(self.0.remove(&name(object))),
                    }
                }
            }
            Update::Bookmark { .. } => {}
        }
    }
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().into()
}

fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap().into()
}

/// Follows the watch until it has the present state; whether it was told to begin anew meanwhile.
async fn converges(watch: &mut Watch<Value>, idea: &mut Idea, reader: &Client) -> bool {
    let mut restarted = false;
    let converging = async {
        loop {
            let update = watch.next().await.unwrap();
            restarted |= matches!(update, Update::Restarted { .. });
            idea.take(&update);
            let present = reader.list(&Query::of::<Event>()).await.unwrap();
            if *idea == Idea::of(&present.items) {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, converging).await.expect("the watch does not come to the present state");
    restarted
}

async fn write(client: &Client, names: impl Iterator<Item = String>, text: &str) {
    for name in names {
        client.write(&Write::apply(&event(&name, text), "test")).await.unwrap();
    }
}

#[tokio::test]
async fn who_was_away_longer_than_the_window_lists_again() {
    was_away(Plane::new()).await;
}

#[tokio::test]
async fn who_was_away_longer_than_the_window_lists_again_on_etcd() {
    was_away(Plane::on_etcd(ETCD).await).await;
}

async fn was_away(plane: Plane) {
    let options = berth_server::Options { window_bytes: 64 << 10, ..Default::default() };
    let server = plane.apiserver_over("one", plane.store(), options).await;
    let client = client(&[&server]);
    write(&client, (0..5).map(|n| format!("e-{n}")), "early").await;
    let seen = client.list(&Query::of::<Event>()).await.unwrap();
    let mut idea = Idea::of(&seen.items);
    client.write(&Write::delete(&ObjectKey::of::<Event>("default", "e-0"))).await.unwrap();
    let large = "x".repeat(2_000);
    for n in 0..100 {
        write(&client, [format!("e-{}", n % 7 + 1)].into_iter(), &format!("{n} {large}")).await;
    }
    let refused = raw(&server).watch(resume(&seen.version)).await.unwrap_err();
    assert_eq!(berth_proto::from_grpc(&refused).reason, Reason::Expired);
    let mut watch = client.watch_from(&Query::of::<Event>(), &seen.version, &seen.history);
    assert!(converges(&mut watch, &mut idea, &client).await, "it was resumed past its window");
}

#[tokio::test]
async fn a_servers_own_watch_cut_across_a_compaction_keeps_nothing_from_its_clients() {
    cut_across_a_compaction(Plane::new()).await;
}

#[tokio::test]
async fn a_servers_own_watch_cut_across_a_compaction_keeps_nothing_from_its_clients_on_etcd() {
    cut_across_a_compaction(Plane::on_etcd(ETCD).await).await;
}

async fn cut_across_a_compaction(plane: Plane) {
    let (severed, cut) = Severed::over(plane.store());
    let watched = plane.apiserver_over("one", severed, berth_server::Options::default()).await;
    let other = plane.apiserver("two").await;
    let (watcher, writer) = (client(&[&watched]), client(&[&other]));
    write(&writer, (0..10).map(|n| format!("e-{n}")), "early").await;
    let mut watch = watcher.watch(&Query::of::<Event>());
    let mut idea = Idea::default();
    assert!(!converges(&mut watch, &mut idea, &writer).await);
    for round in ["once", "twice"] {
        cut.send_replace(true);
        writer.write(&Write::delete(&ObjectKey::of::<Event>("default", "e-0"))).await.unwrap();
        write(&writer, (0..5).map(|n| format!("e-{n}")), round).await;
        plane.compact().await;
        write(&writer, (3..8).map(|n| format!("e-{n}")), "after").await;
        cut.send_replace(false);
        assert!(
            converges(&mut watch, &mut idea, &writer).await,
            "{round}: it was not told that events were lost"
        );
    }
    cut.send_replace(true);
    write(&writer, (0..5).map(|n| format!("e-{n}")), "not compacted").await;
    cut.send_replace(false);
    assert!(!converges(&mut watch, &mut idea, &writer).await, "nothing was lost");
}

#[tokio::test]
async fn a_watch_cut_within_a_revision_of_many_objects_resumes_with_the_rest() {
    cut_within_a_revision(Plane::new()).await;
}

#[tokio::test]
async fn a_watch_cut_within_a_revision_of_many_objects_resumes_with_the_rest_on_etcd() {
    cut_within_a_revision(Plane::on_etcd(ETCD).await).await;
}

async fn cut_within_a_revision(plane: Plane) {
    const OBJECTS: usize = 100;
    let servers = [plane.apiserver("one").await, plane.apiserver("two").await];
    let client = client(&[&servers[0]]);
    let writes: Vec<Write> =
        (0..OBJECTS).map(|n| Write::create_json(&event(&format!("e-{n:03}"), "together"))).collect();
    let written = client.batch(&writes, Atomicity::All).await.unwrap();
    let versions: Vec<String> =
        written.into_iter().map(|object| object.unwrap().version().unwrap()).collect();
    let revision = |version: &str| version.parse::<u64>().unwrap() / 1024;
    assert!(versions.iter().all(|version| revision(version) == revision(&versions[0])), "{versions:?}");
    // Any server resumes where another one was cut.
    for (cut, after) in versions.iter().enumerate() {
        let mut stream = raw(&servers[cut % 2]).watch(resume(after)).await.unwrap().into_inner();
        let told = tokio::time::timeout(LIMIT, stream.message()).await.unwrap().unwrap().unwrap();
        let names: Vec<String> =
            told.events.iter().map(|event| name(&serde_json::from_slice(&event.json).unwrap())).collect();
        let rest: Vec<String> = (cut + 1..OBJECTS).map(|n| format!("e-{n:03}")).collect();
        assert_eq!(names, rest, "cut after {cut}");
    }
}

#[tokio::test]
async fn a_slow_watcher_loses_its_own_stream_and_harms_nobody() {
    slow_watcher(Plane::new()).await;
}

#[tokio::test]
async fn a_slow_watcher_loses_its_own_stream_and_harms_nobody_on_etcd() {
    slow_watcher(Plane::on_etcd(ETCD).await).await;
}

async fn slow_watcher(plane: Plane) {
    /// With large objects: more than a server keeps for one watcher.
    const WRITES: usize = 700;
    let server = plane.apiserver("one").await;
    let client = client(&[&server]);
    let mut slow = raw(&server).watch(resume("")).await.unwrap().into_inner();
    let mut quick = client.watch(&Query::of::<Event>());
    let mut idea = Idea::default();
    let before = resident_bytes();
    let large = "x".repeat(60_000);
    let mut slowest = Duration::ZERO;
    for n in 0..WRITES {
        let begun = Instant::now();
        let name = format!("e-{}", n % 3);
        let written =
            client.write(&Write::apply(&event(&name, &format!("{n} {large}")), "test")).await.unwrap();
        let told = async {
            while idea.0.get(&name) != Some(&version(&written)) {
                idea.take(&quick.next().await.unwrap());
            }
        };
        tokio::time::timeout(LIMIT, told).await.expect("others wait for the slow watcher");
        slowest = slowest.max(begun.elapsed());
    }
    assert!(slowest < Duration::from_secs(10), "a write took {slowest:?} to a watcher that reads");
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 256 << 20, "the server grew by {} MiB", grown >> 20);
    let ended = tokio::time::timeout(LIMIT, async {
        loop {
            match slow.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended without a word"),
                Err(status) => return berth_proto::from_grpc(&status),
            }
        }
    });
    assert_eq!(ended.await.expect("the slow watcher is told its end").reason, Reason::Expired);
}

/// Of this process, which is server and clients in one.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

fn raw(server: &Apiserver) -> ResourcesClient<Channel> {
    ResourcesClient::new(Endpoint::from_shared(server.address()).unwrap().connect_lazy())
        .max_decoding_message_size(64 << 20)
}

fn resume(version: &str) -> wire::WatchRequest {
    wire::WatchRequest {
        kind: Some(wire::Kind { api_version: Event::API_VERSION.into(), kind: Event::KIND.into() }),
        resource_version: version.into(),
        ..wire::WatchRequest::default()
    }
}
