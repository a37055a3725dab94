//! What a template means: two that differ only in how they are written, or in what no running process notices, are one
//! Revision.

use crate::app::TaskTemplate;
use crate::quantity::{Bytes, Millicores, Quantity, ResourceList};
use crate::task::{Container, HttpGet, Probe, SecurityContext, Toleration};

impl TaskTemplate {
    /// The template with every amount and default written in one way, and without the fields that a Task takes on with
    /// its creation and no process of it notices: restarts, drain, grace and what happens when its node is away.
    pub fn meaning(&self) -> TaskTemplate {
        let mut template = self.clone();
        let spec = &mut template.spec;
        spec.restart = None;
        spec.termination_grace_period_seconds = None;
        spec.drain_delay_seconds = None;
        spec.unreachable = None;
        spec.tolerations.iter_mut().for_each(plain_toleration);
        spec.tolerations.sort_by_cached_key(|one| {
            [one.key.clone(), one.operator.clone(), one.value.clone(), one.effect.clone()]
        });
        spec.containers.iter_mut().for_each(plain_container);
        template
    }
}

fn plain_container(container: &mut Container) {
    plain_amounts(&mut container.resources.requests);
    plain_amounts(&mut container.resources.limits);
    for probe in [&mut container.readiness_probe, &mut container.liveness_probe].into_iter().flatten() {
        plain_probe(probe);
    }
    if let Some(user) = container.security_context.as_mut().filter(|_| container.image.is_empty()) {
        plain_user(user);
    }
    container.security_context.take_if(|given| *given == SecurityContext::default());
}

/// Without the ids that say what their absence says in a container without image.
fn plain_user(user: &mut SecurityContext) {
    let ids = user.without_image();
    let without_group = SecurityContext { run_as_group: None, ..user.clone() };
    if without_group.without_image() == ids {
        *user = without_group;
    }
    let without_user = SecurityContext { run_as_user: None, ..user.clone() };
    if without_user.without_image() == ids {
        *user = without_user;
    }
}

fn plain_amounts(amounts: &mut ResourceList) {
    for (resource, amount) in amounts {
        // One that cannot be read is left as it is.
        let Ok(millis) = amount.millis() else { continue };
        *amount = match resource.as_str() {
            "cpu" => Quantity::of_millicores(Millicores(millis)),
            _ if millis % 1000 == 0 => Quantity::of_bytes(Bytes(millis / 1000)),
            _ => Quantity::new(format!("{millis}m")),
        };
    }
}

/// Without the numbers that say what their absence says.
fn plain_probe(probe: &mut Probe) {
    let absent = Probe::default();
    let (delay, period, timeout) = (absent.initial_delay(), absent.period(), absent.timeout());
    let (successes, failures) = (absent.successes(), absent.failures());
    if probe.initial_delay() == delay {
        probe.initial_delay_seconds = None;
    }
    if probe.period() == period {
        probe.period_seconds = None;
    }
    if probe.timeout() == timeout {
        probe.timeout_seconds = None;
    }
    if probe.successes() == successes {
        probe.success_threshold = None;
    }
    if probe.failures() == failures {
        probe.failure_threshold = None;
    }
    if let Some(HttpGet { path, .. }) = &mut probe.http_get
        && path == "/"
    {
        path.clear();
    }
}

