mod app;
mod container;
mod object;
mod several;

use expect_test::Expect;
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

fn other(tree: Value, expected: Expect) {
    expected.assert_eq(&faults(&tree));
}
