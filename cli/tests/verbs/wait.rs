//! Waits that end, and those that cannot.

use std::os::unix::net::UnixListener;

use berth_client::Write;
use berth_types::app::App;
use expect_test::expect;
use serde_json::json;

use super::{WEB, World, send};

#[test]
fn a_wait_that_cannot_end_or_does_not_says_why() {
    let world = World::start();
    world.write("web.yaml", WEB);
    world.run("apply -f web.yaml");
    world.shows(
        &[
            "wait app/web --for=jsonpath={.spec.replicas}=2",
            "wait app/web --for=jsonpath={.spec.template.spec.containers[0].name}=web",
            "wait app/nope --for=delete",
            "wait app/web --for=condition=Available --timeout 1200ms",
            "rollout status app/nope",
            "get app/nope",
            "describe app/nope",
            "scale app/nope --replicas 1",
        ],
        expect![[r#"
            $ ctl wait app/web --for=jsonpath={.spec.replicas}=2
            app/web has .spec.replicas=2
            $ ctl wait app/web --for=jsonpath={.spec.template.spec.containers[0].name}=web
            app/web has .spec.template.spec.containers.0.name=web
            $ ctl wait app/nope --for=delete
            app/nope is gone
            $ ctl wait app/web --for=condition=Available --timeout 1200ms
            ! waiting for app/web: it has no condition Available yet
            ! error: timed out waiting for condition Available=True
            !   app/web: it has no condition Available yet
            exit code 3
            $ ctl rollout status app/nope
            ! error: app/nope not found
            exit code 1
            $ ctl get app/nope
            ! error: app/nope not found
            exit code 1
            $ ctl describe app/nope
            ! error: app/nope not found
            exit code 1
            $ ctl scale app/nope --replicas 1
            ! error: app/nope not found
            exit code 1
        "#]],
    );
}

#[test]
fn a_rollout_that_cannot_end_has_an_exit_code_of_its_own() {
    let world = World::start();
    let two = format!("{WEB}---\n{}", WEB.replacen("name: web", "name: fine", 1));
    world.write("two.yaml", &two);
    world.run("apply -f two.yaml");
    let stand = |app: &str, reason: &str| {
        let condition = json!({
            "type": "Progressing", "status": "False", "reason": reason,
            "message": "1 of 2 replicas not ready: web-0 BackOff exit 1",
            "lastTransitionTime": "2026-11-21T08:00:00Z",
        });
        let status = json!({ "status": { "observedGeneration": 1, "conditions": [condition] } });
        send(&world, &Write::patch_status::<App>("default", app, status));
    };
    stand("fine", "Complete");
    stand("web", "ProgressDeadlineExceeded");
    world.shows(
        &[
            "rollout status app/web",
            "rollout status app/fine app/web",
            "rollout status app/web --watch=false",
            "apply -f two.yaml --wait",
            "scale app/fine app/web --replicas 2 --wait",
            "rollout status app/fine",
        ],
        expect![[r#"
            $ ctl rollout status app/web
            ! error: app/web: no progress for 600 s; 1 of 2 replicas not ready: web-0 BackOff exit 1
            exit code 6
            $ ctl rollout status app/fine app/web
            ! error: app/web: no progress for 600 s; 1 of 2 replicas not ready: web-0 BackOff exit 1
            exit code 6
            $ ctl rollout status app/web --watch=false
            app/web: no progress for 600 s; 1 of 2 replicas not ready: web-0 BackOff exit 1
            $ ctl apply -f two.yaml --wait
            app/web unchanged
            app/fine unchanged
            ! error: app/web: no progress for 600 s; 1 of 2 replicas not ready: web-0 BackOff exit 1
            exit code 6
            $ ctl scale app/fine app/web --replicas 2 --wait
            app/fine unchanged, it asks for 2 already
            app/web unchanged, it asks for 2 already
            ! error: app/web: no progress for 600 s; 1 of 2 replicas not ready: web-0 BackOff exit 1
            exit code 6
            $ ctl rollout status app/fine
            app/fine is rolled out
        "#]],
    );
}

#[test]
fn a_wait_without_an_answer_says_so() {
    let world = World::start();
    // It takes connections, and never answers.
    let _mute = UnixListener::bind(world.folder.path().join("mute.sock")).expect("a socket");
    world.shows(
        &["wait app/web --for=condition=Available --timeout 1500ms --server unix:mute.sock"],
        expect![[r#"
            $ ctl wait app/web --for=condition=Available --timeout 1500ms --server unix:mute.sock
            ! waiting for app/web: no answer yet
            ! error: timed out waiting for condition Available=True
            !   app/web: no answer yet
            exit code 3
        "#]],
    );
}
