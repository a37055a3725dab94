//! Laws of batches, preconditions and owners.

use berth_proto::v1::write::Verb;
use berth_proto::v1::{self as wire};
use berth_types::Reason;
use serde_json::{Value, json};

use super::{api, app, key, task, version, write};

fn absent(kind: &str, path: &str) -> wire::Precondition {
    wire::Precondition { key: Some(key(kind, path)), absent: true, ..wire::Precondition::default() }
}

fn at_version(kind: &str, path: &str, object: &Value) -> wire::Precondition {
    let resource_version = version(object);
    wire::Precondition { key: Some(key(kind, path)), resource_version, ..wire::Precondition::default() }
}

#[tokio::test]
async fn each_write_of_a_batch_has_its_own_outcome() {
    let api = api().await;
    let ended = api
        .batch(
            false,
            vec![
                write(Verb::Create, "App", "a", app(1)),
                write(Verb::Patch, "App", "none", json!({})),
                write(Verb::Create, "App", "b", json!({"spec": {"x": 1}})),
                write(Verb::Create, "App", "c", app(1)),
            ],
        )
        .await;
    let reasons: Vec<_> = ended.iter().map(|outcome| outcome.as_ref().err().map(|why| why.reason)).collect();
    assert_eq!(reasons, [None, Some(Reason::NotFound), Some(Reason::Invalid), None]);
}

