use expect_test::expect;
use serde_json::{Value, json};

use super::{app, broken, faults};

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
fn a_rollout_may_not_be_stuck_before_a_task_could_be_available() {
    let least = |spec: Value| {
        let mut app = json!({
            "apiVersion": "berth.dev/v1", "kind": "App", "metadata": {"name": "web"},
            "spec": {"template": {"spec": {"containers": [{"name": "a", "command": ["true"]}]}}},
        });
        app["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        faults(&app)
    };
    assert_eq!(least(json!({"progressDeadlineSeconds": 11})), "");
    assert_eq!(least(json!({"progressDeadlineSeconds": 10, "minReadySeconds": 0})), "");
    expect![[r#"
        spec.progressDeadlineSeconds: must be more than minReadySeconds, which is 10 without a readinessProbe, got 10
    "#]]
    .assert_eq(&least(json!({"progressDeadlineSeconds": 10})));
    expect![[r#"
        spec.progressDeadlineSeconds: must be more than minReadySeconds, which is 4, got 3
    "#]]
    .assert_eq(&least(json!({"progressDeadlineSeconds": 3, "minReadySeconds": 4})));
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
            spec.replicas: must be a number, got text `3`: remove the quotes
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
        (
            "/spec/restartGeneration",
            json!(9_007_199_254_740_993_i64),
            expect![[r#"
            spec.restartGeneration: must be at most 9007199254740992, got 9007199254740993
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
        spec.template.spec.nodeSelector: has no value: set one or remove the line
    "#]]
    .assert_eq(&faults(&nothing));
}

#[test]
fn a_template_that_could_never_become_a_task_is_refused_with_what_is_left_to_it() {
    let sized = |template: usize, beside: usize| {
        let mut app = app();
        app["metadata"]["annotations"] = json!({"note": "x".repeat(beside)});
        let env =
            (0..template / 10_000).map(|n| json!({"name": format!("A{n}"), "value": "x".repeat(10_000)}));
        app["spec"]["template"]["spec"]["containers"][0]["env"] = env.collect();
        faults(&app)
    };
    assert_eq!(sized(600_000, 0), "");
    assert_eq!(sized(500_000, 200_000), "");
    for (template, beside) in [(640_000, 0), (600_000, 200_000)] {
        let fault = sized(template, beside);
        let words: Vec<&str> = fault.split([' ', ',']).collect();
        let most: usize = words[words.iter().position(|word| *word == "most").unwrap() + 1].parse().unwrap();
        assert!(
            fault.starts_with("spec.template: ") && fault.contains("put large values into the image"),
            "{fault}"
        );
        assert_eq!(sized(most / 10_000 * 10_000 - 10_000, beside), "", "what is told as the most fits");
    }
}
