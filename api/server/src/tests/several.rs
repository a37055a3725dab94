//! Rules over lists that writes carry: each item counts, wherever it stands.

use berth_proto::v1::write::Verb;
use berth_proto::v1::{self as wire};
use berth_types::Reason;
use serde_json::{Value, json};

use super::lost::creations;
use super::{Api, api, app, key, parse, task, version, write};

fn of_version(name: &str, object: &Value) -> wire::Precondition {
    let resource_version = version(object);
    wire::Precondition {
        key: Some(key("App", &format!("default/{name}"))),
        resource_version,
        ..Default::default()
    }
}

fn absent(name: &str) -> wire::Precondition {
    wire::Precondition {
        key: Some(key("App", &format!("default/{name}"))),
        absent: true,
        ..Default::default()
    }
}

fn label(name: &str) -> wire::Write {
    write(Verb::Patch, "App", name, json!({"metadata": {"labels": {"n": fastrand::u64(..).to_string()}}}))
}

fn owner(app: &Value) -> Value {
    json!({
        "apiVersion": "berth.dev/v1", "kind": "App",
        "name": app["metadata"]["name"], "uid": app["metadata"]["uid"],
    })
}

async fn apps(api: &Api, names: &[&str]) -> Vec<Value> {
    let mut created = Vec::new();
    for name in names {
        created.push(api.create("App", name, app(1)).await.unwrap());
    }
    created
}

#[tokio::test]
async fn each_precondition_alone_refuses_a_write() {
    let api = api().await;
    let made = apps(&api, &["a", "b", "target"]).await;
    let newer = api.send(label("b")).await.unwrap();
    let hold = [of_version("a", &made[0]), of_version("b", &newer), absent("c"), absent("d")];
    let broken = [of_version("a", &newer), of_version("b", &made[1]), absent("a"), absent("b")];
    let with = |preconditions: Vec<_>| wire::Write { preconditions, ..label("target") };
    api.send(with(hold.to_vec())).await.unwrap();
    for (place, broken) in broken.iter().enumerate() {
        let mut preconditions = hold.to_vec();
        // A key is asked for in one state: one that must be absent takes the place of those that name a version.
        if broken.absent {
            preconditions.retain(|wanted| wanted.key != broken.key);
            preconditions.push(broken.clone());
        } else {
            preconditions[place] = broken.clone();
        }
        let refused = api.send(with(preconditions.clone())).await.unwrap_err();
        assert_eq!(refused.reason, Reason::Conflict, "{place}: {refused:?}");
        let ended = api.batch(true, vec![label("a"), with(preconditions)]).await;
        assert!(ended.iter().all(Result::is_err), "{place}: {ended:?}");
    }
}

#[tokio::test]
async fn each_write_of_an_atomic_batch_is_compared_with_those_before_it() {
    let api = api().await;
    apps(&api, &["a", "b", "c", "d"]).await;
    let writes = || vec![label("a"), label("b"), label("c"), label("d")];
    for place in 1..4 {
        let mut other_manager = writes();
        other_manager[place].field_manager = "other".into();
        let mut dry = writes();
        dry[place].dry_run = true;
        let mut twice = writes();
        twice[place] = label("a");
        for batch in [other_manager, dry, twice] {
            let ended = api.batch(true, batch).await;
            let refused: Vec<_> = ended.iter().filter_map(|one| Some(one.as_ref().err()?.reason)).collect();
            assert!(refused.len() == 4 && refused.contains(&Reason::BadRequest), "{place}: {ended:?}");
        }
    }
    // One write changes what another needs to be absent.
    for place in 0..4 {
        let mut batch = writes();
        let other = wire::Write { preconditions: vec![absent(["a", "b", "c", "d"][place])], ..label("e") };
        api.create("App", "e", app(1)).await.ok();
        batch.push(other);
        let ended = api.batch(true, batch).await;
        assert!(ended.iter().all(Result::is_err), "{place}: {ended:?}");
    }
    assert!(api.batch(true, writes()).await.iter().all(Result::is_ok));
}

