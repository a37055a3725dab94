mod laws;
mod several;
mod world;

use expect_test::expect;
use serde_json::{Value, json};

use super::fields::FieldSet;
use super::{Part, merge_patch};
use world::World;

fn containers(items: Value) -> Value {
    json!({"spec": {"template": {"spec": {"containers": items}}}})
}

#[test]
fn the_first_apply_makes_the_object_and_owns_all_of_it() {
    World::new("app")
        .applies(
            "ctl",
            json!({"metadata": {"labels": {"a": "1"}}, "spec": {"replicas": 2, "minReadySeconds": null}}),
        )
        .shows(expect![[r#"
            metadata {"labels":{"a":"1"}}
            spec {"replicas":2}
            ctl Apply at 01: metadata.labels.a spec.replicas
        "#]]);
}

#[test]
fn what_a_manager_no_longer_sends_goes_unless_another_owns_it() {
    World::new("app")
        .applies("ctl", json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"replicas": 2}}))
        .applies("gitops", json!({"metadata": {"labels": {"b": "2"}}}))
        .shows(expect![[r#"
            metadata {"labels":{"a":"1","b":"2"}}
            spec {"replicas":2}
            ctl Apply at 01: metadata.labels.a metadata.labels.b spec.replicas
            gitops Apply at 02: metadata.labels.b
        "#]])
        .applies("ctl", json!({"spec": {"replicas": 2}}))
        .shows(expect![[r#"
            metadata {"labels":{"b":"2"}}
            spec {"replicas":2}
            ctl Apply at 03: spec.replicas
            gitops Apply at 02: metadata.labels.b
        "#]])
        .applies("gitops", json!({}))
        .shows(expect![[r#"
            spec {"replicas":2}
            ctl Apply at 03: spec.replicas
            gitops Apply at 04: 
        "#]]);
}

#[test]
fn another_managers_field_is_not_changed_unless_forced() {
    let contested =
        || World::new("app").applies("gitops", json!({"spec": {"replicas": 3, "minReadySeconds": 1}}));
    contested()
        .applies("ctl", json!({"spec": {"replicas": 3}}))
        .shows(expect![[r#"
        spec {"minReadySeconds":1,"replicas":3}
        ctl Apply at 02: spec.replicas
        gitops Apply at 01: spec.minReadySeconds spec.replicas
    "#]])
        .refuses(
            "ctl",
            json!({"spec": {"replicas": 5, "minReadySeconds": 9}}),
            expect![[r#"
            spec.minReadySeconds: conflict with `gitops`, which has it as `1`, this apply wants `9`
            spec.replicas: conflict with `gitops`, which has it as `3`, this apply wants `5`
        "#]],
        );
    contested().forced().applies("ctl", json!({"spec": {"replicas": 5}})).shows(expect![[r#"
        spec {"minReadySeconds":1,"replicas":5}
        ctl Apply at 02: spec.replicas
        gitops Apply at 01: spec.minReadySeconds
    "#]]);
}

#[test]
fn items_of_a_keyed_list_have_owners_of_their_own() {
    World::new("app")
        .applies("ctl", containers(json!([{"name": "web", "env": [{"name": "A", "value": "1"}]}])))
        .applies("mesh", containers(json!([{"name": "proxy", "command": ["p"]}, {"name": "web", "env": [{"name": "B", "value": "2"}]}])))
        .shows(expect![[r#"
            spec {"template":{"spec":{"containers":[{"command":["p"],"name":"proxy"},{"env":[{"name":"A","value":"1"},{"name":"B","value":"2"}],"name":"web"}]}}}
            ctl Apply at 01: spec.template.spec.containers[name="web"] spec.template.spec.containers[name="web"].env[name="A"] spec.template.spec.containers[name="web"].env[name="A"].name spec.template.spec.containers[name="web"].env[name="A"].value spec.template.spec.containers[name="web"].name
            mesh Apply at 02: spec.template.spec.containers[name="proxy"] spec.template.spec.containers[name="proxy"].command spec.template.spec.containers[name="proxy"].name spec.template.spec.containers[name="web"] spec.template.spec.containers[name="web"].env[name="B"] spec.template.spec.containers[name="web"].env[name="B"].name spec.template.spec.containers[name="web"].env[name="B"].value spec.template.spec.containers[name="web"].name
        "#]])
        .refuses("mesh", containers(json!([{"name": "web", "env": [{"name": "A", "value": "9"}]}])), expect![[r#"
            spec.template.spec.containers[name="web"].env[name="A"].value: conflict with `ctl`, which has it as `"1"`, this apply wants `"9"`
        "#]])
        .applies("mesh", containers(json!([])))
        .shows(expect![[r#"
            spec {"template":{"spec":{"containers":[{"env":[{"name":"A","value":"1"}],"name":"web"}]}}}
            ctl Apply at 01: spec.template.spec.containers[name="web"] spec.template.spec.containers[name="web"].env[name="A"] spec.template.spec.containers[name="web"].env[name="A"].name spec.template.spec.containers[name="web"].env[name="A"].value spec.template.spec.containers[name="web"].name
            mesh Apply at 04: spec.template.spec.containers
        "#]]);
}

#[test]
fn an_atomic_list_is_one_value() {
    World::new("app")
        .applies("ctl", containers(json!([{"name": "web", "command": ["a", "b"]}])))
        .refuses("ops", containers(json!([{"name": "web", "command": ["a"]}])), expect![[r#"
            spec.template.spec.containers[name="web"].command: conflict with `ctl`, which has it as `["a","b"]`, this apply wants `["a"]`
        "#]])
        .applies("ctl", containers(json!([{"name": "web", "command": ["b"]}])))
        .shows(expect![[r#"
            spec {"template":{"spec":{"containers":[{"command":["b"],"name":"web"}]}}}
            ctl Apply at 03: spec.template.spec.containers[name="web"] spec.template.spec.containers[name="web"].command spec.template.spec.containers[name="web"].name
        "#]]);
}

#[test]
fn items_of_a_set_are_owned_each_by_itself() {
    World::new("app")
        .applies("ctl", json!({"metadata": {"finalizers": ["a/x", "b/x"]}}))
        .applies("ops", json!({"metadata": {"finalizers": ["c/x", "a/x"]}}))
        .shows(expect![[r#"
            metadata {"finalizers":["c/x","a/x","b/x"]}
            ctl Apply at 01: metadata.finalizers["a/x"] metadata.finalizers["b/x"]
            ops Apply at 02: metadata.finalizers["a/x"] metadata.finalizers["c/x"]
        "#]])
        .applies("ctl", json!({}))
        .shows(expect![[r#"
            metadata {"finalizers":["c/x","a/x"]}
            ctl Apply at 03: 
            ops Apply at 02: metadata.finalizers["a/x"] metadata.finalizers["c/x"]
        "#]]);
}

#[test]
fn who_owned_an_empty_list_takes_nothing_of_others_away_with_it() {
    let mut world =
        World::new("namespace").applies("ctl", json!({"metadata": {"finalizers": [], "labels": {}}}));
    world.object.as_mut().expect("an object")["metadata"]["finalizers"] = json!(["berth.dev/namespace"]);
    world.applies("ctl", json!({})).shows(expect![[r#"
        metadata {"finalizers":["berth.dev/namespace"]}
        ctl Apply at 02: 
    "#]]);
}

#[test]
fn a_list_follows_the_order_applied_and_nothing_else_moves() {
    let order = |world: &World| {
        let object = world.object.as_ref().expect("an object");
        let items = object["spec"]["template"]["spec"]["containers"].as_array().cloned().unwrap_or_default();
        items.iter().filter_map(|item| item["name"].as_str()).collect::<Vec<_>>().join(" ")
    };
    let named =
        |names: &str| containers(names.split_whitespace().map(|name| json!({"name": name})).collect());
    let mut world = World::new("app");
    for (manager, applied, expected) in [
        ("one", "a b c", "a b c"),
        ("two", "x", "a b c x"),
        ("one", "a b c", "a b c x"),
        ("two", "x", "a b c x"),
        ("one", "c a", "c x a"),
        ("two", "x y", "c x a y"),
        ("one", "c d a", "c x d a y"),
        ("two", "", "c d a"),
    ] {
        world = world.applies(manager, named(applied));
        assert_eq!(order(&world), expected, "{manager} applies {applied}");
    }
}

#[test]
fn what_was_there_before_the_first_apply_belongs_to_somebody() {
    World::new("app")
        .created(
            json!({"metadata": {"labels": {"a": "1"}}, "spec": {"replicas": 2}, "status": {"replicas": 2}}),
        )
        .refuses(
            "ctl",
            json!({"spec": {"replicas": 3}}),
            expect![[r#"
            spec.replicas: conflict with `before-first-apply`, which has it as `2`, this apply wants `3`
        "#]],
        )
        .applies("ctl", json!({"spec": {"replicas": 2, "minReadySeconds": 5}}))
        .shows(expect![[r#"
            metadata {"labels":{"a":"1"}}
            spec {"minReadySeconds":5,"replicas":2}
            status {"replicas":2}
            ctl Apply at 02: spec.minReadySeconds spec.replicas
            before-first-apply Update at 02: metadata.labels.a spec.replicas
        "#]])
        .applies("ctl", json!({}))
        .shows(expect![[r#"
            metadata {"labels":{"a":"1"}}
            spec {"replicas":2}
            status {"replicas":2}
            ctl Apply at 03: 
            before-first-apply Update at 02: metadata.labels.a spec.replicas
        "#]]);
}

#[test]
fn a_write_that_is_no_apply_takes_what_it_changes() {
    World::new("app")
        .created(json!({"spec": {"replicas": 2}}))
        .patches("ops", Part::Main, json!({"spec": {"replicas": 3}}))
        .shows(expect![[r#"
            spec {"replicas":3}
        "#]])
        .applies(
            "ctl",
            json!({"metadata": {"labels": {"a": "1"}}, "spec": {"minReadySeconds": 1, "replicas": 3}}),
        )
        .patches("ops", Part::Main, json!({"metadata": {"labels": {"a": null}}, "spec": {"replicas": 4}}))
        .shows(expect![[r#"
            metadata {"labels":{}}
            spec {"minReadySeconds":1,"replicas":4}
            ctl Apply at 02: spec.minReadySeconds
            ops Update at 03: spec.replicas
        "#]])
        .refuses(
            "ctl",
            json!({"spec": {"replicas": 3}}),
            expect![[r#"
            spec.replicas: conflict with `ops`, which has it as `4`, this apply wants `3`
        "#]],
        )
        .patches("ops", Part::Main, json!({"spec": {"replicas": null}}))
        .shows(expect![[r#"
            metadata {"labels":{}}
            spec {"minReadySeconds":1}
            ctl Apply at 02: spec.minReadySeconds
        "#]]);
}

#[test]
fn the_status_has_owners_of_its_own() {
    let condition = |status: &str| json!({"conditions": [{"type": "Available", "status": status, "lastTransitionTime": "2026-11-21T07:45:35Z", "reason": "", "message": ""}]});
    World::new("app")
        .applies("ctl", json!({"spec": {"replicas": 2}, "status": {"replicas": 9}}))
        .reports("app-controller", condition("False"))
        .patches("app-controller", Part::Status, json!({"status": {"readyReplicas": 1}}))
        .reports("app-controller", condition("True"))
        .applies("ctl", json!({"spec": {"replicas": 2}}))
        .shows(expect![[r#"
            spec {"replicas":2}
            status {"conditions":[{"lastTransitionTime":"2026-11-21T07:45:35Z","message":"","reason":"","status":"True","type":"Available"}],"readyReplicas":1}
            app-controller Apply of the status at 04: status.conditions[type="Available"] status.conditions[type="Available"].lastTransitionTime status.conditions[type="Available"].message status.conditions[type="Available"].reason status.conditions[type="Available"].status status.conditions[type="Available"].type
            ctl Apply at 01: spec.replicas
            app-controller Update of the status at 03: status.readyReplicas
        "#]])
        .reports("app-controller", json!({}))
        .shows(expect![[r#"
            spec {"replicas":2}
            status {"readyReplicas":1}
            app-controller Apply of the status at 06: status
            ctl Apply at 01: spec.replicas
            app-controller Update of the status at 03: status.readyReplicas
        "#]]);
}

#[test]
fn a_scale_lasts_until_a_manifest_names_replicas() {
    World::of_ctl()
        .applies("ctl", json!({"spec": {"minReadySeconds": 1}}))
        .patches("ctl-scale", Part::Main, json!({"spec": {"replicas": 5}}))
        .applies("ctl", json!({"spec": {"minReadySeconds": 2}}))
        .shows(expect![[r#"
            spec {"minReadySeconds":2,"replicas":5}
            ctl Apply at 03: spec.minReadySeconds
            ctl-scale Update at 02: spec.replicas
        "#]])
        .applies("ctl", json!({"spec": {"minReadySeconds": 2, "replicas": 3}}))
        .shows(expect![[r#"
            spec {"minReadySeconds":2,"replicas":3}
            ctl Apply at 04: spec.minReadySeconds spec.replicas
        "#]])
        .applies("ctl", json!({"spec": {"minReadySeconds": 2}}))
        .shows(expect![[r#"
            spec {"minReadySeconds":2}
            ctl Apply at 05: spec.minReadySeconds
        "#]]);
}

#[test]
fn an_apply_after_an_undo_ends_what_the_undo_brought_back() {
    let old = json!([{"name": "web", "image": "oci:/web:1", "env": [{"name": "OLD", "value": "1"}], "livenessProbe": {"tcpSocket": {"port": 1}}}]);
    let new = json!([{"name": "web", "image": "oci:/web:2"}]);
    World::of_ctl()
        .applies("ctl", containers(old.clone()))
        .applies("ctl", containers(new.clone()))
        .patches(
            "ctl-rollout",
            Part::Main,
            merge_patch(containers(old), &json!({"spec": {"restartGeneration": 1}})),
        )
        .shows(expect![[r#"
            spec {"restartGeneration":1,"template":{"spec":{"containers":[{"env":[{"name":"OLD","value":"1"}],"image":"oci:/web:1","livenessProbe":{"tcpSocket":{"port":1}},"name":"web"}]}}}
            ctl Apply at 02: spec.template.spec.containers[name="web"] spec.template.spec.containers[name="web"].name
            ctl-rollout Update at 03: spec.restartGeneration spec.template.spec.containers[name="web"].env[name="OLD"] spec.template.spec.containers[name="web"].env[name="OLD"].name spec.template.spec.containers[name="web"].env[name="OLD"].value spec.template.spec.containers[name="web"].image spec.template.spec.containers[name="web"].livenessProbe.tcpSocket.port
        "#]])
        .applies("ctl", containers(new))
        .shows(expect![[r#"
            spec {"restartGeneration":1,"template":{"spec":{"containers":[{"image":"oci:/web:2","name":"web"}]}}}
            ctl Apply at 04: spec.template.spec.containers[name="web"] spec.template.spec.containers[name="web"].image spec.template.spec.containers[name="web"].name
            ctl-rollout Update at 03: spec.restartGeneration
        "#]]);
}

#[test]
fn what_is_taken_from_ctls_own_verbs_is_told() {
    let mut world = World::of_ctl().applies("ctl", json!({"spec": {"replicas": 2}})).patches(
        "ctl-scale",
        Part::Main,
        json!({"spec": {"replicas": 5}}),
    );
    let taken = world.try_apply("ctl", Part::Main, json!({"spec": {"replicas": 2}})).expect("no conflict");
    let told: Vec<String> =
        taken.iter().map(|taken| format!("{} {}", taken.field, taken.cause().message)).collect();
    expect!["spec.replicas conflict with `ctl-scale`, which has it as `5`, this apply wants `2`"]
        .assert_eq(&told.join("\n"));
}

#[test]
fn what_cannot_be_applied_is_refused_with_every_fault() {
    World::new("app").refuses(
        "ctl",
        json!({
            "metadata": {"managedFields": [{"manager": "me"}]},
            "spec": {"replicsa": 1, "template": {"spec": {"containers": [{"name": "a"}, {"name": "a"}, {"image": "x"}]}}},
        }),
        expect![[r#"
            spec.replicsa: unknown field `replicsa`, did you mean `replicas`?
            spec.template.spec.containers[1].name: is already used by `spec.template.spec.containers[0]`
            spec.template.spec.containers[2].name: is required: name is the key of this list
            metadata.managedFields: is kept by the server and must not be applied: take it out
        "#]],
    );
}

#[test]
fn many_writers_are_folded_into_one() {
    let mut world = World::new("app").applies("ctl", json!({"spec": {"replicas": 0}}));
    for number in 1..=12 {
        let label = json!({"metadata": {"labels": {format!("l{number}"): "x"}}});
        world = world.patches(&format!("writer-{number}"), Part::Main, label);
    }
    world.shows(expect![[r#"
        metadata {"labels":{"l1":"x","l10":"x","l11":"x","l12":"x","l2":"x","l3":"x","l4":"x","l5":"x","l6":"x","l7":"x","l8":"x","l9":"x"}}
        spec {"replicas":0}
        ctl Apply at 01: spec.replicas
        ancient-changes Update at 04: metadata.labels.l1 metadata.labels.l2 metadata.labels.l3
        writer-4 Update at 05: metadata.labels.l4
        writer-5 Update at 06: metadata.labels.l5
        writer-6 Update at 07: metadata.labels.l6
        writer-7 Update at 08: metadata.labels.l7
        writer-8 Update at 09: metadata.labels.l8
        writer-9 Update at 10: metadata.labels.l9
        writer-10 Update at 11: metadata.labels.l10
        writer-11 Update at 12: metadata.labels.l11
        writer-12 Update at 13: metadata.labels.l12
    "#]]);
}

#[test]
fn fields_v1_reads_back_as_kubernetes_writes_it() {
    let tree = json!({
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}, "f:finalizers": {"v:\"a/x\"": {}}},
        "f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {".": {}, "f:name": {}, "f:image": {}}}},
    });
    let set = FieldSet::of_fields_v1(&tree);
    assert_eq!(set.to_fields_v1(), tree);
    let places: Vec<String> = set.places().iter().map(ToString::to_string).collect();
    expect![[r#"
        metadata.finalizers["a/x"]
        metadata.labels
        metadata.labels.app
        spec.containers[name="web"]
        spec.containers[name="web"].image
        spec.containers[name="web"].name"#]]
    .assert_eq(&places.join("\n"));
}
