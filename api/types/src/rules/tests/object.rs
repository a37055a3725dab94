use expect_test::expect;
use serde_json::{Value, json};

use super::{CONTAINER, app, broken, faults, other, with};
use crate::kinds::Kind;

#[test]
fn metadata_keeps_the_rules_of_names() {
    for (pointer, value, expected) in [
        (
            "/metadata/name",
            json!("../../etc"),
            expect![[r#"
            metadata.name: must be lower-case letters, digits and `-`, with a letter or digit at both ends, got `../../etc`; `etc` would do
        "#]],
        ),
        (
            "/metadata/name",
            json!("a".repeat(53)),
            expect![[r#"
            metadata.name: must be at most 52 characters, because its Tasks are called `<app>-<number>`, got 53
        "#]],
        ),
        (
            "/metadata/name",
            Value::Null,
            expect![[r#"
            metadata.name: is needed
        "#]],
        ),
        (
            "/metadata/namespace",
            json!("Shop"),
            expect![[r#"
            metadata.namespace: must be lower-case letters, digits and `-`, with a letter or digit at both ends, got `Shop`; `shop` would do
        "#]],
        ),
        (
            "/metadata/labels",
            json!({"a/b/c": "1", "x": "two words", "y": 3}),
            expect![[r#"
            metadata.labels[a/b/c]: the key must be `name` or `prefix/name`, the name of letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, got `a/b/c`
            metadata.labels[x]: must be letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, got `two words`; an annotation may hold anything
            metadata.labels[y]: must be text, got number `3`: quote it, as `"3"`
        "#]],
        ),
        (
            "/metadata/labels",
            json!(["a"]),
            expect![[r#"
            metadata.labels: must be a map of `name: value` lines, got a list
        "#]],
        ),
        (
            "/metadata/annotations",
            json!({"note": "x".repeat(262_145)}),
            expect![[r#"
            metadata.annotations[note]: must have at most 262144 bytes, got 262145
        "#]],
        ),
        (
            "/metadata/finalizers",
            json!(["berth.dev/node", "a b", "berth.dev/node"]),
            expect![[r#"
            metadata.finalizers[1]: must be `name` or `prefix/name`, the name of letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, got `a b`
            metadata.finalizers[2]: is already used by `metadata.finalizers[0]`
        "#]],
        ),
        (
            "/metadata/ownerReferences",
            json!([{"uid": "1", "kind": "App", "name": "a", "apiVersion": "v1", "controller": true}, {"uid": "2", "controller": true}]),
            expect![[r#"
                metadata.ownerReferences[1].apiVersion: is needed
                metadata.ownerReferences[1].controller: only one owner may be the controller, `metadata.ownerReferences[0]` already is
                metadata.ownerReferences[1].kind: is needed
                metadata.ownerReferences[1].name: is needed
            "#]],
        ),
        (
            "/metadata/ownerReferences",
            json!([{"uid": "u".repeat(254), "kind": "k".repeat(253), "name": "n".repeat(20_000), "apiVersion": "v".repeat(317)},
                {"uid": "u", "kind": "k", "name": "n", "apiVersion": "v".repeat(318)}]),
            expect![[r#"
                metadata.ownerReferences[0].name: must be at most 253 bytes, got 20000
                metadata.ownerReferences[0].uid: must be at most 253 bytes, got 254
                metadata.ownerReferences[1].apiVersion: must be at most 317 bytes, got 318
            "#]],
        ),
        (
            "/metadata/creationTimestamp",
            json!("yesterday"),
            expect![[r#"
            metadata.creationTimestamp: must be a time as `2026-11-21T07:45:35Z`, got text `yesterday`
        "#]],
        ),
        (
            "/metadata/generateName",
            json!("web-"),
            expect![[r#"
                metadata.generateName: unknown field `generateName`
            "#]],
        ),
    ] {
        broken(&[(pointer, value)], expected);
    }
    let null_time = with(app(), "/metadata/annotations", json!({"creationTimestamp": ""}));
    let mut null_time = with(null_time, "/metadata/annotations", Value::Null);
    null_time["metadata"]["creationTimestamp"] = Value::Null;
    assert_eq!(faults(&null_time), "");
}

#[test]
fn the_other_kinds_keep_their_rules() {
    let v1 = "berth.dev/v1";
    other(
        json!({"apiVersion": v1, "kind": "Task", "metadata": {"name": "web-0"}, "spec": {"nodeName": "n1", "containers": []}, "status": {"phase": "running", "conditions": [{"type": "Ready"}]}}),
        expect![[r#"
            spec.containers: at least one container is needed
            spec.nodeName: must stand together with nodeUid: Bind writes both
            status.conditions[0].lastTransitionTime: is needed
            status.conditions[0].status: is needed
            status.phase: must be one of `Pending`, `Starting`, `Running`, `Stopping`, `Succeeded`, `Failed`, got `running`, did you mean `Running`?
        "#]],
    );
    other(
        json!({"apiVersion": v1, "kind": "Node", "metadata": {"name": "n_1", "namespace": "x"}, "spec": {"taints": [{"key": "a b", "effect": "Evict"}, {"key": "c"}]}, "status": {"portRange": {"first": 9, "last": 3}}}),
        expect![[r#"
            metadata.name: must be lower-case letters, digits, `-` and `.`, with a letter or digit at both ends of each part, got `n_1`; `n-1` would do
            metadata.namespace: a Node belongs to no namespace: take the line out
            spec.taints[0].effect: must be `NoSchedule`, got `Evict`
            spec.taints[0].key: must be `name` or `prefix/name`, the name of letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, got `a b`
            spec.taints[1].effect: is required: effect is the key of this list
            status.portRange: must be ports from low to high, got 9 to 3
        "#]],
    );
    other(
        json!({"apiVersion": v1, "kind": "Revision", "metadata": {"name": "web-0123456789"}, "spec": {"number": 0, "template": {"spec": {"containers": [{"name": "a", "image": "x"}]}}}}),
        expect![[r#"
            spec.number: must be at least 1, got 0
            spec.template.spec.containers[0].image: cannot pull `x`: pulling from registries is not there yet; name an OCI layout folder on the node as `oci:/srv/images/web:1`, or leave the image out
        "#]],
    );
    other(
        json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e.1"}, "type": "Bad", "reason": "x".repeat(129), "message": "é".repeat(513), "involvedObject": {"kind": "App"}}),
        expect![[r#"
            involvedObject.name: is needed
            message: must be at most 1024 bytes, got 1026
            reason: must be at most 128 bytes, got 129
            type: must be one of `Normal`, `Warning`, got `Bad`
        "#]],
    );
    other(
        json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e.1"}, "type": "Normal", "reason": "x".repeat(128), "message": "é".repeat(512), "involvedObject": {"kind": "App", "name": "web"}}),
        expect![""],
    );
    other(
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "app"}, "spec": {"leaseDurationSeconds": 0, "renewTime": 5}}),
        expect![[r#"
            spec.leaseDurationSeconds: must be at least 1, got 0
            spec.renewTime: must be text, got number `5`: quote it, as `"5"`
        "#]],
    );
    other(
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a.b"}, "spec": {"finalizers": ["x"]}}),
        expect![[r#"
            metadata.name: must be lower-case letters, digits and `-`, with a letter or digit at both ends, got `a.b`; `a-b` would do
            spec.finalizers: unknown field `finalizers`; no fields are allowed here
        "#]],
    );
}

#[test]
fn sizes_beyond_reason_are_refused() {
    let mut deep = json!(1);
    for _ in 0..70 {
        deep = json!([deep]);
    }
    broken(
        &[("/metadata/managedFields", json!([{"fieldsV1": deep}]))],
        expect![[r#"
        metadata.managedFields[0].fieldsV1[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]: must not be nested deeper than 64
    "#]],
    );
    broken(
        &[("CONTAINER/args", json!(["x".repeat(300_000)]))],
        expect![[r#"
        spec.template.spec.containers[0].args[0]: must have at most 262144 bytes, got 300000
        spec.template.spec.containers[0].command: must be at most 131072 bytes together with args, got 300001
    "#]],
    );
    let many: serde_json::Map<String, Value> = (0..1001).map(|n| (format!("k{n}"), json!("v"))).collect();
    broken(
        &[("/metadata/annotations", Value::Object(many))],
        expect![[r#"
        metadata.annotations: must have at most 1000 entries, got 1001
    "#]],
    );
    let many: Vec<Value> = (0..65).map(|n| json!({"name": format!("c{n}"), "command": ["x"]})).collect();
    broken(
        &[("/spec/template/spec/containers", json!(many))],
        expect![[r#"
        spec.template.spec.containers: must be at most 64, got 65
    "#]],
    );
    let wrong: Vec<Value> = (0..500).map(|n| json!(n)).collect();
    let tree = with(app(), &format!("{CONTAINER}/args"), json!(wrong));
    let found = Kind::named("app").expect("a kind").validate(&tree);
    assert_eq!(found.len(), 101);
    assert_eq!(found[100].message, "has 400 more faults, not listed here");
}
