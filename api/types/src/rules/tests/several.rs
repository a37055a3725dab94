//! Rules over lists, with several items that break them: each is found, at its own place.

use expect_test::expect;
use serde_json::{Value, json};

use super::{broken, other};

#[test]
fn each_double_of_a_list_is_found_with_the_first_of_its_own() {
    let variable = |name: &str| json!({"name": name, "value": "x"});
    let names: Vec<Value> = ["A", "B", "A", "C", "B", "A"].into_iter().map(variable).collect();
    broken(
        &[("CONTAINER/env", json!(names))],
        expect![[r#"
        spec.template.spec.containers[0].env[2].name: is already used by `spec.template.spec.containers[0].env[0]`
        spec.template.spec.containers[0].env[4].name: is already used by `spec.template.spec.containers[0].env[1]`
        spec.template.spec.containers[0].env[5].name: is already used by `spec.template.spec.containers[0].env[0]`
    "#]],
    );
    broken(
        &[("/metadata/finalizers", json!(["a/b", "c/d", "c/d", "a/b", "e/f", "c/d"]))],
        expect![[r#"
        metadata.finalizers[2]: is already used by `metadata.finalizers[1]`
        metadata.finalizers[3]: is already used by `metadata.finalizers[0]`
        metadata.finalizers[5]: is already used by `metadata.finalizers[1]`
    "#]],
    );
    let taint = |key: &str, value: &str| json!({"key": key, "value": value, "effect": "NoSchedule"});
    let node = |taints: Value| json!({"apiVersion": "berth.dev/v1", "kind": "Node", "metadata": {"name": "n"}, "spec": {"taints": taints}});
    other(
        node(json!([taint("a", "1"), taint("b", "1"), taint("b", "2"), taint("a", "3")])),
        expect![[r#"
        spec.taints[2].key: is already used by `spec.taints[1]`
        spec.taints[3].key: is already used by `spec.taints[0]`
    "#]],
    );
    other(
        node(
            json!([taint("a", "1"), {"key": "b", "effect": "x"}, taint("c d", "1"), {"key": "d", "effect": "y"}]),
        ),
        expect![[r#"
            spec.taints[1].effect: must be `NoSchedule`, got `x`
            spec.taints[2].key: must be `name` or `prefix/name`, the name of letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, got `c d`
            spec.taints[3].effect: must be `NoSchedule`, got `y`
        "#]],
    );
}

#[test]
fn an_item_without_its_key_does_not_hide_the_doubles_after_it() {
    broken(
        &[(
            "CONTAINER/env",
            json!([{"name": "A"}, {"value": "x"}, {"name": "A"}, {"value": "y"}, {"name": "A"}]),
        )],
        expect![[r#"
            spec.template.spec.containers[0].env[1].name: is required: name is the key of this list
            spec.template.spec.containers[0].env[2].name: is already used by `spec.template.spec.containers[0].env[0]`
            spec.template.spec.containers[0].env[3].name: is required: name is the key of this list
            spec.template.spec.containers[0].env[4].name: is already used by `spec.template.spec.containers[0].env[0]`
        "#]],
    );
}

#[test]
fn ports_are_compared_over_all_containers() {
    let container = |name: &str, ports: Value| json!({"name": name, "command": ["x"], "ports": ports});
    let containers = json!([
        container("a", json!([{"name": "http", "hostPort": 80}, {"name": "two", "hostPort": 81}])),
        container("b", json!([{"name": "other", "hostPort": 81}, {"name": "http", "hostPort": 82}])),
        container("c", json!([{"name": "two", "hostPort": 80}, {"name": "http", "hostPort": 82}])),
    ]);
    broken(
        &[("/spec/template/spec/containers", containers)],
        expect![[r#"
        spec.template.spec.containers[1].ports[0].hostPort: 81 is already used by `spec.template.spec.containers[0].ports[1]`
        spec.template.spec.containers[1].ports[1].name: is already used by `spec.template.spec.containers[0].ports[0]`
        spec.template.spec.containers[2].ports[0].hostPort: 80 is already used by `spec.template.spec.containers[0].ports[0]`
        spec.template.spec.containers[2].ports[0].name: is already used by `spec.template.spec.containers[0].ports[1]`
        spec.template.spec.containers[2].ports[1].hostPort: 82 is already used by `spec.template.spec.containers[1].ports[1]`
        spec.template.spec.containers[2].ports[1].name: is already used by `spec.template.spec.containers[0].ports[0]`
    "#]],
    );
}

#[test]
fn the_second_of_two_mistakes_is_found_in_every_list() {
    let container = |name: &str, changes: Value| {
        let mut container = json!({"name": name, "command": ["x"]});
        container.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        container
    };
    let containers = json!([
        container("a", json!({"env": [{"name": "1A"}, {"name": "B"}, {"name": "2A"}]})),
        container("b", json!({"command": ["x", "a\u{0}", "b", "c\u{0}"], "args": ["d\u{0}"]})),
        container("c", json!({"workingDir": "x"})),
        container("d", json!({"workingDir": "/ok", "livenessProbe": {"tcpSocket": {"port": "no"}}})),
        container("e", json!({"readinessProbe": {"tcpSocket": {"port": "nope"}}})),
    ]);
    broken(
        &[
            ("/spec/template/spec/containers", containers),
            (
                "/spec/template/spec/tolerations",
                json!([{"key": "a"}, {"effect": "x"}, {"key": "b", "operator": "y"}]),
            ),
            ("/metadata/labels", json!({"ok": "yes", "a b": "x", "c": "d e", "f": "g", "h i": "j"})),
            ("/metadata/finalizers", json!(["a b", "ok/ok", "c d"])),
            ("/metadata/annotations", json!({"A/fine": "any thing", "b c": "x", "d": "e f", "g h": "i"})),
            ("/spec/template/metadata/labels", json!({"a": "fine", "b": "c d", "e": "f g"})),
            ("/spec/template/metadata/annotations", json!({"a": "fine", "b c": "x", "d e": "x"})),
            ("/spec/template/spec/nodeSelector", json!({"a": "fine", "b": "c d", "e f": "g"})),
        ],
        expect![[r#"
            metadata.annotations[b c]: the key must be `name` or `prefix/name`, the name of letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, got `b c`
            metadata.annotations[g h]: the key must be `name` or `prefix/name`, the name of letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, got `g h`
            metadata.finalizers[0]: must be `name` or `prefix/name`, the name of letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, got `a b`
            metadata.finalizers[2]: must be `name` or `prefix/name`, the name of letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, got `c d`
            metadata.labels[a b]: the key must be `name` or `prefix/name`, the name of letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, got `a b`
            metadata.labels[c]: must be letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, got `d e`; an annotation may hold anything
            metadata.labels[h i]: the key must be `name` or `prefix/name`, the name of letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, got `h i`
            spec.template.metadata.annotations[b c]: the key must be `name` or `prefix/name`, the name of letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, got `b c`
            spec.template.metadata.annotations[d e]: the key must be `name` or `prefix/name`, the name of letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, got `d e`
            spec.template.metadata.labels[b]: must be letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, got `c d`; an annotation may hold anything
            spec.template.metadata.labels[e]: must be letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, got `f g`; an annotation may hold anything
            spec.template.spec.containers[0].env[0].name: must be letters, digits and `_`, not beginning with a digit, got `1A`
            spec.template.spec.containers[0].env[2].name: must be letters, digits and `_`, not beginning with a digit, got `2A`
            spec.template.spec.containers[1].args[0]: must not have a NUL character in it
            spec.template.spec.containers[1].command[1]: must not have a NUL character in it
            spec.template.spec.containers[1].command[3]: must not have a NUL character in it
            spec.template.spec.containers[2].workingDir: must be an absolute path without `..`, got `x`
            spec.template.spec.containers[3].livenessProbe.tcpSocket.port: must be the name of a port of this Task, got `no`
            spec.template.spec.containers[4].readinessProbe.tcpSocket.port: must be the name of a port of this Task, got `nope`
            spec.template.spec.nodeSelector[b]: must be letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, got `c d`
            spec.template.spec.nodeSelector[e f]: the key must be `name` or `prefix/name`, the name of letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, got `e f`
            spec.template.spec.tolerations[1].effect: must be `NoSchedule`, got `x`
            spec.template.spec.tolerations[1].key: is needed, unless the operator is `Exists`, which then tolerates all taints
            spec.template.spec.tolerations[2].operator: must be one of `Equal`, `Exists`, got `y`
        "#]],
    );
}

#[test]
fn the_third_owner_is_looked_at_like_the_first() {
    let owner = |uid: &str, controller: bool| json!({"apiVersion": "v1", "kind": "App", "name": "a", "uid": uid, "controller": controller});
    broken(
        &[(
            "/metadata/ownerReferences",
            json!([owner("1", false), owner("2", true), owner("3", true), {"uid": "4"}]),
        )],
        expect![[r#"
            metadata.ownerReferences[2].controller: only one owner may be the controller, `metadata.ownerReferences[1]` already is
            metadata.ownerReferences[3].apiVersion: is needed
            metadata.ownerReferences[3].kind: is needed
            metadata.ownerReferences[3].name: is needed
        "#]],
    );
    broken(
        &[("/metadata/ownerReferences", json!([owner("1", true), owner("2", false), owner("1", false)]))],
        expect![[r#"
            metadata.ownerReferences[2].uid: is already used by `metadata.ownerReferences[0]`
        "#]],
    );
}

#[test]
fn conditions_of_a_status_are_all_looked_at() {
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "R", "lastTransitionTime": "2026-11-21T07:45:35Z"});
    let conditions = json!([
        condition("A", "True"),
        condition("B", "Maybe"),
        condition("A", "False"),
        condition("C", "no")
    ]);
    broken(
        &[("/status", json!({"conditions": conditions}))],
        expect![[r#"
        status.conditions[1].status: must be one of `True`, `False`, `Unknown`, got `Maybe`
        status.conditions[2].type: is already used by `status.conditions[0]`
        status.conditions[3].status: must be one of `True`, `False`, `Unknown`, got `no`
    "#]],
    );
}

/// A request is compared with its own limit only, and with none that is at fault itself.
#[test]
fn each_request_is_compared_with_its_own_limit() {
    for (resources, expected) in [
        (
            json!({"requests": {"cpu": "2", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "128Mi"}}),
            expect![[r#"
                spec.template.spec.containers[0].resources.requests[cpu]: must be at most the limit, which is 1, got 2
            "#]],
        ),
        (
            json!({"requests": {"cpu": "1", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "128Mi"}}),
            expect![[r#"
                spec.template.spec.containers[0].resources.requests[memory]: must be at most the limit, which is 128Mi, got 256Mi
            "#]],
        ),
        (
            json!({"requests": {"cpu": "2", "memory": "64Mi"}, "limits": {"cpu": "1x", "memory": "512m"}}),
            expect![[r#"
                spec.template.spec.containers[0].resources.limits[cpu]: must be a number with an optional suffix (m, k, M, G, T, Ki, Mi, Gi, Ti), got `1x`
                spec.template.spec.containers[0].resources.limits[memory]: must be at least 1Mi, got 512m, did you mean `512Mi`?
            "#]],
        ),
        (
            json!({"requests": {"cpu": "64Mi", "memory": "64"}, "limits": {"cpu": "1", "memory": "32"}}),
            expect![[r#"
                spec.template.spec.containers[0].resources.limits[memory]: must be at least 1Mi, got 32, did you mean `32Mi`?
                spec.template.spec.containers[0].resources.requests[cpu]: must be cores, as `2`, or thousandths of a core, as `500m`, got 64Mi
                spec.template.spec.containers[0].resources.requests[memory]: must be at least 1Mi, got 64, did you mean `64Mi`?
            "#]],
        ),
    ] {
        broken(&[("CONTAINER/resources", resources)], expected);
    }
}
