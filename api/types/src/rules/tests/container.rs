use expect_test::expect;
use serde_json::{Value, json};

use super::broken;

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
            spec.template.spec.containers[0].name: is required: name is the key of this list
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

/// Of three items of every list, each alone is wrong, and is the only one that is told.
#[test]
fn each_item_of_each_list_is_checked() {
    let spec = "spec.template.spec";
    let container = |name: &str| {
        let port = |n: u8| json!({"name": format!("{name}{n}"), "hostPort": 100 * u32::from(name.as_bytes()[0]) + u32::from(n)});
        let variable = |n: u8| json!({"name": format!("V{n}"), "value": "x"});
        json!({
            "name": name, "command": ["x", "y", "z"], "args": ["x", "y", "z"],
            "ports": [port(0), port(1), port(2)],
            "env": [variable(0), variable(1), variable(2)],
            "resources": {
                "requests": {"cpu": 1, "memory": "1Mi", "disk": "1Mi"}, "limits": {"cpu": 1, "memory": "1Mi", "pids": 1},
            },
        })
    };
    let mut tree = super::app();
    let toleration = |key: &str| json!({"key": key, "value": "x"});
    tree["spec"]["template"]["spec"] = json!({
        "containers": [container("a"), container("b"), container("c")],
        "nodeSelector": {"a": "x", "b": "x", "c": "x"},
        "tolerations": [toleration("a"), toleration("b"), toleration("c")],
    });
    tree["spec"]["template"]["metadata"] = json!({"labels": {"a": "x", "b": "x", "c": "x"}});
    assert_eq!(super::faults(&tree), "");
    let mut wrong = Vec::new();
    for n in 0..3 {
        let key = ["a", "b", "c"][n];
        wrong.push((format!("{spec}.nodeSelector[{key}]"), json!("no label")));
        wrong.push((format!("spec.template.metadata.labels[{key}]"), json!("no label")));
        wrong.push((format!("{spec}.tolerations[{n}].value"), json!("no label")));
        wrong.push((format!("{spec}.tolerations[{n}].operator"), json!("Equals")));
        wrong.push((format!("{spec}.tolerations[{n}].effect"), json!("NoExecute")));
        let here = format!("{spec}.containers[{n}]");
        wrong.push((format!("{here}.workingDir"), json!("no/path")));
        for item in 0..3 {
            wrong.push((format!("{here}.command[{item}]"), json!("a\u{0}b")));
            wrong.push((format!("{here}.args[{item}]"), json!("a\u{0}b")));
            wrong.push((format!("{here}.env[{item}].value"), json!("a\u{0}b")));
            wrong.push((format!("{here}.env[{item}].name"), json!("a b")));
            wrong.push((format!("{here}.ports[{item}].name"), json!("1")));
            wrong.push((format!("{here}.ports[{item}].hostPort"), json!(0)));
            let request = ["cpu", "memory", "disk"][item];
            wrong.push((format!("{here}.resources.requests[{request}]"), json!(0)));
            let limit = ["cpu", "memory", "pids"][item];
            wrong.push((format!("{here}.resources.limits[{limit}]"), json!(0)));
        }
    }
    for (path, value) in wrong {
        let broken = super::with(tree.clone(), &pointer(&path), value.clone());
        let faults = super::faults(&broken);
        let alone = faults.lines().all(|fault| fault.starts_with(&format!("{path}: ")));
        // A limit of 0 is less than what is requested, too.
        let alone = alone || path.contains(".limits[");
        assert!(alone && faults.contains(&format!("{path}: ")), "{path} is {value}: {faults}");
    }
}

/// Each pair of three ports of two containers, by name and by number.
#[test]
fn each_port_of_a_task_is_compared_with_each_other() {
    let ports: [(usize, usize); 4] = [(0, 0), (0, 1), (1, 0), (1, 1)];
    let named = |(container, port)| format!("p{container}{port}");
    let numbered = |(container, port)| 80 + 10 * container + port;
    let tree = |same: Option<(usize, usize, &str)>| {
        let mut all: Vec<Value> =
            ports.iter().map(|port| json!({"name": named(*port), "hostPort": numbered(*port)})).collect();
        if let Some((first, second, field)) = same {
            all[second][field] = all[first][field].clone();
        }
        let container =
            |n: usize| json!({"name": format!("c{n}"), "command": ["x"], "ports": all[2 * n..2 * n + 2]});
        let mut tree = super::app();
        tree["spec"]["template"]["spec"] = json!({"containers": [container(0), container(1)]});
        tree
    };
    assert_eq!(super::faults(&tree(None)), "");
    for second in 1..4 {
        for first in 0..second {
            for field in ["name", "hostPort"] {
                let place =
                    |n: usize| format!("spec.template.spec.containers[{}].ports[{}]", ports[n].0, ports[n].1);
                let faults = super::faults(&tree(Some((first, second, field))));
                let told = faults.starts_with(&format!("{}.{field}: ", place(second)))
                    && faults.contains(&format!("is already used by `{}`", place(first)));
                assert!(told && faults.lines().count() == 1, "{field} of {first} and {second}: {faults}");
            }
        }
    }
}

