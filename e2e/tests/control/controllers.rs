use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use berth_client::{Client, Error, Fence, Query, Write};
use berth_e2e::process::Process;
use berth_runtime::{
    Cache, Controller, Deed, Indexes, Key, Leader, LeaseTerms, Reconciler, ResourceVersion, Timing, Work,
};
use berth_types::Timestamp;
use berth_types::app::App;
use berth_types::lease::Lease;
use serde_json::json;
use tokio::task::JoinSet;

use crate::plane::{Plane, app, client, eventually};

const SHORT: Timing = Timing {
    duration: Duration::from_secs(3),
    renew_every: Duration::from_millis(500),
    give_up_after: Duration::from_secs(2),
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_labels_every_app_and_is_replaced_when_it_is_killed() {
    let plane = Plane::new();
    let server = plane.apiserver("one").await;
    let client = client(&[&server]);
    let logs = tempfile::tempdir().unwrap();
    let run = |name: &str| {
        let mut command = Command::new(berth_e2e::binary("examples/sizes"));
        command.arg(server.address());
        Process::start(name, command, &logs.path().join(name))
    };
    let first = run("first");
    client.write(&Write::create_json(&app("web", 2))).await.unwrap();
    labelled(&client, "web", "small").await;
    let _second = run("second");
    first.kill();
    client.write(&Write::apply(&app("web", 30), "test").forced()).await.unwrap();
    client.write(&Write::create_json(&app("db", 5))).await.unwrap();
    labelled(&client, "web", "large").await;
    labelled(&client, "db", "medium").await;
}

async fn labelled(client: &Client, name: &str, size: &str) {
    eventually(&format!("{name} is {size}"), async || {
        let app = client.get_as::<App>("default", name).await.map_err(|why| why.to_string())?;
        let told = app.metadata.labels.get("example.dev/size").cloned().unwrap_or_default();
        if told == size { Ok(()) } else { Err(format!("`{told}`")) }
    })
    .await;
}

/// Raises the annotation `count` of an App by one whenever it looks, up to a limit: each look must see the last write.
struct Counts {
    apps: Cache<App>,
    limit: u32,
    /// What it saw at each look.
    looks: Arc<Mutex<Vec<u32>>>,
}

fn count(app: &App) -> u32 {
    app.metadata.annotations.get("example.dev/count").map_or(0, |text| text.parse().unwrap())
}

impl Reconciler for Counts {
    fn reconcile(&self, key: &Key, _now: Timestamp) -> Work {
        let Some(app) = self.apps.get(key) else { return Work::none() };
        let seen = count(&app);
        self.looks.lock().unwrap().push(seen);
        if seen >= self.limit {
            return Work::none();
        }
        let patch = json!({ "metadata": { "annotations": { "example.dev/count": (seen + 1).to_string() } } });
        let write = Write::patch::<App>(&key.namespace, &key.name, patch);
        Work::waves([vec![Deed::one("count", key.to_string(), "", write)]])
    }
}

fn counting(client: &Client, limit: u32) -> (Controller<Counts>, Arc<Mutex<Vec<u32>>>) {
    let apps = Cache::start(client, &Query::of::<App>(), Indexes::new());
    let looks = Arc::new(Mutex::new(Vec::new()));
    let counts = Counts { apps: apps.clone(), limit, looks: looks.clone() };
    let controller = Controller::new("counts", client.clone(), counts)
        .wakes(&apps, |delta| delta.keys(|app| [Key::of(app)]))
        .led_by(LeaseTerms::new("berth-system", "counts").timing(SHORT));
    (controller, looks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_sees_its_own_writes_before_it_looks_again() {
    let plane = Plane::new();
    let (one, two) = (plane.apiserver("one").await, plane.apiserver("two").await);
    let client = client(&[&one, &two]);
    client.write(&Write::create_json(&app("web", 1))).await.unwrap();
    let (controller, looks) = counting(&client, 50);
    let mut running = JoinSet::new();
    running.spawn(controller.run(std::future::pending()));
    eventually("it has counted", async || {
        let app = client.get_as::<App>("default", "web").await.map_err(|why| why.to_string())?;
        if count(&app) == 50 { Ok(()) } else { Err(count(&app).to_string()) }
    })
    .await;
    let looks = looks.lock().unwrap().clone();
    let twice = looks.windows(2).filter(|pair| pair[0] == pair[1] && pair[0] < 50).count();
    assert_eq!(twice, 0, "a look missed the write before it: {looks:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_leads_until_it_stops_and_the_next_takes_over_at_once_in_a_newer_epoch() {
    let plane = Plane::new();
    let server = plane.apiserver("one").await;
    let client = client(&[&server]);
    let (first, looks_of_first) = counting(&client, 0);
    let (second, looks_of_second) = counting(&client, 0);
    client.write(&Write::create_json(&app("web", 1))).await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut running = JoinSet::new();
    running.spawn(first.run(async {
        let _ = stopped.await;
    }));
    acted(&looks_of_first).await;
    let old = epoch(&client).await;
    running.spawn(second.run(std::future::pending()));
    client.write(&Write::create_json(&app("db", 1))).await.unwrap();
    eventually("the leader looks at the new App", async || {
        let looks = looks_of_first.lock().unwrap().len();
        if looks >= 2 { Ok(()) } else { Err(looks.to_string()) }
    })
    .await;
    assert!(looks_of_second.lock().unwrap().is_empty(), "a standby acted");
    stop.send(()).unwrap();
    acted(&looks_of_second).await;
    let new = epoch(&client).await;
    assert!(new > old, "{new} is not after {old}");
    let patch = json!({ "metadata": { "labels": { "by": "the-old-leader" } } });
    let late = Write::patch::<App>("default", "web", patch).fenced(&fence(old));
    let refused = client.write(&late).await.unwrap_err();
    assert!(matches!(refused, Error::Conflict(_)), "{refused:?}");
    assert!(client.write(&late.fenced(&fence(new))).await.is_ok());
}

async fn acted(looks: &Arc<Mutex<Vec<u32>>>) {
    eventually("the controller looks", async || {
        if looks.lock().unwrap().is_empty() { Err("it has not".into()) } else { Ok(()) }
    })
    .await;
}

fn fence(epoch: i64) -> Fence {
    Fence { namespace: "berth-system".into(), lease: "counts".into(), epoch }
}

/// The epoch of whoever holds the Lease: found as a client can, by which fence the server takes.
async fn epoch(client: &Client) -> i64 {
    let lease = client.get_as::<Lease>("berth-system", "counts").await.unwrap();
    let newest = ResourceVersion::parse(&lease.metadata.resource_version).revision();
    for epoch in (1..=newest).rev() {
        let patch = json!({ "metadata": { "labels": { "probe": "yes" } } });
        let probe = Write::patch::<App>("default", "web", patch).fenced(&fence(epoch)).dry_run();
        if client.write(&probe).await.is_ok() {
            return epoch;
        }
    }
    panic!("no epoch is taken: {lease:?}");
}

/// Labels Apps `example.dev/done`, after a first wave that is the one thing wrong with some of them.
struct Troubled {
    apps: Cache<App>,
    panics: Arc<Mutex<u32>>,
}

impl Reconciler for Troubled {
    fn reconcile(&self, key: &Key, _now: Timestamp) -> Work {
        let Some(app) = self.apps.get(key) else { return Work::none() };
        if app.metadata.labels.contains_key("example.dev/done") {
            return Work::none();
        }
        if key.name == "panics" {
            let mut panics = self.panics.lock().unwrap();
            *panics += 1;
            let count = *panics;
            drop(panics);
            assert!(count > 2, "this decision cannot be made yet");
        }
        let first = match key.name.as_str() {
            "refused" => json!({ "spec": { "replicas": "many" } }),
            _ => json!({ "metadata": { "labels": { "example.dev/begun": "yes" } } }),
        };
        let second = json!({ "metadata": { "labels": { "example.dev/done": "yes" } } });
        let deed = |patch| {
            let write = Write::patch::<App>(&key.namespace, &key.name, patch);
            vec![Deed::one("label", key.to_string(), "", write)]
        };
        Work::waves([deed(first), deed(second)])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_for_one_object_keeps_no_other_waiting() {
    let plane = Plane::new();
    let server = plane.apiserver("one").await;
    let client = client(&[&server]);
    for name in ["panics", "refused", "web"] {
        client.write(&Write::create_json(&app(name, 1))).await.unwrap();
    }
    let apps = Cache::start(&client, &Query::of::<App>(), Indexes::new());
    let troubled = Troubled { apps: apps.clone(), panics: Arc::default() };
    let controller = Controller::new("troubled", client.clone(), troubled)
        .wakes(&apps, |delta| delta.keys(|app| [Key::of(app)]));
    let mut running = JoinSet::new();
    running.spawn(controller.run(std::future::pending()));
    for name in ["web", "panics"] {
        eventually(&format!("{name} is done"), async || {
            let app = client.get_as::<App>("default", name).await.map_err(|why| why.to_string())?;
            let labels = app.metadata.labels;
            if labels.contains_key("example.dev/done") { Ok(()) } else { Err(format!("{labels:?}")) }
        })
        .await;
    }
    let refused = client.get_as::<App>("default", "refused").await.unwrap();
    assert!(refused.metadata.labels.is_empty(), "the second wave went out though the first had failed");
}

/// As when a renewal is under way: the leader is told to end before its watch shows the newest version.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_gives_back_a_lease_that_changed_just_before_it_ends() {
    let plane = Plane::new();
    let server = plane.apiserver("one").await;
    let client = client(&[&server]);
    for n in 0..20 {
        let name = format!("changes-{n}");
        let changed = async || {
            eventually("the Lease is taken and changed", async || {
                let patch = json!({ "metadata": { "annotations": { "example.dev/changed": "yes" } } });
                let write = Write::patch::<Lease>("default", &name, patch);
                client.write(&write).await.map_err(|why| why.to_string())
            })
            .await;
        };
        let leader = Leader::new(client.clone(), LeaseTerms::new("default", &name).timing(SHORT));
        leader.run(changed(), |_| std::future::pending()).await;
        let left = client.get_as::<Lease>("default", &name).await.unwrap();
        assert_eq!(left.spec.holder_identity, "", "{name}");
    }
}
