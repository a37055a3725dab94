//! Whatever a leader writes carries its epoch: once another leads, none of it is carried out.

use berth_client::{BindItem, Client, Error, Fence, ObjectKey, Query, Write};
use berth_runtime::{Deed, Outcome, Writer};
use berth_types::app::App;
use berth_types::lease::Lease;
use berth_types::node::Node;
use berth_types::task::Task;
use serde_json::{Value, json};

use crate::plane::{Plane, app, client};

/// One way of writing: to the objects of these names, in one wave.
type Way = fn(&[String; 2]) -> Vec<Deed>;

const WAYS: [(&str, Way); 12] = [
    ("a patch", |[one, _]| vec![deed(labelled(one))]),
    ("an update of the status", |[one, _]| vec![deed(status(one))]),
    ("a creation", |[one, _]| vec![deed(Write::create_json(&app(&format!("{one}-new"), 0)))]),
    ("an apply", |[one, _]| vec![deed(Write::apply(&app(one, 3), "app-controller").forced())]),
    ("a deletion", |[one, _]| vec![deed(deletion(one))]),
    ("a batch of patches", |[one, two]| vec![deed(labelled(one)), deed(labelled(two))]),
    ("a batch of statuses", |[one, two]| vec![deed(status(one)), deed(status(two))]),
    ("a batch of deletions", |[one, two]| vec![deed(deletion(one)), deed(deletion(two))]),
    ("a mixed batch", |[one, two]| vec![deed(labelled(one)), deed(deletion(two))]),
    ("patches together", |[one, two]| vec![together(vec![labelled(one), labelled(two)])]),
    ("a status and a deletion together", |[one, two]| vec![together(vec![status(one), deletion(two)])]),
    ("deletions together", |[one, two]| vec![together(vec![deletion(one), deletion(two)])]),
];

fn deed(write: Write) -> Deed {
    together(vec![write])
}

fn together(writes: Vec<Write>) -> Deed {
    Deed::together("write", "an App", "", writes)
}

fn labelled(name: &str) -> Write {
    Write::patch::<App>("default", name, json!({ "metadata": { "labels": { "by": "the-old-leader" } } }))
}

fn status(name: &str) -> Write {
    Write::patch_status::<App>("default", name, json!({ "status": { "replicas": 7 } }))
}

fn deletion(name: &str) -> Write {
    Write::delete(&ObjectKey::of::<App>("default", name))
}

/// Somebody takes the Lease of this name: the fence of what they write from now on.
async fn held_by(client: &Client, name: &str, holder: &str) -> Fence {
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "namespace": "berth-system", "name": name }, "spec": { "holderIdentity": holder },
    });
    let lease: Lease = client.write_as(&Write::apply(&lease, "test")).await.unwrap();
    let version: i64 = lease.metadata.resource_version.parse().unwrap();
    Fence { namespace: "berth-system".into(), lease: name.into(), epoch: version / 1024 }
}

/// Every App as it is stored.
async fn apps(client: &Client) -> Vec<Value> {
    client.list(&Query::of::<App>()).await.unwrap().items
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_replaced_writes_nothing_in_any_way() {
    let plane = Plane::new();
    let server = plane.apiserver("one").await;
    let client = client(&[&server]);
    let old = held_by(&client, "app-controller", "a").await;
    let new = held_by(&client, "app-controller", "b").await;
    let (old, new) = (writer(&client, old), writer(&client, new));
    for (number, (way, deeds)) in WAYS.into_iter().enumerate() {
        let names = [format!("app-{number}-a"), format!("app-{number}-b")];
        for name in &names {
            client.write(&Write::create_json(&app(name, 0))).await.unwrap();
        }
        let before = apps(&client).await;
        let outcomes = old.send(deeds(&names)).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Stale), "{way}: {outcomes:?}");
        assert_eq!(apps(&client).await, before, "{way}");
        let outcomes = new.send(deeds(&names)).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Done), "{way}: {outcomes:?}");
        assert_ne!(apps(&client).await, before, "{way}");
    }
    let refused = old.write(Write::create_json(&app("late", 0))).await;
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    new.write(Write::create_json(&app("late", 0))).await.unwrap();
}

fn writer(client: &Client, fence: Fence) -> Writer {
    Writer::new(client.clone(), "app-controller", Some(fence))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduler_that_was_replaced_binds_nothing() {
    let plane = Plane::new();
    let server = plane.apiserver("one").await;
    let client = client(&[&server]);
    let node = ready_node(&client).await;
    let mut items = Vec::new();
    for name in ["web-0", "web-1"] {
        let task = json!({
            "apiVersion": "berth.dev/v1", "kind": "Task", "metadata": { "namespace": "default", "name": name },
            "spec": { "containers": [{ "name": "main", "command": ["/bin/true"] }] },
        });
        let task: Task = client.write_as(&Write::create_json(&task)).await.unwrap();
        items.push(BindItem::new(&task, &node));
    }
    // The server binds on what its cache has.
    client.list_as::<Task>(&Query::of::<Task>()).await.unwrap();
    let old = held_by(&client, "scheduler", "a").await;
    let new = held_by(&client, "scheduler", "b").await;
    let bind = async |fence: &Fence, items: &[BindItem]| {
        Writer::new(client.clone(), "scheduler", Some(fence.clone())).bind(items).await.unwrap()
    };
    for items in [&items[..1], &items[..]] {
        let outcomes = bind(&old, items).await;
        assert!(outcomes.iter().all(|one| matches!(one, Err(Error::Conflict(_)))), "{outcomes:?}");
    }
    let tasks = client.list_as::<Task>(&Query::of::<Task>()).await.unwrap().items;
    assert!(tasks.iter().all(|task| task.spec.node_name.is_empty()), "{tasks:?}");
    let outcomes = bind(&new, &items).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
}

async fn ready_node(client: &Client) -> Node {
    let node = json!({ "apiVersion": "berth.dev/v1", "kind": "Node", "metadata": { "name": "n1" } });
    client.write(&Write::create_json(&node)).await.unwrap();
    let room = json!({ "cpu": 4, "memory": "4Gi" });
    let status = json!({ "status": {
        "capacity": room, "allocatable": room, "portRange": { "first": 31000, "last": 32000 },
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "AgentPresent", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
    } });
    client.write_as(&Write::patch_status::<Node>("", "n1", status)).await.unwrap()
}
