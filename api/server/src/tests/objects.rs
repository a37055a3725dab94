//! Laws of single objects: create, change, delete.

use std::sync::Arc;

use berth_proto::v1::write::Verb;
use berth_proto::v1::{self as wire, ListRequest};
use berth_store::{EmbeddedStore, Store};
use berth_types::Reason;
use serde_json::{Value, json};

use super::faulty::Faulty;
use super::{api, app, beside, bytes_too_many, key, task, version, write};

#[tokio::test]
async fn a_created_object_has_what_the_server_gives_it_and_reads_back() {
    let api = api().await;
    let mut body = app(2);
    body["metadata"] = json!({"uid": "mine", "generation": 9, "labels": {"a": "b"}});
    body["status"] = json!({"replicas": 7});
    let made = api.create("App", "web", body).await.unwrap();
    let meta = &made["metadata"];
    assert_eq!((meta["name"].as_str(), meta["namespace"].as_str()), (Some("web"), Some("default")));
    assert_eq!((&meta["generation"], &meta["labels"]["a"]), (&json!(1), &json!("b")));
    assert_eq!(meta["uid"].as_str().map(str::len), Some(32));
    assert_eq!(made.get("status"), None);
    assert_eq!(api.get("App", "default/web").await.unwrap(), made);
    assert_eq!(api.create("App", "web", app(2)).await.unwrap_err().reason, Reason::AlreadyExists);
    assert_eq!(api.get("App", "default/none").await.unwrap_err().reason, Reason::NotFound);
}

#[tokio::test]
async fn a_write_that_changes_nothing_makes_no_revision() {
    let api = api().await;
    let made = api.create("App", "web", app(2)).await.unwrap();
    let before = api.server.writer.store.current_rev().await.unwrap();
    assert_eq!(api.patch("App", "web", json!({"spec": {"replicas": 2}})).await.unwrap(), made);
    assert_eq!(api.send(write(Verb::Update, "App", "web", made.clone())).await.unwrap(), made);
    assert_eq!(api.server.writer.store.current_rev().await.unwrap(), before);
}

#[tokio::test]
async fn the_generation_counts_specs_and_nothing_else() {
    let api = api().await;
    api.create("App", "web", app(2)).await.unwrap();
    let generation = |object: Value| object["metadata"]["generation"].as_i64().unwrap();
    let labelled = api.patch("App", "web", json!({"metadata": {"labels": {"a": "b"}}})).await.unwrap();
    assert_eq!(generation(labelled), 1);
    assert_eq!(generation(api.patch_status("App", "web", json!({"replicas": 1})).await.unwrap()), 1);
    assert_eq!(generation(api.patch("App", "web", json!({"spec": {"replicas": 3}})).await.unwrap()), 2);
}

#[tokio::test]
async fn status_and_the_rest_are_written_apart() {
    let api = api().await;
    api.create("App", "web", app(2)).await.unwrap();
    let both = json!({"spec": {"replicas": 5}, "status": {"replicas": 4}});
    let status = api.send(write(Verb::PatchStatus, "App", "web", both.clone())).await.unwrap();
    assert_eq!((&status["spec"]["replicas"], &status["status"]["replicas"]), (&json!(2), &json!(4)));
    let both = json!({"spec": {"replicas": 5}, "status": {"replicas": 9}});
    let rest = api.patch("App", "web", both).await.unwrap();
    assert_eq!((&rest["spec"]["replicas"], &rest["status"]["replicas"]), (&json!(5), &json!(4)));
}

