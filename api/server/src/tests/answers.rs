//! What the answer to a write says beside the object: what it did, what it took and removed, warnings.

use std::sync::Arc;

use berth_proto::v1::resources_server::Resources;
use berth_proto::v1::write::Verb;
use berth_proto::v1::written::Effect;
use berth_proto::v1::{self as wire, BatchRequest};
use berth_store::{EmbeddedStore, Store};
use berth_types::Reason;
use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{Api, api, app, beside, task, write};

fn applied(path: &str, body: Value) -> wire::Write {
    let body = crate::apply::merge_patch(json!({"apiVersion": "berth.dev/v1", "kind": "App"}), &body);
    wire::Write { field_manager: "ctl".into(), ..write(Verb::Apply, "App", path, body) }
}

/// What each write did, with its changes and warnings; uids as `UID`.
async fn hears(api: &Api, writes: Vec<wire::Write>, expected: Expect) {
    let mut seen = String::new();
    for write in writes {
        let verb = write.verb().as_str_name();
        match api.send_and_hear(write).await {
            Ok((_, written)) => seen.push_str(&format!("{verb}: {}", shown(&written))),
            Err(refusal) => seen.push_str(&format!("{verb}: {:?}: {}\n", refusal.reason, refusal.message)),
        }
    }
    expected.assert_eq(&without_uids(&seen));
}

fn shown(written: &wire::Written) -> String {
    let change = |change: &wire::FieldChange| {
        format!("  {} [{}] {} -> {}\n", change.field, change.manager, change.before, change.after)
    };
    let changes: String = written.changes.iter().map(change).collect();
    let warnings: String = written.warnings.iter().map(|text| format!("  ! {text}\n")).collect();
    format!("{}\n{changes}{warnings}", written.effect().as_str_name())
}