/// A JSON pointer to the place that a fault names.
fn pointer(path: &str) -> String {
    format!("/{}", path.replace(['.', '['], "/").replace(']', ""))
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
        spec.template.spec.containers[1].ports[3].name: is required: name is the key of this list
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
            spec.template.spec.containers[0].readinessProbe.tcpSocket.port: must be a number, got text `9000`: remove the quotes
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
                spec.template.spec.containers[0].resources.limits[disk]: unknown resource `disk`, known here: cpu, memory, pids
                spec.template.spec.containers[0].resources.limits[memory]: must be at least 1Mi, got 64, did you mean `64Mi`?
                spec.template.spec.containers[0].resources.requests[cpus]: unknown resource `cpus`, did you mean `cpu`?
                spec.template.spec.containers[0].resources.requests[pids]: unknown resource `pids`, known here: cpu, memory, disk
            "#]],
        ),
        (
            resources,
            json!({"requests": {"cpu": 0, "memory": "64MB", "disk": "1e3"}, "limits": {"pids": "1.5", "cpu": [1]}}),
            expect![[r#"
                spec.template.spec.containers[0].resources.limits[cpu]: must be an amount as `500m` or `64Mi`, got a list
                spec.template.spec.containers[0].resources.limits[pids]: must be a whole number, got 1.5
                spec.template.spec.containers[0].resources.requests[cpu]: must be greater than 0; remove the line to request nothing
                spec.template.spec.containers[0].resources.requests[disk]: must be a number with an optional suffix (m, k, M, G, T, Ki, Mi, Gi, Ti), got `1e3`, did you mean `1000`?
                spec.template.spec.containers[0].resources.requests[memory]: must be a number with an optional suffix (m, k, M, G, T, Ki, Mi, Gi, Ti), got `64MB`, did you mean `64M`?
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
fn what_no_process_can_be_started_with_is_refused_in_its_line() {
    let variable = |name: &str, value: String| json!({"name": name, "value": value});
    let longest = |name: &str| "x".repeat(crate::expand::LONGEST - 1 - name.len());
    // Ten references in each line: were they built, the last would have 10^20 bytes. What refers to it is not at fault.
    let growing: Vec<Value> = (0..20)
        .map(|n: usize| {
            variable(
                &format!("V{n}"),
                if n == 0 { "0123456789".into() } else { format!("$(V{})", n - 1).repeat(10) },
            )
        })
        .collect();
    let many: Vec<Value> = (0..21).map(|n| variable(&format!("V{n}"), "x".repeat(100_000))).collect();
    for (changes, expected) in [
        (
            vec![("CONTAINER/env", json!([variable("A", longest("A")), variable("B", "$(A)".into())]))],
            expect![""],
        ),
        (
            vec![("CONTAINER/env", json!([variable("A", longest("A") + "x"), variable("BB", longest("B"))]))],
            expect![[r#"
                spec.template.spec.containers[0].env[0].value: must be at most 131071 bytes with its name, references replaced, got 131072
                spec.template.spec.containers[0].env[1].value: must be at most 131071 bytes with its name, references replaced, got 131072
            "#]],
        ),
        (
            vec![("CONTAINER/env", json!(growing))],
            expect![[r#"
                spec.template.spec.containers[0].env[5].value: must be at most 131071 bytes with its name, references replaced, got 1000003
            "#]],
        ),
        // What image, ports and node define may be short, and a name that comes later stands for itself.
        (
            vec![(
                "CONTAINER/env",
                json!([variable("A", "$(PORT)".repeat(30_000)), variable("PORT", "1".into())]),
            )],
            expect![""],
        ),
        (
            vec![
                ("CONTAINER/env", json!([variable("A", "x".repeat(1000))])),
                ("CONTAINER/command", json!(["sh", "$(A)".repeat(131), "$(A)".repeat(132)])),
                ("CONTAINER/args", json!(["$(A)".repeat(200)])),
            ],
            expect![[r#"
                spec.template.spec.containers[0].args[0]: must be at most 131071 bytes once references are replaced, got 200000
                spec.template.spec.containers[0].command[2]: must be at most 131071 bytes once references are replaced, got 132000
            "#]],
        ),
        (
            vec![("CONTAINER/env", json!(many))],
            expect![[r#"
                spec.template: must be at most 624840 bytes as JSON beside the rest of this App, got 2101127: an App is stored together with its first Task; put large values into the image or into a file of the node, or take several Apps
                spec.template.spec.containers[0].env: must be at most 2088960 bytes together with command and args, references replaced, got 2100289
            "#]],
        ),
    ] {
        broken(&changes, expected);
    }
}