#[tokio::test]
async fn a_stale_version_or_another_uid_is_refused() {
    let api = api().await;
    let made = api.create("App", "web", app(2)).await.unwrap();
    let now = api.patch("App", "web", json!({"spec": {"replicas": 3}})).await.unwrap();
    let mut stale = made.clone();
    stale["spec"]["replicas"] = json!(4);
    let refusal = api.send(write(Verb::Update, "App", "web", stale)).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::Conflict);
    expect_test::expect!["App `web` has been modified; read it again and decide anew"]
        .assert_eq(&refusal.message);
    let mut by_uid = write(Verb::Patch, "App", "web", json!({"spec": {"replicas": 5}}));
    by_uid.uid = "0".repeat(32);
    assert_eq!(api.send(by_uid).await.unwrap_err().reason, Reason::Conflict);
    assert_eq!(version(&api.get("App", "default/web").await.unwrap()), version(&now));
}

#[tokio::test]
async fn a_write_to_the_spec_that_was_seen_is_refused_only_once_there_is_another() {
    let api = api().await;
    api.create("App", "web", app(1)).await.unwrap();
    let scale = |replicas: u32, generation: i64| {
        let patch = json!({"spec": {"replicas": replicas}});
        api.send(wire::Write { generation, ..write(Verb::Patch, "App", "web", patch) })
    };
    api.patch_status("App", "web", json!({"tasksCreated": 3})).await.unwrap();
    assert_eq!(scale(2, 1).await.unwrap()["metadata"]["generation"], 2);
    expect_test::expect!["App `web` has a different spec now; read it again and decide anew"]
        .assert_eq(&scale(3, 1).await.unwrap_err().message);
    assert_eq!(scale(4, 0).await.unwrap()["spec"]["replicas"], 4);
}

#[tokio::test]
async fn an_apply_that_names_what_it_saw_creates_nothing() {
    let api = api().await;
    let named = |uid: &str, resource_version: &str, generation| {
        let apply = write(Verb::Apply, "App", "web", app(1));
        let field_manager = "ctl".to_owned();
        let (uid, resource_version) = (uid.to_owned(), resource_version.to_owned());
        wire::Write { uid, resource_version, generation, field_manager, ..apply }
    };
    for (uid, version, generation) in [("0123", "", 0), ("", "3", 0), ("", "", 1)] {
        let refusal = api.send(named(uid, version, generation)).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::NotFound, "{uid} {version} {generation}: {refusal:?}");
    }
    api.send(named("", "", 0)).await.unwrap();
}

#[tokio::test]
async fn every_fault_of_an_object_is_told_at_once() {
    let api = api().await;
    let mut body = app(2);
    body["spec"]["replcas"] = json!(1);
    body["spec"]["replicas"] = json!(-1);
    let refusal = api.create("App", "web", body).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::Invalid);
    let fields: Vec<&str> = refusal.details.causes.iter().map(|cause| cause.field.as_str()).collect();
    assert_eq!(fields, ["spec.replcas", "spec.replicas"]);
}

#[tokio::test]
async fn a_namespace_must_be_there_and_goes_only_when_it_is_empty() {
    let api = api().await;
    let refusal = api.create("App", "shop/web", app(1)).await.unwrap_err();
    expect_test::expect!["Namespace `shop` was not found; create it first"].assert_eq(&refusal.message);
    let mut applied = write(Verb::Apply, "App", "shop/web", app(1));
    applied.field_manager = "ctl".into();
    assert_eq!(api.send(applied).await.unwrap_err().reason, Reason::NotFound);
    api.create("Namespace", "shop", json!({})).await.unwrap();
    api.create("App", "shop/web", app(1)).await.unwrap();
    let dying = api.delete("Namespace", "shop").await.unwrap();
    assert_eq!(dying["status"]["phase"], "Terminating");
    assert_eq!(api.create("App", "shop/other", app(1)).await.unwrap_err().reason, Reason::Forbidden);
    let empty = json!({"metadata": {"finalizers": null}});
    assert_eq!(api.patch("Namespace", "shop", empty.clone()).await.unwrap_err().reason, Reason::Invalid);
    api.delete("App", "shop/web").await.unwrap();
    api.patch("Namespace", "shop", empty).await.unwrap();
    assert_eq!(api.get("Namespace", "shop").await.unwrap_err().reason, Reason::NotFound);
    assert_eq!(api.delete("Namespace", "default").await.unwrap_err().reason, Reason::Forbidden);
}