#[tokio::test]
async fn an_atomic_batch_happens_in_one_revision_or_not_at_all() {
    let api = api().await;
    let made = api.create("App", "web", app(2)).await.unwrap();
    let wave = |app: &Value, created: u32, first: u32| {
        let mut count = write(Verb::PatchStatus, "App", "web", json!({"status": {"tasksCreated": created}}));
        count.resource_version = version(app);
        let create = |n| write(Verb::Create, "Task", &format!("web-{n}"), task());
        std::iter::once(count).chain((first..created).map(create)).collect::<Vec<_>>()
    };
    let ended = api.batch(true, wave(&made, 2, 0)).await;
    let revisions: Vec<u64> =
        ended.iter().map(|one| version(one.as_ref().unwrap()).parse::<u64>().unwrap() / 1024).collect();
    assert!(revisions.iter().all(|rev| *rev == revisions[0]));

    let stale = api.batch(true, wave(&made, 3, 2)).await;
    expect_test::expect![[r#"
        App `web` has been modified; read it again and decide anew
        not written, for write 0 of the atomic batch was refused: App `web` has been modified; read it again and decide anew"#]]
    .assert_eq(&stale.iter().map(|one| one.as_ref().unwrap_err().message.clone()).collect::<Vec<_>>().join("\n"));
    assert_eq!(api.get("Task", "default/web-2").await.unwrap_err().reason, Reason::NotFound);
}

#[tokio::test]
async fn a_write_happens_only_while_its_preconditions_hold() {
    let api = api().await;
    let web = api.create("App", "web", app(2)).await.unwrap();
    let patch = |preconditions| {
        let patch = write(Verb::Patch, "App", "other", json!({"spec": {"replicas": fastrand::u32(3..900)}}));
        wire::Write { preconditions, ..patch }
    };
    api.create("App", "other", app(2)).await.unwrap();
    api.send(patch(vec![at_version("App", "default/web", &web), absent("Task", "default/t")])).await.unwrap();
    let uid = web["metadata"]["uid"].as_str().unwrap().to_owned();
    let by_uid =
        wire::Precondition { resource_version: String::new(), uid, ..at_version("App", "default/web", &web) };
    let newer = api.patch("App", "web", json!({"spec": {"replicas": 3}})).await.unwrap();
    api.send(patch(vec![by_uid.clone(), at_version("App", "default/web", &newer)])).await.unwrap();
    api.create("Task", "t", task()).await.unwrap();
    for broken in [
        at_version("App", "default/web", &web),
        absent("Task", "default/t"),
        wire::Precondition { uid: "0".repeat(32), ..by_uid },
        wire::Precondition { key: Some(key("App", "default/none")), ..wire::Precondition::default() },
    ] {
        assert_eq!(api.send(patch(vec![broken])).await.unwrap_err().reason, Reason::Conflict);
    }
}

#[tokio::test]
async fn a_delete_that_orphans_takes_the_owner_off_what_belonged_to_it() {
    let api = api().await;
    let web = api.create("App", "web", app(1)).await.unwrap();
    let mut owned = task();
    let owner =
        json!({"apiVersion": "berth.dev/v1", "kind": "App", "name": "web", "uid": web["metadata"]["uid"]});
    owned["metadata"] = json!({"ownerReferences": [owner]});
    api.create("Task", "web-0", owned.clone()).await.unwrap();
    let mut delete = write(Verb::Delete, "App", "web", Value::Null);
    delete.orphan = true;
    api.send(delete).await.unwrap();
    assert_eq!(api.get("Task", "default/web-0").await.unwrap()["metadata"].get("ownerReferences"), None);
}

#[tokio::test]
async fn writers_of_one_object_all_come_through() {
    let api = api().await;
    api.create("App", "web", app(1)).await.unwrap();
    let label = |n: u32| {
        let labels = json!({"metadata": {"labels": {format!("l{n}"): "x"}}});
        write(Verb::Patch, "App", "web", labels)
    };
    let ended = api.batch(false, (0..15).map(label).collect()).await;
    assert!(ended.iter().all(Result::is_ok), "{ended:?}");
    let labels = &api.get("App", "default/web").await.unwrap()["metadata"]["labels"];
    assert_eq!(labels.as_object().map(serde_json::Map::len), Some(15));
}

/// What is answered with more than one message carries is not done, and can be sent in a call of its own.
#[tokio::test]
async fn a_batch_does_only_what_its_answer_carries() {
    let api = api().await;
    for n in 0..30 {
        api.create("Task", &format!("t-{n}"), super::binding::large_task(900_000)).await.unwrap();
    }
    let label = |n: usize| {
        let labels = json!({"metadata": {"labels": {"x": "y"}}});
        write(Verb::Patch, "Task", &format!("t-{n}"), labels)
    };
    let ended = api.batch(false, (0..30).map(label).collect()).await;
    let done = ended.iter().take_while(|outcome| outcome.is_ok()).count();
    assert!((10..20).contains(&done), "{done}");
    for (n, refused) in ended.iter().enumerate().skip(done) {
        assert_eq!(refused.as_ref().unwrap_err().reason, Reason::TooManyRequests);
        let path = format!("default/t-{n}");
        assert_eq!(api.get("Task", &path).await.unwrap()["metadata"].get("labels"), None);
    }
    assert!(api.batch(false, (done..30).map(label).collect()).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn dependents_that_are_more_bytes_than_one_revision_takes_are_not_let_go_at_once() {
    let api = api().await;
    let web = api.create("App", "web", app(1)).await.unwrap();
    let owner =
        json!({"apiVersion": "berth.dev/v1", "kind": "App", "name": "web", "uid": web["metadata"]["uid"]});
    for n in 0..3 {
        let mut owned = super::binding::large_task(500_000);
        owned["metadata"] = json!({"ownerReferences": [owner]});
        api.create("Task", &format!("web-{n}"), owned).await.unwrap();
    }
    let mut delete = write(Verb::Delete, "App", "web", Value::Null);
    delete.orphan = true;
    let refused = api.send(delete.clone()).await.unwrap_err();
    assert_eq!(refused.reason, Reason::RequestEntityTooLarge);
    assert!(refused.message.contains("take the owner off some of them first"), "{}", refused.message);
    api.delete("Task", "web-0").await.unwrap();
    api.send(delete).await.unwrap();
}

/// An owner with a finalizer is put in the same revision.
#[tokio::test]
async fn dependents_are_not_let_go_beside_an_owner_that_is_too_large_with_them() {
    let api = api().await;
    let mut web = app(1);
    web["metadata"] =
        json!({"finalizers": ["example.com/kept"], "annotations": {"large": "x".repeat(250_000)}});
    let web = api.create("App", "web", web).await.unwrap();
    let owner =
        json!({"apiVersion": "berth.dev/v1", "kind": "App", "name": "web", "uid": web["metadata"]["uid"]});
    for n in 0..2 {
        let mut owned = super::binding::large_task(600_000);
        owned["metadata"] = json!({"ownerReferences": [owner]});
        api.create("Task", &format!("web-{n}"), owned).await.unwrap();
    }
    let mut delete = write(Verb::Delete, "App", "web", Value::Null);
    delete.orphan = true;
    let refused = api.send(delete.clone()).await.unwrap_err();
    assert_eq!(refused.reason, Reason::RequestEntityTooLarge, "{}", refused.message);
    api.delete("Task", "web-0").await.unwrap();
    let marked = api.send(delete).await.unwrap();
    assert!(marked["metadata"]["deletionTimestamp"].is_string(), "{marked}");
}