fn plain_toleration(toleration: &mut Toleration) {
    if toleration.operator == "Equal" {
        toleration.operator.clear();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn template(more: Value) -> TaskTemplate {
        let mut tree = json!({ "spec": {
            "restart": { "inPlace": 9 },
            "containers": [{
                "name": "web",
                "resources": { "requests": { "cpu": "100m", "memory": "16Mi" }, "limits": { "cpu": 1, "pids": 50 } },
                "readinessProbe": { "httpGet": { "port": "http" } },
            }, { "name": "side", "livenessProbe": { "tcpSocket": { "port": 80 } } }],
            "tolerations": [{ "key": "a", "value": "b" }, { "key": "c", "operator": "Exists" }],
        } });
        merge(&mut tree, more);
        serde_json::from_value(tree).unwrap()
    }

    /// Lists item by item, so that a case names only what it changes.
    fn merge(tree: &mut Value, more: Value) {
        match (tree, more) {
            (Value::Object(tree), Value::Object(more)) => {
                for (key, value) in more {
                    merge(tree.entry(key).or_insert(Value::Null), value);
                }
            }
            (Value::Array(tree), Value::Array(more)) => {
                tree.iter_mut().zip(more).for_each(|(item, more)| merge(item, more));
            }
            (_, Value::Null) => {}
            (tree, more) => *tree = more,
        }
    }

    fn containers(first: Value, second: Value) -> Value {
        json!({ "spec": { "containers": [first, second] } })
    }

    fn user(ids: Value) -> Value {
        containers(json!({}), json!({ "securityContext": ids }))
    }

    #[test]
    fn templates_that_say_the_same_in_other_words_mean_the_same() {
        let same = |probe: Value| containers(json!({ "readinessProbe": probe }), json!({}));
        for other in [
            json!({}),
            containers(
                json!({ "resources": { "requests": { "cpu": 0.1, "memory": "16384Ki" } } }),
                json!({}),
            ),
            containers(json!({ "resources": { "limits": { "cpu": "1000m", "pids": "50.0" } } }), json!({})),
            containers(json!({ "resources": { "limits": { "cpu": "1.0" } } }), json!({})),
            same(json!({ "httpGet": { "path": "/" } })),
            same(json!({ "initialDelaySeconds": 0, "periodSeconds": 1, "timeoutSeconds": 1 })),
            same(json!({ "successThreshold": 1, "failureThreshold": 3 })),
            containers(
                json!({}),
                json!({ "livenessProbe": { "failureThreshold": 3 }, "securityContext": {} }),
            ),
            json!({ "spec": { "tolerations": [{ "operator": "Equal" }] } }),
            json!({ "spec": { "tolerations": [
                { "key": "c", "operator": "Exists", "value": "" }, { "key": "a", "operator": "", "value": "b" },
            ] } }),
            json!({ "spec": { "restart": { "inPlace": 0, "withinSeconds": 5 } } }),
            json!({ "spec": { "terminationGracePeriodSeconds": 30 } }),
            json!({ "spec": { "terminationGracePeriodSeconds": 7, "drainDelaySeconds": 0 } }),
            json!({ "spec": { "unreachable": { "replaceAfterSeconds": 45 } } }),
            user(json!({ "runAsUser": 65534, "runAsGroup": 65534 })),
            user(json!({ "runAsUser": 65534 })),
            user(json!({ "runAsGroup": 65534 })),
        ] {
            assert_eq!(template(other.clone()).meaning(), template(json!({})).meaning(), "{other}");
        }
        for (one, other) in [
            (json!({ "runAsUser": 0 }), json!({ "runAsUser": 0, "runAsGroup": 0 })),
            (json!({ "runAsUser": 1000 }), json!({ "runAsUser": 1000, "runAsGroup": 65534 })),
            (json!({ "runAsGroup": 0 }), json!({ "runAsUser": 65534, "runAsGroup": 0 })),
        ] {
            assert_eq!(template(user(one)).meaning(), template(user(other.clone())).meaning(), "{other}");
        }
    }

    #[test]
    fn what_a_process_notices_has_another_meaning() {
        let probe = |probe: Value| containers(json!({ "readinessProbe": probe }), json!({}));
        for other in [
            json!({ "metadata": { "labels": { "a": "b" } } }),
            json!({ "spec": { "nodeSelector": { "zone": "a" } } }),
            json!({ "spec": { "tolerations": [{ "value": "d" }] } }),
            containers(json!({ "resources": { "requests": { "cpu": "101m" } } }), json!({})),
            containers(json!({ "resources": { "limits": { "pids": 51 } } }), json!({})),
            containers(json!({}), json!({ "resources": { "limits": { "memory": "16Mi" } } })),
            user(json!({ "runAsUser": 0 })),
            user(json!({ "runAsUser": 1000 })),
            user(json!({ "runAsGroup": 0 })),
            user(json!({ "runAsGroup": 100 })),
            containers(json!({}), json!({ "env": [{ "name": "A" }] })),
            probe(json!({ "httpGet": { "path": "/up" } })),
            probe(json!({ "initialDelaySeconds": 1 })),
            probe(json!({ "periodSeconds": 2 })),
            probe(json!({ "timeoutSeconds": 2 })),
            probe(json!({ "successThreshold": 2 })),
            probe(json!({ "failureThreshold": 4 })),
        ] {
            assert_ne!(template(other.clone()).meaning(), template(json!({})).meaning(), "{other}");
        }
        // An image has a user and a group of its own.
        let imaged = |ids: Value| {
            template(containers(json!({}), json!({ "image": "oci:/i", "securityContext": ids }))).meaning()
        };
        let root_of_group = |group: u32| json!({ "runAsUser": 0, "runAsGroup": group });
        for (one, other) in [
            (json!({}), json!({ "runAsUser": 65534 })),
            (json!({}), json!({ "runAsGroup": 65534 })),
            (json!({ "runAsUser": 0 }), root_of_group(0)),
        ] {
            assert_ne!(imaged(one), imaged(other.clone()), "{other}");
        }
        // What is the group of others is not the one of root.
        let root = template(user(root_of_group(65534))).meaning();
        assert_ne!(root, template(user(json!({ "runAsUser": 0 }))).meaning());
    }
}
