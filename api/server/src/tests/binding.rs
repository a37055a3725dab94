//! Laws of Bind: room is checked by the server, whoever asks, however stale.

use std::sync::Arc;

use berth_proto::v1::resources_server::Resources;
use berth_proto::v1::write::Verb;
use berth_proto::v1::{self as wire};
use berth_store::{EmbeddedStore, Store};
use berth_types::{NODE_FINALIZER, Reason, Status};
use futures::future::join_all;
use serde_json::{Value, json};
use tonic::Request;

use super::faulty::Faulty;
use super::{Api, api, beside, outcomes, task, version, write};

impl Api {
    pub(super) async fn node(&self, name: &str, cpu: u32) -> Value {
        self.create("Node", name, json!({})).await.unwrap();
        let allocatable = json!({"cpu": cpu.to_string(), "memory": "1Gi", "disk": "1Gi"});
        let ports = json!({"first": 31000, "last": 31999});
        self.patch_status("Node", name, json!({"allocatable": allocatable, "portRange": ports}))
            .await
            .unwrap()
    }

    pub(super) async fn bind(&self, items: Vec<wire::BindItem>) -> Vec<Result<Value, Status>> {
        self.bind_as(items, None).await
    }

    async fn bind_as(
        &self,
        items: Vec<wire::BindItem>,
        fence: Option<wire::Fence>,
    ) -> Vec<Result<Value, Status>> {
        let request = Request::new(wire::BindRequest { items, fence });
        outcomes(self.face.bind(request).await.unwrap().into_inner().outcomes)
    }
}

fn text(object: &Value, field: &str) -> String {
    object["metadata"][field].as_str().unwrap().to_owned()
}

pub(super) fn item(task: &Value, node: &Value, port: u32) -> wire::BindItem {
    wire::BindItem {
        namespace: text(task, "namespace"),
        task: text(task, "name"),
        task_uid: text(task, "uid"),
        node: text(node, "name"),
        node_uid: text(node, "uid"),
        node_resource_version: version(node),
        ports: vec![wire::AssignedPort { name: "http".into(), port }],
    }
}

fn messages(outcomes: &[Result<Value, Status>]) -> Vec<&str> {
    outcomes
        .iter()
        .map(|outcome| outcome.as_ref().map_or_else(|why| why.message.as_str(), |_| "bound"))
        .collect()
}