fn without_uids(text: &str) -> String {
    let is_uid = |word: &str| word.len() == 32 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let word = |word: &str| {
        let bare = word.trim_end_matches([',', ';']);
        if is_uid(bare) { word.replace(bare, "UID") } else { word.to_owned() }
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_write_states_whether_it_created_configured_changed_nothing_or_deleted() {
    let api = api().await;
    let held = |names: Value| json!({"metadata": {"finalizers": names}});
    let dry = |write: wire::Write| wire::Write { dry_run: true, ..write };
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    hears(
        &api,
        vec![
            dry(write(Verb::Create, "App", "web", app(2))),
            write(Verb::Create, "App", "web", app(2)),
            write(Verb::Update, "App", "web", app(2)),
            write(Verb::Update, "App", "web", app(3)),
            write(Verb::Patch, "App", "web", held(json!(["a/b"]))),
            write(Verb::Patch, "App", "web", held(json!(["a/b"]))),
            write(Verb::PatchStatus, "App", "web", json!({"status": {"replicas": 1}})),
            write(Verb::PatchStatus, "App", "web", json!({"status": {"replicas": 1}})),
            dry(write(Verb::Patch, "App", "web", labels)),
            write(Verb::Delete, "App", "web", Value::Null),
            write(Verb::Delete, "App", "web", Value::Null),
            dry(write(Verb::Patch, "App", "web", held(Value::Null))),
            write(Verb::Patch, "App", "web", held(Value::Null)),
            applied("web", app(2)),
            applied("web", app(2)),
            applied("web", app(3)),
            write(Verb::Delete, "App", "web", Value::Null),
        ],
        expect![[r#"
            CREATE: CREATED
            CREATE: CREATED
            UPDATE: UNCHANGED
            UPDATE: CONFIGURED
            PATCH: CONFIGURED
            PATCH: UNCHANGED
            PATCH_STATUS: CONFIGURED
            PATCH_STATUS: UNCHANGED
            PATCH: CONFIGURED
            DELETE: CONFIGURED
            DELETE: UNCHANGED
            PATCH: DELETED
            PATCH: DELETED
            APPLY: CREATED
            APPLY: UNCHANGED
            APPLY: CONFIGURED
            DELETE: DELETED
        "#]],
    )
    .await;
}

#[tokio::test]
async fn each_write_of_a_batch_states_what_it_did() {
    for atomic in [false, true] {
        let api = api().await;
        api.create("App", "b", app(2)).await.unwrap();
        api.create("App", "c", app(2)).await.unwrap();
        let writes = vec![
            write(Verb::Create, "App", "a", app(1)),
            write(Verb::Patch, "App", "b", json!({"spec": {"replicas": 2}})),
            write(Verb::Patch, "App", "c", json!({"spec": {"replicas": 3}})),
        ];
        let request = tonic::Request::new(BatchRequest { writes, atomic });
        let outcomes = api.face.batch(request).await.unwrap().into_inner().outcomes;
        let effects: Vec<Effect> =
            outcomes.iter().map(|one| one.written.as_ref().unwrap().effect()).collect();
        assert_eq!(effects, [Effect::Created, Effect::Unchanged, Effect::Configured], "atomic: {atomic}");
    }
}

#[tokio::test]
async fn an_apply_states_what_it_took_and_from_whom() {
    let api = api().await;
    let other = |manager: &str, replicas: u32| wire::Write {
        field_manager: manager.into(),
        ..write(Verb::Patch, "App", "web", json!({"spec": {"replicas": replicas}}))
    };
    let taking = |write: wire::Write| wire::Write { take_from: vec!["ctl-scale".into()], ..write };
    let forced = |write: wire::Write| wire::Write { force: true, ..write };
    hears(
        &api,
        vec![
            applied("web", app(2)),
            other("ctl-scale", 5),
            taking(applied("web", app(2))),
            other("autoscaler", 7),
            taking(applied("web", app(2))),
            forced(applied("web", app(3))),
        ],
        expect![[r#"
            APPLY: CREATED
            PATCH: CONFIGURED
            APPLY: CONFIGURED
              spec.replicas [ctl-scale] 5 -> 2
            PATCH: CONFIGURED
            APPLY: Conflict: could not apply App `web`: 1 field is owned by others: spec.replicas by `autoscaler`
            APPLY: CONFIGURED
              spec.replicas [autoscaler] 7 -> 3
        "#]],
    )
    .await;
}

/// The removed lines of a manifest: at the highest place that is gone, with the default that replaces it.
#[tokio::test]
async fn an_apply_states_what_each_removed_line_changes() {
    let api = api().await;
    let mut first = app(3);
    first["metadata"] = json!({"labels": {"a.b/c": "d", "kept": "yes"}, "finalizers": ["a/b", "c/d"]});
    first["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}});
    first["spec"]["progressDeadlineSeconds"] = json!(60);
    let container = &mut first["spec"]["template"]["spec"]["containers"][0];
    container["readinessProbe"] = json!({"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 9});
    container["livenessProbe"] = json!({"tcpSocket": {"port": "http"}, "failureThreshold": 7});
    container["env"] = json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]);
    let mut second = first.clone();
    second["metadata"] = json!({"labels": {"kept": "yes"}, "finalizers": ["c/d"]});
    for field in ["replicas", "strategy", "progressDeadlineSeconds"] {
        second["spec"].as_object_mut().unwrap().remove(field);
    }
    let container = second["spec"]["template"]["spec"]["containers"][0].as_object_mut().unwrap();
    container.remove("readinessProbe");
    container["livenessProbe"].as_object_mut().unwrap().remove("failureThreshold");
    container["resources"]["requests"].as_object_mut().unwrap().remove("memory");
    container.insert("env".into(), json!([{"name": "B", "value": "2"}]));
    hears(
        &api,
        vec![applied("web", first), applied("web", second.clone()), applied("web", second)],
        expect![[r#"
            APPLY: CREATED
            APPLY: CONFIGURED
              metadata.finalizers["a/b"] [] "a/b" -> 
              metadata.labels[a.b/c] [] "d" -> 
              spec.progressDeadlineSeconds [] 60 -> 600
              spec.replicas [] 3 -> 1
              spec.strategy [] {"rollingUpdate":{"maxSurge":1,"maxUnavailable":1}} -> {"rollingUpdate":{"maxSurge":"25%","maxUnavailable":"25%"},"type":"RollingUpdate"}
              spec.template.spec.containers[name="main"].env[name="A"] [] {"name":"A","value":"1"} -> 
              spec.template.spec.containers[name="main"].livenessProbe.failureThreshold [] 7 -> 3
              spec.template.spec.containers[name="main"].readinessProbe [] {"httpGet":{"path":"/","port":"http"},"periodSeconds":9} -> 
              spec.template.spec.containers[name="main"].resources.requests.memory [] "64Mi" -> 
            APPLY: UNCHANGED
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_line_that_another_manager_keeps_is_not_stated_as_removed() {
    let api = api().await;
    let without = |field: &str| {
        let mut body = app(3);
        body["spec"].as_object_mut().unwrap().remove(field);
        body
    };
    let also =
        wire::Write { field_manager: "deployer".into(), ..applied("web", json!({"spec": {"replicas": 3}})) };
    hears(
        &api,
        vec![applied("web", app(3)), also, applied("web", without("replicas"))],
        expect![[r#"
            APPLY: CREATED
            APPLY: CONFIGURED
            APPLY: CONFIGURED
        "#]],
    )
    .await;
}

#[tokio::test]
async fn no_answer_lists_more_than_its_bound() {
    let api = api().await;
    let mut many = app(1);
    let mut labels: serde_json::Map<String, Value> =
        (0..63).map(|n| (format!("l{n}"), json!("x".repeat(60)))).collect();
    labels.insert("kept".into(), json!("yes"));
    many["metadata"] = json!({"labels": labels, "annotations": {"long": "y".repeat(5000)}});
    api.send(applied("web", many)).await.unwrap();
    let few = crate::apply::merge_patch(app(1), &json!({"metadata": {"labels": {"kept": "yes"}}}));
    let (_, written) = api.send_and_hear(applied("web", few)).await.unwrap();
    assert_eq!(written.changes.len(), 50);
    assert!(written.changes.iter().all(|change| change.before.len() <= 103), "{written:?}");
    // 63 labels, and the annotations as a whole.
    assert_eq!(written.warnings, ["14 more fields were taken or removed, not listed here"]);
}

#[tokio::test]
async fn a_new_spec_of_a_dying_object_is_refused_and_the_rest_is_written() {
    let api = api().await;
    let mut held = app(2);
    held["metadata"] = json!({"finalizers": ["a/b", "c/d"]});
    api.send(applied("web", held.clone())).await.unwrap();
    api.delete("App", "web").await.unwrap();
    let mut other = held.clone();
    other["spec"]["replicas"] = json!(3);
    let dry = |write: wire::Write| wire::Write { dry_run: true, ..write };
    let finalizers = |names: Value| json!({"metadata": {"finalizers": names}});
    let free = {
        let mut free = other.clone();
        free.as_object_mut().unwrap().remove("metadata");
        free
    };
    hears(
        &api,
        vec![
            applied("web", other.clone()),
            dry(applied("web", other.clone())),
            write(Verb::Update, "App", "web", other.clone()),
            write(Verb::Patch, "App", "web", json!({"spec": {"replicas": 0}})),
            write(Verb::Patch, "App", "web", json!({"spec": {"restartGeneration": 1}})),
            applied("web", held),
            write(Verb::PatchStatus, "App", "web", json!({"status": {"replicas": 1}})),
            write(Verb::Patch, "App", "web", json!({"metadata": {"labels": {"a": "b"}}})),
            write(Verb::Patch, "App", "web", finalizers(json!(["c/d"]))),
            applied("web", free.clone()),
            write(Verb::Patch, "App", "web", finalizers(json!(null))),
            applied("web", free),
        ],
        expect![[r#"
            APPLY: Conflict: App `web` is being deleted and waits for `a/b`, `c/d`: its spec cannot be changed; write it again once it is gone
            APPLY: Conflict: App `web` is being deleted and waits for `a/b`, `c/d`: its spec cannot be changed; write it again once it is gone
            UPDATE: Conflict: App `web` is being deleted and waits for `a/b`, `c/d`: its spec cannot be changed; write it again once it is gone
            PATCH: Conflict: App `web` is being deleted and waits for `a/b`, `c/d`: its spec cannot be changed; write it again once it is gone
            PATCH: Conflict: App `web` is being deleted and waits for `a/b`, `c/d`: its spec cannot be changed; write it again once it is gone
            APPLY: UNCHANGED
              ! the object is being deleted and waits for `a/b`, `c/d`; apply it again once it is gone
            PATCH_STATUS: CONFIGURED
            PATCH: CONFIGURED
            PATCH: CONFIGURED
            APPLY: DELETED
              metadata.finalizers [] ["c/d"] -> 
              ! the object was being deleted: this apply removed its last finalizer and so deleted it; apply again to recreate it
            PATCH: NotFound: App `web` was not found
            APPLY: CREATED
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_dying_object_of_every_kind_refuses_a_new_spec_and_takes_a_label() {
    let api = api().await;
    let about = json!({"involvedObject": {"kind": "App", "name": "web"}, "message": "it waits"});
    for (kind, path, mut held, spec) in [
        ("Node", "n1", json!({}), json!({"spec": {"unschedulable": true}})),
        (
            "Lease",
            "l",
            json!({"spec": {"holderIdentity": "a"}}),
            json!({"spec": {"leaseDurationSeconds": 5}}),
        ),
        ("Event", "web.1", about, json!({"message": "it runs"})),
        ("Task", "t", task(), json!({"spec": {"terminationGracePeriodSeconds": 3}})),
    ] {
        held["metadata"] = json!({"finalizers": ["a/b"]});
        api.create(kind, path, held).await.unwrap();
        api.delete(kind, path).await.unwrap();
        let refused = api.patch(kind, path, spec).await.unwrap_err();
        let why = format!(
            "{kind} `{path}` is being deleted and waits for `a/b`: its spec cannot be changed; write it again once \
             it is gone"
        );
        assert_eq!((refused.reason, refused.message), (Reason::Conflict, why));
        let labels = json!({"metadata": {"labels": {"a": "b"}}});
        let written = api.patch(kind, path, labels).await.unwrap();
        assert_eq!(written["metadata"]["labels"], json!({"a": "b"}), "{kind}");
    }
}

#[tokio::test]
async fn an_apply_that_frees_a_dying_object_states_that_it_is_gone() {
    let api = api().await;
    let mut held = app(2);
    held["metadata"] = json!({"finalizers": ["a/b"]});
    api.send(applied("web", held)).await.unwrap();
    api.delete("App", "web").await.unwrap();
    hears(&api, vec![applied("web", app(3)), applied("web", app(3))], expect![[r#"
        APPLY: DELETED
          metadata.finalizers [] ["a/b"] -> 
          ! the object was being deleted: this apply removed its last finalizer and so deleted it; apply again to recreate it
        APPLY: CREATED
    "#]]).await;
}

fn owned_by(kind: &str, name: &str, uid: &str) -> Value {
    let api_version = if kind == "Namespace" { "v1" } else { "berth.dev/v1" };
    json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": uid})
}

#[tokio::test]
async fn an_owner_that_does_not_exist_causes_a_warning_when_it_is_named_first() {
    let api = api().await;
    let shop = json!({"apiVersion": "v1", "kind": "Namespace"});
    let shop = api.create("Namespace", "shop", shop).await.unwrap();
    let here = api.create("App", "here", app(1)).await.unwrap();
    let uid = |object: &Value| object["metadata"]["uid"].as_str().unwrap().to_owned();
    let owned = |owners: Vec<Value>| json!({"metadata": {"ownerReferences": owners}});
    let with = |owners: Vec<Value>| crate::apply::merge_patch(app(1), &owned(owners));
    let (known, none, nil) = (owned_by("App", "here", &uid(&here)), "0".repeat(32), "1".repeat(32));
    let ghost = owned_by("App", "ghost", &none);
    hears(
        &api,
        vec![
            write(
                Verb::Create,
                "App",
                "a",
                with(vec![known.clone(), owned_by("Namespace", "shop", &uid(&shop))]),
            ),
            write(Verb::Create, "App", "b", with(vec![known.clone(), ghost.clone()])),
            applied("b", with(vec![known.clone(), ghost.clone()])),
            write(Verb::PatchStatus, "App", "b", json!({"status": {"replicas": 1}})),
            applied("b", with(vec![known.clone(), ghost, owned_by("App", "here", &nil)])),
            applied("shop/c", with(vec![known.clone()])),
            applied("d", with(vec![owned_by("Namespace", "gone", &none), owned_by("Deployment", "x", &nil)])),
            wire::Write { dry_run: true, ..applied("e", with(vec![owned_by("App", "ghost", &none)])) },
        ],
        expect![[r#"
            CREATE: CREATED
            CREATE: CREATED
              ! the owner App `ghost` was not found in Namespace `default`; an object is deleted when none of its owners exists: correct or remove the entry in `metadata.ownerReferences`
            APPLY: CONFIGURED
            PATCH_STATUS: CONFIGURED
            APPLY: CONFIGURED
              ! the owner App `here` has the uid UID, not UID; an object is deleted when none of its owners exists: correct or remove the entry in `metadata.ownerReferences`
            APPLY: CREATED
              ! the owner App `here` was not found in Namespace `shop`; an object is deleted when none of its owners exists: correct or remove the entry in `metadata.ownerReferences`
            APPLY: CREATED
              ! the owner Namespace `gone` was not found; an object is deleted when none of its owners exists: correct or remove the entry in `metadata.ownerReferences`
              ! the owner Deployment `x` has the apiVersion `berth.dev/v1`; this cluster has no such kind
            APPLY: CREATED
              ! the owner App `ghost` was not found in Namespace `default`; an object is deleted when none of its owners exists: correct or remove the entry in `metadata.ownerReferences`
        "#]],
    )
    .await;
}

#[tokio::test]
async fn an_owner_that_is_new_on_another_server_causes_no_warning() {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::memory());
    let (one, other) = (beside(store.clone()).await, beside(store).await);
    for n in 0..50 {
        let owner = one.create("App", &format!("owner-{n}"), app(1)).await.unwrap();
        let owner = owned_by("App", &format!("owner-{n}"), owner["metadata"]["uid"].as_str().unwrap());
        let mut body = app(1);
        body["metadata"] = json!({"ownerReferences": [owner]});
        let (_, written) = other.send_and_hear(applied(&format!("owned-{n}"), body)).await.unwrap();
        assert_eq!(written.warnings, Vec::<String>::new(), "{n}");
    }
}

#[tokio::test]
async fn nothing_is_created_in_a_namespace_that_is_being_deleted_and_the_cause_says_so() {
    let api = api().await;
    api.create("Namespace", "shop", json!({"apiVersion": "v1", "kind": "Namespace"})).await.unwrap();
    api.delete("Namespace", "shop").await.unwrap();
    let refusal = api.send(applied("shop/web", app(1))).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::Forbidden);
    let cause = &refusal.details.causes[0];
    assert_eq!((cause.reason.as_str(), cause.field.as_str()), ("NamespaceTerminating", "metadata.namespace"));
}