/// The dependents are of every kind, and the owner that is deleted stands at any place among their owners.
#[tokio::test]
async fn an_orphaning_delete_takes_one_owner_off_each_dependent() {
    let api = api().await;
    let owners = apps(&api, &["a", "b", "c"]).await;
    let references: Vec<Value> = owners.iter().map(owner).collect();
    for (kind, mut body, _) in creations() {
        body["metadata"] = json!({"ownerReferences": references});
        api.create(kind, "owned", body).await.unwrap();
    }
    let mut left = references.clone();
    for (name, place) in [("b", 1), ("a", 0), ("c", 0)] {
        api.send(wire::Write { orphan: true, ..write(Verb::Delete, "App", name, Value::Null) })
            .await
            .unwrap();
        left.remove(place);
        for (kind, _, folders) in creations() {
            let path = if folders[0].ends_with("/-/") { "owned" } else { "default/owned" };
            let object = api.get(kind, path).await.unwrap();
            let owners = object["metadata"].get("ownerReferences");
            let expected = (!left.is_empty()).then(|| Value::from(left.clone()));
            assert_eq!(owners, expected.as_ref(), "{kind} without {name}");
        }
    }
}

#[tokio::test]
async fn no_finalizer_is_added_to_a_dying_object_wherever_it_stands() {
    let api = api().await;
    let finalizers = |names: &[&str]| json!({"metadata": {"finalizers": names}});
    apps(&api, &["a"]).await;
    api.patch("App", "a", finalizers(&["t/1", "t/2"])).await.unwrap();
    api.delete("App", "a").await.unwrap();
    for names in [["t/new", "t/1", "t/2"], ["t/1", "t/new", "t/2"], ["t/1", "t/2", "t/new"]] {
        assert_eq!(
            api.patch("App", "a", finalizers(&names)).await.unwrap_err().reason,
            Reason::Invalid,
            "{names:?}"
        );
    }
    api.patch("App", "a", finalizers(&["t/2"])).await.unwrap();
}

#[tokio::test]
async fn an_object_of_any_kind_keeps_its_namespace() {
    let api = api().await;
    let empty = json!({"metadata": {"finalizers": null}});
    let table = creations().into_iter().filter(|(_, _, folders)| !folders[0].ends_with("/-/"));
    for (kind, body, _) in table {
        let namespace = kind.to_lowercase();
        let path = format!("{namespace}/left");
        api.create("Namespace", &namespace, json!({})).await.unwrap();
        api.create(kind, &path, body).await.unwrap();
        api.delete("Namespace", &namespace).await.unwrap();
        let refused = api.patch("Namespace", &namespace, empty.clone()).await.unwrap_err();
        assert!(
            refused.message.contains(&format!("stays while {kind} `left` is there")),
            "{}",
            refused.message
        );
        api.delete(kind, &path).await.unwrap();
        api.patch("Namespace", &namespace, empty.clone()).await.unwrap();
    }
}

#[tokio::test]
async fn each_term_of_a_field_selector_alone_leaves_an_object_out() {
    let api = api().await;
    for (name, phase) in [("a", "Pending"), ("b", "Pending"), ("c", "Failed")] {
        api.create("Task", name, task()).await.unwrap();
        api.patch_status("Task", name, json!({"phase": phase})).await.unwrap();
    }
    for (terms, expected) in [
        ("status.phase=Pending,metadata.name!=b", vec!["a"]),
        ("metadata.name!=b,status.phase=Pending", vec!["a"]),
        ("metadata.name!=a,metadata.name!=b,status.phase!=Failed", vec![]),
        ("metadata.name!=a,status.phase!=Failed,metadata.name!=b", vec![]),
        ("spec.nodeName=,status.phase=Pending,metadata.name=b", vec!["b"]),
    ] {
        let request = wire::ListRequest {
            kind: key("Task", "").kind,
            field_selector: terms.into(),
            ..Default::default()
        };
        let list = api.list(request).await.unwrap();
        let names: Vec<String> = list
            .items
            .iter()
            .map(|json| parse(json)["metadata"]["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, expected, "{terms}");
    }
}