#[tokio::test]
async fn items_are_admitted_in_order_and_a_refusal_says_what_was_free() {
    let api = api().await;
    let node = api.node("n1", 2).await;
    let mut items = Vec::new();
    for n in 0..4 {
        let made = api.create("Task", &format!("web-{n}"), task()).await.unwrap();
        items.push(item(&made, &node, [31000, 31000, 31001, 31002][n]));
    }
    let ended = api.bind(items).await;
    expect_test::expect![[r#"
        bound
        Task `web-1` does not fit on Node `n1`: port 31000 is taken
        bound
        Task `web-3` does not fit on Node `n1`: it needs cpu 1, memory 64Mi, disk 0; free is cpu 0, memory 896Mi, disk 1Gi"#]]
    .assert_eq(&messages(&ended).join("\n"));
    let bound = api.get("Task", "default/web-0").await.unwrap();
    assert_eq!(&bound, ended[0].as_ref().unwrap());
    assert_eq!(bound["spec"]["nodeName"], "n1");
    assert_eq!(bound["spec"]["assignedPorts"], json!([{"name": "http", "port": 31000}]));
    assert_eq!(bound["status"]["conditions"][0]["type"], "Scheduled");
    assert_eq!(
        (&bound["status"]["phase"], &bound["metadata"]["finalizers"][0]),
        (&json!("Pending"), &json!(NODE_FINALIZER))
    );
}

/// A placement of a Task of two containers, each with a fixed port and one that the node gives.
async fn pair(api: &Api, name: &str, node: &Value, change: &[(&str, Value)]) -> wire::BindItem {
    let container = |name: &str, fixed: u16, ports: [&str; 2]| {
        json!({
            "name": name, "command": ["sleep", "1"],
            "resources": {"requests": {"cpu": "500m", "memory": "128Mi", "disk": "256Mi"}},
            "ports": [{"name": ports[0], "hostPort": fixed}, {"name": ports[1]}],
        })
    };
    let mut task = task();
    task["spec"]["containers"] = json!([container("one", 81, ["a", "b"]), container("two", 82, ["c", "d"])]);
    for (pointer, value) in change {
        *task.pointer_mut(pointer).unwrap() = value.clone();
    }
    let made = api.create("Task", name, task).await.unwrap();
    let port = |name: &str, port| wire::AssignedPort { name: name.into(), port };
    wire::BindItem { ports: vec![port("b", 31002), port("d", 31003)], ..item(&made, node, 0) }
}

/// Each port and each amount that a Task takes, wherever it stands in its manifest or in the placement.
#[tokio::test]
async fn each_thing_that_a_task_takes_is_refused_alone() {
    let api = api().await;
    // Once the first Task is bound, there is room for exactly one more.
    let node = api.node("n1", 2).await;
    let room = json!({"cpu": "2", "memory": "512Mi", "disk": "1Gi"});
    let node =
        api.patch_status("Node", text(&node, "name").as_str(), json!({"allocatable": room})).await.unwrap();
    let fixed = |one: u16, two: u16| {
        [
            ("/spec/containers/0/ports/0/hostPort", json!(one)),
            ("/spec/containers/1/ports/0/hostPort", json!(two)),
        ]
    };
    let mut holder = pair(&api, "holder", &node, &fixed(80, 443)).await;
    (holder.ports[0].port, holder.ports[1].port) = (31000, 31001);
    assert_eq!(messages(&api.bind(vec![holder]).await), ["bound"]);
    let mut refused = Vec::new();
    for held in [80, 443, 31000, 31001] {
        refused.push((fixed(held, 82).to_vec(), None, format!("port {held} is taken")));
        refused.push((fixed(81, held).to_vec(), None, format!("port {held} is taken")));
    }
    for place in [0, 1] {
        for held in [80, 443] {
            refused.push((vec![], Some((place, held)), format!("port {held} is not among those it assigns")));
        }
        for held in [31000, 31001] {
            refused.push((vec![], Some((place, held)), format!("port {held} is taken")));
        }
        refused.push((vec![], Some((place, 32000)), "port 32000 is not among those it assigns".into()));
        let other = [31003, 31002][place];
        refused.push((vec![], Some((place, other)), format!("port {other} is taken")));
        let request = |name: &str| format!("/spec/containers/{place}/resources/requests/{name}");
        for (name, more) in [("cpu", "501m"), ("memory", "129Mi"), ("disk", "257Mi")] {
            refused.push((vec![(request(name).leak() as &str, json!(more))], None, "it needs ".to_owned()));
        }
    }
    for (n, (change, port, why)) in refused.into_iter().enumerate() {
        let mut one = pair(&api, &format!("refused-{n}"), &node, &change).await;
        if let Some((place, port)) = port {
            one.ports[place].port = port;
        }
        let ended = api.bind(vec![one]).await;
        let said = messages(&ended)[0];
        assert!(said.contains(&why), "{change:?} {port:?}: {said}");
    }
    let whole = pair(&api, "whole", &node, &[]).await;
    for wrong in [vec![0], vec![1], vec![0, 0], vec![1, 1], vec![0, 1, 1], vec![]] {
        let ports = wrong.iter().map(|n: &usize| whole.ports[*n].clone()).collect();
        let ended = api.bind(vec![wire::BindItem { ports, ..whole.clone() }]).await;
        assert_eq!(ended[0].as_ref().unwrap_err().reason, Reason::BadRequest, "ports {wrong:?}");
    }
    assert_eq!(messages(&api.bind(vec![whole]).await), ["bound"]);
}

/// A placement names all that it was decided on.
#[tokio::test]
async fn each_field_of_a_placement_is_needed() {
    let api = api().await;
    let node = api.node("n1", 2).await;
    let made = api.create("Task", "web-0", task()).await.unwrap();
    let whole = item(&made, &node, 31000);
    let without: [fn(&mut wire::BindItem); 8] = [
        |item| item.namespace.clear(),
        |item| item.task.clear(),
        |item| item.task_uid.clear(),
        |item| item.node.clear(),
        |item| item.node_uid.clear(),
        |item| item.node_resource_version.clear(),
        |item| item.ports[0].port = 0,
        |item| item.ports[0].port = 65536,
    ];
    for (n, without) in without.into_iter().enumerate() {
        let mut one = whole.clone();
        without(&mut one);
        assert_eq!(api.bind(vec![one]).await[0].as_ref().unwrap_err().reason, Reason::BadRequest, "{n}");
    }
    assert_eq!(messages(&api.bind(vec![whole]).await), ["bound"]);
}

#[tokio::test]
async fn a_server_that_lags_looks_again_before_it_refuses() {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::memory());
    let (prompt, late) = (beside(store.clone()).await, beside(Faulty::slow(store)).await);
    let node = prompt.node("n1", 1).await;
    let first = prompt.create("Task", "web-0", task()).await.unwrap();
    assert_eq!(messages(&late.bind(vec![item(&first, &node, 31000)]).await), ["bound"]);
    prompt.patch_status("Task", "web-0", json!({"phase": "Failed"})).await.unwrap();
    let next = prompt.create("Task", "web-1", task()).await.unwrap();
    assert_eq!(messages(&late.bind(vec![item(&next, &node, 31000)]).await), ["bound"]);
}

#[tokio::test]
async fn a_stale_decision_is_refused() {
    let api = api().await;
    let stale = api.node("n1", 2).await;
    let made = api.create("Task", "web-0", task()).await.unwrap();
    let node = api.patch("Node", "n1", json!({"spec": {"unschedulable": true}})).await.unwrap();
    let mut other_uid = item(&made, &node, 31000);
    other_uid.task_uid = "0".repeat(32);
    let mut no_port = item(&made, &node, 31000);
    no_port.ports.clear();
    let mut far_port = item(&made, &node, 40000);
    for (wrong, reason) in [
        (item(&made, &stale, 31000), Reason::Conflict),
        (other_uid, Reason::Conflict),
        (no_port, Reason::BadRequest),
        (std::mem::take(&mut far_port), Reason::Conflict),
    ] {
        assert_eq!(api.bind(vec![wrong]).await[0].as_ref().unwrap_err().reason, reason);
    }
    assert_eq!(messages(&api.bind(vec![item(&made, &node, 31000)]).await), ["bound"]);
    // Sent again after a lost answer: it is so already.
    assert_eq!(messages(&api.bind(vec![item(&made, &node, 31000)]).await), ["bound"]);
    let second = api.node("n2", 2).await;
    expect_test::expect!["Task `web-0` is bound to node `n1`; read it again and decide anew"]
        .assert_eq(messages(&api.bind(vec![item(&made, &second, 31000)]).await)[0]);
}

#[tokio::test]
async fn a_bound_task_counts_until_its_agent_acknowledged_its_end() {
    let api = api().await;
    let node = api.node("n1", 1).await;
    let first = api.create("Task", "web-0", task()).await.unwrap();
    let second = api.create("Task", "web-1", task()).await.unwrap();
    assert_eq!(messages(&api.bind(vec![item(&first, &node, 31000)]).await), ["bound"]);
    let dying = api.delete("Task", "web-0").await.unwrap();
    assert_eq!(dying["metadata"]["deletionGracePeriodSeconds"], 30);
    let off = json!({"metadata": {"finalizers": null}});
    assert_eq!(api.patch("Task", "web-0", off).await.unwrap_err().reason, Reason::Invalid);
    assert!(api.bind(vec![item(&second, &node, 31000)]).await[0].is_err());
    api.patch_status("Task", "web-0", json!({"phase": "Failed"})).await.unwrap();
    assert_eq!(api.get("Task", "default/web-0").await.unwrap_err().reason, Reason::NotFound);
    assert_eq!(messages(&api.bind(vec![item(&second, &node, 31000)]).await), ["bound"]);
}

#[tokio::test]
async fn with_its_node_gone_a_task_can_be_released() {
    let api = api().await;
    let node = api.node("n1", 1).await;
    let made = api.create("Task", "web-0", task()).await.unwrap();
    assert_eq!(messages(&api.bind(vec![item(&made, &node, 31000)]).await), ["bound"]);
    api.delete("Node", "n1").await.unwrap();
    let again = api.node("n1", 1).await;
    let other = api.create("Task", "web-1", task()).await.unwrap();
    assert_eq!(messages(&api.bind(vec![item(&other, &again, 31000)]).await), ["bound"]);
    api.delete("Task", "web-0").await.unwrap();
    api.patch("Task", "web-0", json!({"metadata": {"finalizers": null}})).await.unwrap();
    assert_eq!(api.get("Task", "default/web-0").await.unwrap_err().reason, Reason::NotFound);
}

#[tokio::test]
async fn allocated_never_rises_above_what_is_requested() {
    let api = api().await;
    api.create("Task", "web-0", task()).await.unwrap();
    let fits = json!({"allocated": {"cpu": "1", "memory": "64Mi"}});
    api.patch_status("Task", "web-0", fits).await.unwrap();
    let refusal = api.patch_status("Task", "web-0", json!({"allocated": {"cpu": "2"}})).await.unwrap_err();
    assert_eq!(refusal.details.causes[0].field, "status.allocated");
}

#[tokio::test]
async fn a_leader_whose_epoch_is_over_binds_and_writes_nothing() {
    let api = api().await;
    let lease = |holder: &str| json!({"spec": {"holderIdentity": holder}});
    let path = "berth-system/scheduler";
    let epoch = |lease: Value| version(&lease).parse::<i64>().unwrap() / 1024;
    let first = epoch(api.create("Lease", path, lease("a")).await.unwrap());
    let renewed = api.patch("Lease", path, json!({"spec": {"leaseDurationSeconds": 5}})).await.unwrap();
    assert!(epoch(renewed) > first);
    let fence =
        |epoch| Some(wire::Fence { namespace: "berth-system".into(), lease: "scheduler".into(), epoch });
    let node = api.node("n1", 4).await;
    let tasks = [
        api.create("Task", "web-0", task()).await.unwrap(),
        api.create("Task", "web-1", task()).await.unwrap(),
    ];
    assert_eq!(messages(&api.bind_as(vec![item(&tasks[0], &node, 31000)], fence(first)).await), ["bound"]);
    let second = epoch(api.patch("Lease", path, lease("b")).await.unwrap());
    let refused = api.bind_as(vec![item(&tasks[1], &node, 31001)], fence(first)).await;
    assert_eq!(refused[0].as_ref().unwrap_err().details.kind, "Lease");
    let mut stale = write(Verb::PatchStatus, "Task", "web-1", json!({"status": {"reason": "x"}}));
    stale.fence = fence(first);
    assert_eq!(api.send(stale).await.unwrap_err().reason, Reason::Conflict);
    // What is deleted keeps no trace of who did it: nobody but the server can see that its epoch is over.
    let mut late = write(Verb::Delete, "Task", "web-1", Value::Null);
    late.fence = fence(first);
    assert_eq!(api.send(late).await.unwrap_err().reason, Reason::Conflict);
    assert_eq!(messages(&api.bind_as(vec![item(&tasks[1], &node, 31001)], fence(second)).await), ["bound"]);
}

#[tokio::test]
async fn a_bind_is_fenced_by_the_schedulers_lease_alone() {
    let api = api().await;
    let lease =
        api.create("Lease", "berth-system/other", json!({"spec": {"holderIdentity": "a"}})).await.unwrap();
    let epoch = version(&lease).parse::<i64>().unwrap() / 1024;
    let node = api.node("n1", 4).await;
    let made = api.create("Task", "web-0", task()).await.unwrap();
    let fence = Some(wire::Fence { namespace: "berth-system".into(), lease: "other".into(), epoch });
    let request = wire::BindRequest { items: vec![item(&made, &node, 31000)], fence };
    let refused = api.face.bind(Request::new(request)).await.unwrap_err();
    assert_eq!(
        refused.message(),
        "a Bind is fenced by the Lease berth-system/scheduler, not by berth-system/other"
    );
    assert_eq!(messages(&api.bind(vec![item(&made, &node, 31000)]).await), ["bound"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_that_bind_at_once_never_overcommit_a_node() {
    for seed in 0..6 {
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::memory());
        overcommit_nothing([store.clone(), store.clone()], beside(store).await, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_calls_of_unknown_outcome_and_broken_watches_two_servers_neither_overcommit_nor_lie() {
    for seed in 0..6 {
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::memory());
        let honest = beside(store.clone()).await;
        let faulty = [Faulty::over(store.clone(), seed), Faulty::over(store, seed + 100)];
        overcommit_nothing(faulty, honest, seed).await;
    }
}

/// 3 nodes of 5 cpus and few ports, 40 Tasks of 1 cpu; both servers are asked for all of them at once, by chance and
/// again, while Tasks end. `judge` sees what came of it.
async fn overcommit_nothing(stores: [Arc<dyn Store>; 2], judge: Api, seed: u64) {
    let [one, other] = stores;
    let servers = [beside(one).await, beside(other).await];
    let mut random = fastrand::Rng::with_seed(seed);
    let mut nodes = Vec::new();
    for n in 0..3 {
        nodes.push(judge.node(&format!("n{n}"), 5).await);
    }
    let creates = (0..40).map(|n| write(Verb::Create, "Task", &format!("t-{n}"), task())).collect();
    let tasks: Vec<Value> = judge.batch(false, creates).await.into_iter().map(Result::unwrap).collect();
    for _ in 0..4 {
        let asked: Vec<_> = (0..60)
            .map(|_| {
                let (task, node) = (random.choice(&tasks).unwrap(), random.choice(&nodes).unwrap());
                (random.usize(0..2), item(task, node, random.u32(31000..31008)))
            })
            .collect();
        let ended = join_all(asked.into_iter().map(|(server, item)| servers[server].bind(vec![item]))).await;
        for said in ended.into_iter().flatten().flatten() {
            let now = judge.get("Task", &format!("default/{}", text(&said, "name"))).await.unwrap();
            assert_eq!(now["spec"], said["spec"], "seed {seed}: a bind was answered that is not so");
        }
        let bound = bound_tasks(&judge).await;
        check_room(&bound);
        let ended: Vec<_> = bound.iter().filter(|_| random.u8(0..4) == 0).collect();
        for name in ended.into_iter().map(|task| text(task, "name")) {
            let last = json!({"phase": "Succeeded"});
            while servers[random.usize(0..2)].patch_status("Task", &name, last.clone()).await.is_err() {}
        }
    }
}

async fn bound_tasks(api: &Api) -> Vec<Value> {
    let kind = super::key("Task", "").kind;
    let listed = api.list(wire::ListRequest { kind, ..wire::ListRequest::default() }).await.unwrap();
    let tasks = listed.items.iter().map(|json| super::parse(json));
    tasks
        .filter(|task| task["spec"]["nodeName"].is_string() && task["status"]["phase"] == "Pending")
        .collect()
}

fn check_room(bound: &[Value]) {
    let mut ports = std::collections::HashSet::new();
    let mut counts = std::collections::HashMap::new();
    for task in bound {
        let node = task["spec"]["nodeName"].as_str().unwrap();
        *counts.entry(node).or_insert(0) += 1;
        let port = task["spec"]["assignedPorts"][0]["port"].as_u64().unwrap();
        assert!(ports.insert((node, port)), "port {port} of {node} is given out twice");
    }
    assert!(counts.values().all(|count| *count <= 5), "{counts:?}");
    assert!(!bound.is_empty());
}

/// A Task that is `bytes` larger than another, in steps of 100,000, and asks for next to nothing.
pub(super) fn large_task(bytes: usize) -> Value {
    let mut large = task();
    let value = "x".repeat(100_000);
    let env = (0..bytes / value.len()).map(|n| json!({"name": format!("A{n}"), "value": value}));
    large["spec"]["containers"][0]["env"] = env.collect();
    large["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1m"}});
    large
}

#[tokio::test]
async fn tasks_that_are_more_bytes_than_one_call_of_the_store_takes_are_bound_in_several() {
    let api = api().await;
    let node = api.node("n1", 4).await;
    let mut items = Vec::new();
    for n in 0..20 {
        let made = api.create("Task", &format!("web-{n}"), large_task(100_000)).await.unwrap();
        items.push(item(&made, &node, 31000 + n));
    }
    assert_eq!(messages(&api.bind(items).await), ["bound"; 20]);
}

#[tokio::test]
async fn a_bind_of_more_than_one_answer_carries_leaves_the_rest_for_another_call() {
    let api = api().await;
    let node = api.node("n1", 4).await;
    let mut items = Vec::new();
    for n in 0..20 {
        let made = api.create("Task", &format!("web-{n}"), large_task(900_000)).await.unwrap();
        items.push(item(&made, &node, 31000 + n));
    }
    let ended = api.bind(items.clone()).await;
    let refused = ended.iter().filter_map(|outcome| outcome.as_ref().err()).collect::<Vec<_>>();
    assert!((1..10).contains(&refused.len()), "{refused:?}");
    assert!(refused.iter().all(|why| why.reason == Reason::TooManyRequests), "{refused:?}");
    let rest = items.split_off(items.len() - refused.len());
    assert!(api.bind(rest).await.iter().all(Result::is_ok));
}
