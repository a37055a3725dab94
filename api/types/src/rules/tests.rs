use expect_test::{Expect, expect};
use serde_json::{Value, json};

use crate::fault::Fault;
use crate::kinds::Kind;

/// A valid App that these tests break.
fn app() -> Value {
    json!({
        "apiVersion": "berth.dev/v1",
        "kind": "App",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"tier": "front"}},
        "spec": {
            "replicas": 3,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": "0%"}},
            "template": {
                "metadata": {"labels": {"tier": "front"}},
                "spec": {
                    "nodeSelector": {"disk": "ssd"},
                    "tolerations": [{"operator": "Exists"}, {"key": "gpu", "value": "yes"}],
                    "containers": [{
                        "name": "web",
                        "image": "oci:/srv/images/web:1",
                        "args": ["--listen", "$(PORT_HTTP)"],
                        "env": [{"name": "GREETING", "value": "hello"}],
                        "ports": [{"name": "http"}, {"name": "admin", "hostPort": 9000}],
                        "resources": {"requests": {"cpu": "100m", "memory": "16Mi"}, "limits": {"cpu": 1, "memory": "64Mi", "pids": 100}},
                        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
                        "livenessProbe": {"tcpSocket": {"port": 9000}, "failureThreshold": 3},
                        "securityContext": {"runAsUser": 1000},
                    }],
                },
            },
        },
    })
}

/// Sets the place that `pointer` names; null takes it out.
fn with(mut tree: Value, pointer: &str, value: Value) -> Value {
    let (parent, last) = pointer.rsplit_once('/').expect("a pointer");
    let last = &last.replace("~1", "/");
    let place = tree.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent}"));
    match (place, value) {
        (Value::Array(items), value) => items.insert(last.parse().expect("an index"), value),
        (Value::Object(entries), Value::Null) => drop(entries.remove(last)),
        (place, value) => place[last] = value,
    }
    tree
}

fn faults(tree: &Value) -> String {
    let kind = Kind::of_manifest(tree).expect("a kind");
    kind.validate(tree).iter().map(|fault: &Fault| format!("{fault}\n")).collect()
}

const CONTAINER: &str = "/spec/template/spec/containers/0";

fn broken(changes: &[(&str, Value)], expected: Expect) {
    let tree = changes.iter().fold(app(), |tree, (pointer, value)| {
        with(tree, &pointer.replace("CONTAINER", CONTAINER), value.clone())
    });
    expected.assert_eq(&faults(&tree));
}

#[test]
fn a_valid_app_has_no_fault() {
    assert_eq!(faults(&app()), "");
    let least = json!({
        "apiVersion": "berth.dev/v1", "kind": "App", "metadata": {"name": "web"},
        "spec": {"template": {"spec": {"containers": [{"name": "a", "command": ["true"]}]}}},
    });
    assert_eq!(faults(&least), "");
}