#[tokio::test]
async fn an_object_goes_when_its_last_finalizer_does() {
    let api = api().await;
    let mut body = app(1);
    body["metadata"] = json!({"finalizers": ["a/b"]});
    api.create("App", "web", body).await.unwrap();
    let dying = api.delete("App", "web").await.unwrap();
    assert!(dying["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(api.delete("App", "web").await.unwrap(), dying);
    let late =
        api.patch("App", "web", json!({"metadata": {"finalizers": ["a/b", "c/d"]}})).await.unwrap_err();
    assert_eq!(late.reason, Reason::Invalid);
    api.patch("App", "web", json!({"metadata": {"finalizers": null}})).await.unwrap();
    assert_eq!(api.get("App", "default/web").await.unwrap_err().reason, Reason::NotFound);
}

#[tokio::test]
async fn a_task_is_created_without_a_node_and_never_changes() {
    let api = api().await;
    let mut placed = task();
    placed["spec"]["nodeName"] = json!("n1");
    assert_eq!(api.create("Task", "web-0", placed).await.unwrap_err().reason, Reason::Invalid);
    let made = api.create("Task", "web-0", task()).await.unwrap();
    assert_eq!(made["status"]["phase"], "Pending");
    let refusal = api.patch("Task", "web-0", json!({"spec": {"drainDelaySeconds": 9}})).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::Invalid);
    api.patch_status("Task", "web-0", json!({"phase": "Running"})).await.unwrap();
    let again = api.patch_status("Task", "web-0", json!({"phase": "Starting"})).await.unwrap_err();
    assert_eq!(again.details.causes[0].message, "a Running Task cannot become Starting again");
    api.patch_status("Task", "web-0", json!({"phase": "Failed"})).await.unwrap();
    let back = api.patch_status("Task", "web-0", json!({"phase": "Running"})).await.unwrap_err();
    assert_eq!(back.details.causes[0].field, "status.phase");
    api.delete("Task", "web-0").await.unwrap();
    assert_eq!(api.get("Task", "default/web-0").await.unwrap_err().reason, Reason::NotFound);
}

#[tokio::test]
async fn the_number_of_created_tasks_only_grows() {
    let api = api().await;
    api.create("App", "web", app(1)).await.unwrap();
    api.patch_status("App", "web", json!({"tasksCreated": 3})).await.unwrap();
    let refusal = api.patch_status("App", "web", json!({"tasksCreated": 2})).await.unwrap_err();
    assert_eq!(refusal.details.causes[0].message, "must not go below 3, got 2");
}

#[tokio::test]
async fn a_dry_run_answers_and_writes_nothing() {
    let api = api().await;
    let mut create = write(Verb::Create, "App", "web", app(1));
    create.dry_run = true;
    api.send(create).await.unwrap();
    assert_eq!(api.get("App", "default/web").await.unwrap_err().reason, Reason::NotFound);
}

#[tokio::test]
async fn an_apply_makes_the_object_takes_away_what_it_no_longer_names_and_leaves_others_alone() {
    let api = api().await;
    let mut manifest = app(2);
    manifest["metadata"] = json!({"labels": {"a": "1", "b": "2"}});
    let made = api.send(write(Verb::Apply, "App", "web", manifest.clone())).await.unwrap();
    assert_eq!(made["metadata"]["managedFields"][0]["operation"], "Apply");
    assert_eq!(api.send(write(Verb::Apply, "App", "web", manifest.clone())).await.unwrap(), made);

    let mut scale = write(Verb::Patch, "App", "web", json!({"spec": {"replicas": 5}}));
    scale.field_manager = "ctl-scale".into();
    api.send(scale).await.unwrap();
    manifest["metadata"]["labels"] = json!({"a": "1"});
    let conflict = api.send(write(Verb::Apply, "App", "web", manifest.clone())).await.unwrap_err();
    assert_eq!(
        (conflict.reason, conflict.details.causes[0].field.as_str()),
        (Reason::Conflict, "spec.replicas")
    );
    let mut apply = write(Verb::Apply, "App", "web", manifest);
    apply.take_from = vec!["ctl-scale".into()];
    let applied = api.send(apply).await.unwrap();
    assert_eq!(
        (&applied["metadata"]["labels"], &applied["spec"]["replicas"]),
        (&json!({"a": "1"}), &json!(2))
    );
}

#[tokio::test]
async fn tasks_carry_no_owners_of_fields() {
    let api = api().await;
    let made = api.send(write(Verb::Apply, "Task", "web-0", task())).await.unwrap();
    assert_eq!(made["metadata"].get("managedFields"), None);
    for color in ["red", "blue", "blue"] {
        let manifest = json!({"metadata": {"labels": {"color": color}}});
        let applied = api.send(write(Verb::Apply, "Task", "web-0", manifest)).await.unwrap();
        assert_eq!(applied["metadata"]["labels"]["color"], color);
        assert_eq!(applied["metadata"].get("managedFields"), None);
    }
}

#[tokio::test]
async fn what_is_too_large_or_too_deep_is_refused_before_it_is_looked_at() {
    let api = api().await;
    let mut large = app(1);
    large["metadata"] = json!({"annotations": {"x": "x".repeat(2 << 20)}});
    let refused = api.create("App", "web", large).await.unwrap_err();
    assert_eq!(refused.reason, Reason::RequestEntityTooLarge);
    assert!(refused.message.contains("at most 1310720 are read"), "{}", refused.message);
    let mut deep = json!(1);
    for _ in 0..70 {
        deep = json!([deep]);
    }
    assert_eq!(api.create("App", "web", json!({"spec": deep})).await.unwrap_err().reason, Reason::BadRequest);
    for path in ["a/b/c", "default/..", "default/x y", "-/web"] {
        assert!(api.create("App", path, app(1)).await.is_err(), "{path}");
    }
}

/// An App is stored together with its first Task, and the entries of its managers with it.
#[tokio::test]
async fn an_app_that_is_too_large_with_its_managers_is_refused_however_it_is_written() {
    let api = api().await;
    let env: Value = (0..1000).map(|n| json!({"name": format!("A{n:05}"), "value": "x"})).collect();
    let of = |containers: usize| {
        let mut app = app(1);
        let containers = (0..containers)
            .map(|n| json!({"name": format!("c{n}"), "command": ["sleep", "1"], "env": env}))
            .collect();
        app["spec"]["template"]["spec"]["containers"] = containers;
        app
    };
    // Less than 1 MiB: 330 KB of template, and twice as much of managed fields.
    for verb in [Verb::Apply, Verb::Patch, Verb::Update] {
        api.send(write(Verb::Apply, "App", "web", app(1))).await.unwrap();
        api.send(write(verb, "App", "web", of(1))).await.unwrap();
        let refused = api.send(write(verb, "App", "web", of(11))).await.unwrap_err();
        assert_eq!(refused.reason, Reason::Invalid, "{verb:?}: {}", refused.message);
        let fields: Vec<&str> = refused.details.causes.iter().map(|cause| cause.field.as_str()).collect();
        assert_eq!(fields, ["spec.template"], "{verb:?}");
        api.delete("App", "web").await.unwrap();
    }
}

/// The entry of a manager that takes a finalizer away keeps no object.
#[tokio::test]
async fn the_largest_app_goes_when_its_last_finalizer_does() {
    const TOO_MANY: usize = 131_000;
    let api = api().await;
    let of = |bytes: usize| {
        let container = |(n, bytes): (usize, usize)| {
            let env = json!([{"name": "A", "value": "x".repeat(bytes)}]);
            json!({"name": format!("c{n}"), "command": ["sleep", "1"], "env": env})
        };
        let mut app = app(1);
        app["metadata"]["finalizers"] = json!(["a/b", "c/d"]);
        app["spec"]["template"]["spec"]["containers"] = [100_000, 100_000, 100_000, 100_000, 100_000, bytes]
            .into_iter()
            .enumerate()
            .map(container)
            .collect();
        app
    };
    let refused = api.create("App", "web", of(TOO_MANY)).await.unwrap_err();
    let fits = TOO_MANY - bytes_too_many(&refused.details.causes[0].message);
    assert_eq!(api.create("App", "web", of(fits + 1)).await.unwrap_err().reason, Reason::Invalid);
    api.create("App", "web", of(fits)).await.unwrap();
    api.delete("App", "web").await.unwrap();
    for left in [json!(["c/d"]), Value::Null] {
        let mut patch = write(Verb::Patch, "App", "web", json!({"metadata": {"finalizers": left}}));
        patch.field_manager = "another".repeat(10);
        api.send(patch).await.unwrap();
    }
    assert_eq!(api.get("App", "default/web").await.unwrap_err().reason, Reason::NotFound);
}

#[tokio::test]
async fn a_grace_period_can_be_shortened_and_not_lengthened() {
    let api = api().await;
    let mut body = app(1);
    body["metadata"] = json!({"finalizers": ["a/b"]});
    api.create("App", "web", body).await.unwrap();
    for (asked, left) in [(Some(20), 20), (Some(5), 5), (Some(60), 5), (None, 5), (Some(-1), 0)] {
        let mut delete = write(Verb::Delete, "App", "web", Value::Null);
        delete.grace_period_seconds = asked;
        let dying = api.send(delete).await.unwrap();
        assert_eq!(dying["metadata"]["deletionGracePeriodSeconds"], left);
    }
}

#[tokio::test]
async fn every_change_of_a_leases_holder_starts_an_epoch_and_nothing_else_does() {
    let api = api().await;
    let path = "berth-system/app";
    let key = crate::keys::epoch("berth-system", "app");
    let epoch = async || {
        let (_, kv) = api.server.writer.store.get(&key, berth_store::At::Latest).await.unwrap();
        kv.unwrap().mod_rev.to_string()
    };
    let rev = |lease: &Value| (version(lease).parse::<u64>().unwrap() / 1024).to_string();
    let holder = |name: &str| json!({"spec": {"holderIdentity": name}});
    let taken = api.create("Lease", path, holder("a")).await.unwrap();
    assert_eq!(epoch().await, rev(&taken));
    api.patch("Lease", path, json!({"spec": {"leaseTransitions": 1}})).await.unwrap();
    assert_eq!(epoch().await, rev(&taken));
    for name in ["b", ""] {
        let changed = api.patch("Lease", path, holder(name)).await.unwrap();
        assert_eq!(epoch().await, rev(&changed), "holder `{name}`");
    }
    let gone = api.delete("Lease", path).await.unwrap();
    assert_eq!(epoch().await, rev(&gone));
}

#[tokio::test]
async fn a_removal_whose_answer_was_lost_is_told_in_the_version_in_which_it_happened() {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::memory());
    let (plain, faulty) = (beside(store.clone()).await, beside(Faulty::over(store, 7)).await);
    for _ in 0..100 {
        plain.create("App", "a", app(1)).await.unwrap();
        let Ok(gone) = faulty.delete("App", "a").await else {
            plain.delete("App", "a").await.ok();
            continue;
        };
        let after = plain
            .list(ListRequest { kind: key("App", "").kind, ..Default::default() })
            .await
            .unwrap()
            .resource_version;
        let number = |version: &str| version.parse::<u64>().unwrap();
        let told = number(&version(&gone));
        assert!(told % 1024 == 1023 && told <= number(&after), "{told} is a whole revision up to {after}");
    }
}
