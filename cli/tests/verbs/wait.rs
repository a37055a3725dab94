//! Waits that end, and those that cannot.

use std::os::unix::net::UnixListener;

use expect_test::expect;

use super::{WEB, World};

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