#[test]
fn every_fault_is_found_at_once() {
    broken(
        &[
            ("/metadata/name", json!("My Web")),
            ("/spec/replicas", json!(4000)),
            ("/spec/replicsa", json!(3)),
            ("CONTAINER/image", json!("nginx:1")),
            ("CONTAINER/env/0/value", json!(8080)),
            ("CONTAINER/resources/requests/cpu", json!("-1")),
        ],
        expect![[r#"
            metadata.name: must be lower-case letters, digits and `-`, with a letter or digit at both ends, got `My Web`; `my-web` would do
            spec.replicas: must be at most 1000, got 4000
            spec.replicsa: unknown field `replicsa`, did you mean `replicas`?
            spec.template.spec.containers[0].env[0].value: must be text, got number `8080`: quote it, as `"8080"`
            spec.template.spec.containers[0].image: cannot pull `nginx:1`: pulling from registries is not there yet; name an OCI layout folder on the node as `oci:/srv/images/web:1`, or leave the image out
            spec.template.spec.containers[0].resources.requests[cpu]: must not be negative, got `-1`
        "#]],
    );
}

#[test]
fn numbers_of_an_app_are_bounded() {
    for (pointer, value, expected) in [
        (
            "/spec/replicas",
            json!(1001),
            expect![[r#"
            spec.replicas: must be at most 1000, got 1001
        "#]],
        ),
        (
            "/spec/replicas",
            json!(-1),
            expect![[r#"
            spec.replicas: must not be negative, got -1
        "#]],
        ),
        (
            "/spec/replicas",
            json!("three"),
            expect![[r#"
            spec.replicas: must be a number, got text `three`
        "#]],
        ),
        (
            "/spec/replicas",
            json!("3"),
            expect![[r#"
            spec.replicas: must be a number, got text `3`: take the quotes away
        "#]],
        ),
        (
            "/spec/replicas",
            json!(1.5),
            expect![[r#"
            spec.replicas: must be a whole number, got number `1.5`
        "#]],
        ),
        (
            "/spec/progressDeadlineSeconds",
            json!(0),
            expect![[r#"
                spec.progressDeadlineSeconds: must be at least 1, got 0
            "#]],
        ),
        (
            "/spec/minReadySeconds",
            json!(600),
            expect![[r#"
                spec.minReadySeconds: must be less than progressDeadlineSeconds, which is 600, got 600
            "#]],
        ),
        (
            "/spec/revisionHistoryLimit",
            json!(101),
            expect![[r#"
            spec.revisionHistoryLimit: must be at most 100, got 101
        "#]],
        ),
        (
            "/spec/restartGeneration",
            json!(-3),
            expect![[r#"
            spec.restartGeneration: must not be negative, got -3
        "#]],
        ),
    ] {
        broken(&[(pointer, value)], expected);
    }
}

#[test]
fn a_strategy_must_be_able_to_move() {
    let update = "/spec/strategy/rollingUpdate";
    for (pointer, value, expected) in [
        (
            "/spec/strategy/type",
            json!("rollingUpdate"),
            expect![[r#"
            spec.strategy.type: must be one of `RollingUpdate`, `Recreate`, got `rollingUpdate`, did you mean `RollingUpdate`?
        "#]],
        ),
        (
            "/spec/strategy/type",
            json!("Recreate"),
            expect![[r#"
            spec.strategy.rollingUpdate: must not stand beside type `Recreate`: take one of both out
        "#]],
        ),
        (
            update,
            json!({"maxSurge": 0, "maxUnavailable": "0%"}),
            expect![[r#"
            spec.strategy.rollingUpdate.maxUnavailable: must not be 0 when maxSurge is 0: the rollout could never move
        "#]],
        ),
        (
            update,
            json!({"maxSurge": "1.5%", "maxUnavailable": -1}),
            expect![[r#"
            spec.strategy.rollingUpdate.maxSurge: must be a number or a percentage as `25%`, got `1.5%`
            spec.strategy.rollingUpdate.maxUnavailable: must be a number or a percentage as `25%`, got `-1`
        "#]],
        ),
        (
            update,
            json!({"maxSurge": 1001, "maxUnavailable": "101%"}),
            expect![[r#"
            spec.strategy.rollingUpdate.maxSurge: must be at most 1000, got 1001
            spec.strategy.rollingUpdate.maxUnavailable: must be at most 100%, got 101%
        "#]],
        ),
        (
            update,
            json!({"maxSurge": true}),
            expect![[r#"
            spec.strategy.rollingUpdate.maxSurge: must be a whole number or text, got `true`
        "#]],
        ),
    ] {
        broken(&[(pointer, value)], expected);
    }
}

#[test]
fn containers_are_told_apart_and_run_something() {
    let list = "/spec/template/spec/containers";
    for (pointer, value, expected) in [
        (
            list,
            json!([]),
            expect![[r#"
            spec.template.spec.containers: at least one container is needed
        "#]],
        ),
        (
            list,
            json!({"name": "web"}),
            expect![[r#"
            spec.template.spec.containers: must be a list (each item begins with `- `), got a map
        "#]],
        ),
        (
            list,
            json!([{"name": "a", "command": ["x"]}, {"name": "a", "command": ["x"]}]),
            expect![[r#"
            spec.template.spec.containers[1].name: is already used by `spec.template.spec.containers[0]`
        "#]],
        ),
        (
            list,
            json!([{"command": ["x"]}, "web", {"name": "a/b"}]),
            expect![[r#"
            spec.template.spec.containers[0].name: is needed: the items of this list are told apart by their name
            spec.template.spec.containers[1]: must be a map of `name: value` lines, got text `web`
            spec.template.spec.containers[2].command: is needed without an image: what runs then is a program of the node
            spec.template.spec.containers[2].name: must be lower-case letters, digits and `-`, with a letter or digit at both ends, got `a/b`; `a-b` would do
        "#]],
        ),
        (
            "CONTAINER/image",
            Value::Null,
            expect![[r#"
            spec.template.spec.containers[0].command: is needed without an image: what runs then is a program of the node
        "#]],
        ),
        (
            "CONTAINER/image",
            json!("docker.io/library/nginx"),
            expect![[r#"
            spec.template.spec.containers[0].image: cannot pull `docker.io/library/nginx`: pulling from registries is not there yet; name an OCI layout folder on the node as `oci:/srv/images/web:1`, or leave the image out
        "#]],
        ),
        (
            "CONTAINER/command",
            json!(["", "a\u{0}b"]),
            expect![[r#"
            spec.template.spec.containers[0].command[0]: must name a program, got nothing
            spec.template.spec.containers[0].command[1]: must not have a NUL character in it
        "#]],
        ),
        (
            "CONTAINER/args",
            json!(["-p", 8080, true]),
            expect![[r#"
            spec.template.spec.containers[0].args[1]: must be text, got number `8080`: quote it, as `"8080"`
            spec.template.spec.containers[0].args[2]: must be text, got `true`: quote it, as `"true"`
        "#]],
        ),
        (
            "CONTAINER/workingDir",
            json!("srv/../etc"),
            expect![[r#"
            spec.template.spec.containers[0].workingDir: must be an absolute path without `..`, got `srv/../etc`
        "#]],
        ),
        (
            "CONTAINER/securityContext/runAsUser",
            json!(4294967295u32),
            expect![[r#"
            spec.template.spec.containers[0].securityContext.runAsUser: must be at most 4294967294, got 4294967295
        "#]],
        ),
        (
            "CONTAINER/env",
            json!([{"name": "log-level", "value": ""}, {"name": "A"}, {"name": "A"}]),
            expect![[r#"
                spec.template.spec.containers[0].env[0].name: must be letters, digits and `_`, not beginning with a digit, got `log-level`; `log_level` would do
                spec.template.spec.containers[0].env[2].name: is already used by `spec.template.spec.containers[0].env[1]`
            "#]],
        ),
    ] {
        broken(&[(pointer, value)], expected);
    }
}

#[test]
fn ports_are_unique_in_the_task() {
    let second = json!({"name": "b", "command": ["x"], "ports": [{"name": "http"}, {"name": "x", "hostPort": 9000}, {"name": "8080"}, {"hostPort": 1}]});
    broken(
        &[("/spec/template/spec/containers/1", second)],
        expect![[r#"
        spec.template.spec.containers[1].ports[0].name: is already used by `spec.template.spec.containers[0].ports[0]`
        spec.template.spec.containers[1].ports[1].hostPort: 9000 is already used by `spec.template.spec.containers[0].ports[1]`
        spec.template.spec.containers[1].ports[2].name: must have a letter in it, got `8080`, which would be taken for a number
        spec.template.spec.containers[1].ports[3].name: is needed: the items of this list are told apart by their name
    "#]],
    );
    broken(
        &[("CONTAINER/ports/1/hostPort", json!(0))],
        expect![[r#"
        spec.template.spec.containers[0].ports[1].hostPort: must be at least 1, got 0
    "#]],
    );
    broken(
        &[("CONTAINER/ports/1/hostPort", json!(70000))],
        expect![[r#"
            spec.template.spec.containers[0].ports[1].hostPort: must be at most 65535, got 70000
        "#]],
    );
    broken(
        &[("CONTAINER/ports/1/containerPort", json!(80))],
        expect![[r#"
        spec.template.spec.containers[0].ports[1].containerPort: unknown field `containerPort`, known here: hostPort, name
    "#]],
    );
}

#[test]
fn a_probe_checks_one_thing_at_a_port_of_the_task() {
    let probe = "CONTAINER/readinessProbe";
    for (pointer, value, expected) in [
        (
            probe,
            json!({}),
            expect![[r#"
            spec.template.spec.containers[0].readinessProbe: needs one of httpGet and tcpSocket
        "#]],
        ),
        (
            probe,
            json!({"httpGet": {"port": "http"}, "tcpSocket": {"port": "http"}}),
            expect![[r#"
            spec.template.spec.containers[0].readinessProbe.tcpSocket: must not stand beside httpGet: a probe checks one thing
        "#]],
        ),
        (
            probe,
            json!({"httpGet": {"path": "healthz ", "port": "htp"}}),
            expect![[r#"
            spec.template.spec.containers[0].readinessProbe.httpGet.path: must begin with `/` and have no blanks in it, got `healthz `
            spec.template.spec.containers[0].readinessProbe.httpGet.port: must be the name of a port of this Task, got `htp`, did you mean `http`?
        "#]],
        ),
        (
            probe,
            json!({"tcpSocket": {}}),
            expect![[r#"
            spec.template.spec.containers[0].readinessProbe.tcpSocket.port: is needed: the name of a port, or a number from 1 to 65535
        "#]],
        ),
        (
            probe,
            json!({"tcpSocket": {"port": "9000"}}),
            expect![[r#"
            spec.template.spec.containers[0].readinessProbe.tcpSocket.port: must be a number, got text `9000`: take the quotes away
        "#]],
        ),
        (
            probe,
            json!({"tcpSocket": {"port": 65536}}),
            expect![[r#"
            spec.template.spec.containers[0].readinessProbe.tcpSocket.port: must be at most 65535, got 65536
        "#]],
        ),
        (
            probe,
            json!({"tcpSocket": {"port": 1}, "periodSeconds": 0, "timeoutSeconds": 100_000, "failureThreshold": 0}),
            expect![[r#"
                spec.template.spec.containers[0].readinessProbe.failureThreshold: must be at least 1, got 0
                spec.template.spec.containers[0].readinessProbe.periodSeconds: must be at least 1, got 0
                spec.template.spec.containers[0].readinessProbe.timeoutSeconds: must be at most 86400, got 100000
            "#]],
        ),
        (
            "CONTAINER/livenessProbe/successThreshold",
            json!(2),
            expect![[r#"
            spec.template.spec.containers[0].livenessProbe.successThreshold: must be 1 for a livenessProbe, got 2
        "#]],
        ),
    ] {
        broken(&[(pointer, value)], expected);
    }
}

#[test]
fn amounts_are_positive_and_requests_within_limits() {
    let resources = "CONTAINER/resources";
    for (pointer, value, expected) in [
        (
            resources,
            json!({"requests": {"cpu": 2, "memory": "1Gi"}, "limits": {"cpu": "1500m", "memory": "64Mi"}}),
            expect![[r#"
                spec.template.spec.containers[0].resources.requests[cpu]: must be at most the limit, which is 1500m, got 2
                spec.template.spec.containers[0].resources.requests[memory]: must be at most the limit, which is 64Mi, got 1Gi
            "#]],
        ),
        (
            resources,
            json!({"requests": {"cpus": 1, "pids": 5}, "limits": {"disk": "1Gi", "memory": 64}}),
            expect![[r#"
                spec.template.spec.containers[0].resources.limits[disk]: the name must be one of `cpu`, `memory`, `pids`, got `disk`
                spec.template.spec.containers[0].resources.limits[memory]: must be at least 1Mi, got 64, did you mean `64Mi`?
                spec.template.spec.containers[0].resources.requests[cpus]: the name must be one of `cpu`, `memory`, `disk`, got `cpus`, did you mean `cpu`?
                spec.template.spec.containers[0].resources.requests[pids]: the name must be one of `cpu`, `memory`, `disk`, got `pids`
            "#]],
        ),
        (
            resources,
            json!({"requests": {"cpu": 0, "memory": "64MB", "disk": "1e3"}, "limits": {"pids": "1.5", "cpu": [1]}}),
            expect![[r#"
                spec.template.spec.containers[0].resources.limits[cpu]: must be an amount as `500m` or `64Mi`, got a list
                spec.template.spec.containers[0].resources.limits[pids]: must be a whole number, got 1.5
                spec.template.spec.containers[0].resources.requests[cpu]: must be more than 0: take the line out to ask for nothing
                spec.template.spec.containers[0].resources.requests[disk]: must be a number with an optional suffix (m, k, M, G, T, Ki, Mi, Gi, Ti), got `1e3`
                spec.template.spec.containers[0].resources.requests[memory]: must be a number with an optional suffix (m, k, M, G, T, Ki, Mi, Gi, Ti), got `64MB`
            "#]],
        ),
        (
            resources,
            json!({"request": {"cpu": 1}}),
            expect![[r#"
            spec.template.spec.containers[0].resources.request: unknown field `request`, did you mean `requests`?
        "#]],
        ),
    ] {
        broken(&[(pointer, value)], expected);
    }
}

#[test]
fn a_template_leaves_to_berth_what_is_berths() {
    let spec = "/spec/template/spec";
    broken(
        &[
            (&format!("{spec}/nodeName"), json!("n1")),
            (&format!("{spec}/nodeUid"), json!("u")),
            (&format!("{spec}/assignedPorts"), json!([{"name": "http", "port": 1}])),
            (&format!("{spec}/ordinal"), json!(0)),
            (&format!("{spec}/revision"), json!("web-1")),
            ("/spec/template/metadata/labels/berth.dev~1app", json!("other")),
        ],
        expect![[r#"
            spec.template.metadata.labels[berth.dev/app]: is set by Berth to the App's name: take it out, got `other`
            spec.template.spec.assignedPorts: must not stand in a template, Berth gives it to each Task; to ask for a certain port, give it a hostPort
            spec.template.spec.nodeName: must not stand in a template, Berth gives it to each Task; to keep Tasks on certain nodes, use nodeSelector
            spec.template.spec.nodeUid: must not stand in a template, Berth gives it to each Task; take it out
            spec.template.spec.ordinal: must not stand in a template, Berth gives it to each Task; take it out
            spec.template.spec.revision: must not stand in a template, Berth gives it to each Task; take it out
        "#]],
    );
}

#[test]
fn tolerations_and_times_are_checked() {
    let spec = "/spec/template/spec";
    broken(
        &[(
            &format!("{spec}/tolerations"),
            json!([{"operator": "Equals"}, {"key": "a", "operator": "Exists", "value": "x"}, {"key": "a", "effect": "NoExecute"}]),
        )],
        expect![[r#"
            spec.template.spec.tolerations[0].key: is needed, unless the operator is `Exists`, which then tolerates all taints
            spec.template.spec.tolerations[0].operator: must be one of `Equal`, `Exists`, got `Equals`, did you mean `Equal`?
            spec.template.spec.tolerations[1].value: must be empty when the operator is `Exists`
            spec.template.spec.tolerations[2].effect: must be `NoSchedule`, got `NoExecute`
        "#]],
    );
    broken(
        &[
            (&format!("{spec}/terminationGracePeriodSeconds"), json!(-1)),
            (&format!("{spec}/drainDelaySeconds"), json!(100_000_000)),
            (&format!("{spec}/unreachable"), json!({"replaceAfterSeconds": "15s"})),
            (&format!("{spec}/restart"), json!({"inPlace": -1, "withinSeconds": 0})),
            (&format!("{spec}/nodeSelector"), json!({"a b": "c", "disk": "very fast"})),
        ],
        expect![[r#"
            spec.template.spec.drainDelaySeconds: must be at most 31536000, got 100000000
            spec.template.spec.nodeSelector[a b]: the key must be `name` or `prefix/name`, the name of letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, got `a b`
            spec.template.spec.nodeSelector[disk]: must be letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, got `very fast`
            spec.template.spec.restart.inPlace: must not be negative, got -1
            spec.template.spec.restart.withinSeconds: must be at least 1, got 0
            spec.template.spec.terminationGracePeriodSeconds: must not be negative, got -1
            spec.template.spec.unreachable.replaceAfterSeconds: must be a number, got text `15s`
        "#]],
    );
}

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
fn a_field_at_the_wrong_place_is_told_where_it_belongs() {
    for (pointer, value, expected) in [
        (
            "/replicas",
            json!(3),
            expect![[r#"
            replicas: unknown field `replicas` here, it belongs in `spec`
        "#]],
        ),
        (
            "/spec/containers",
            json!([]),
            expect![[r#"
            spec.containers: unknown field `containers` here, it belongs in `spec.template.spec`
        "#]],
        ),
        (
            "/spec/template/spec/image",
            json!("x"),
            expect![[r#"
            spec.template.spec.image: unknown field `image` here, it belongs in `spec.template.spec.containers[]`
        "#]],
        ),
        (
            "CONTAINER/imagePullPolcy",
            json!("Always"),
            expect![[r#"
                spec.template.spec.containers[0].imagePullPolcy: unknown field `imagePullPolcy`, known here: args, command, env, image, livenessProbe, name, ports, readinessProbe, resources, securityContext, workingDir
            "#]],
        ),
        (
            "CONTAINER/Image",
            json!("x"),
            expect![[r#"
            spec.template.spec.containers[0].Image: unknown field `Image`, did you mean `image`?
        "#]],
        ),
    ] {
        broken(&[(pointer, value)], expected);
    }
    let mut nothing = app();
    nothing["spec"]["template"]["spec"]["nodeSelector"] = Value::Null;
    expect![[r#"
        spec.template.spec.nodeSelector: has no value: give it one, or take the line out
    "#]]
    .assert_eq(&faults(&nothing));
}

fn other(tree: Value, expected: Expect) {
    expected.assert_eq(&faults(&tree));
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
            spec.taints[1].effect: is needed: the items of this list are told apart by their effect
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
        json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e.1"}, "type": "Bad", "reason": "x".repeat(129), "involvedObject": {"kind": "App"}}),
        expect![[r#"
            involvedObject.name: is needed
            reason: must be at most 128 bytes, got 129
            type: must be one of `Normal`, `Warning`, got `Bad`
        "#]],
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
            spec.finalizers: unknown field `finalizers`, nothing may stand here
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
