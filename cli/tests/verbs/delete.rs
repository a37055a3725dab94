//! Objects that are being deleted.

use expect_test::expect;

use super::{WEB, World};

/// An App that a foreign finalizer holds.
fn held(line: &str) -> String {
    WEB.replace("  labels: {tier: front}\n", "  finalizers: [example.com/hold]\n") + line
}

#[test]
fn a_dying_app_takes_no_new_spec_and_the_command_says_so() {
    let world = World::start();
    world.write("web.yaml", &held(""));
    world.write("again.yaml", &held("          env: [{name: ROUND, value: '2'}]\n"));
    world.write("free.yaml", &WEB.replace("  labels: {tier: front}\n", ""));
    world.shows(
        &[
            "apply -f web.yaml",
            "delete app/web --wait=false",
            "apply -f web.yaml",
            "apply -f again.yaml",
            "apply -f again.yaml --dry-run=server",
            "scale app/web --replicas 5",
            "rollout restart app/web",
            "apply -f free.yaml",
            "apply -f free.yaml",
        ],
        expect![[r#"
            $ ctl apply -f web.yaml
            app/web created
            $ ctl delete app/web --wait=false
            app/web is being deleted
            $ ctl apply -f web.yaml
            app/web unchanged
            ! warning: app/web: the object is being deleted and waits for `example.com/hold`; apply it again once it is gone
            $ ctl apply -f again.yaml
            ! error: could not apply app/web
            !   App `web` is being deleted and waits for `example.com/hold`: its spec cannot be changed; write it again once it is gone
            exit code 5
            $ ctl apply -f again.yaml --dry-run=server
            ! error: could not apply app/web
            !   App `web` is being deleted and waits for `example.com/hold`: its spec cannot be changed; write it again once it is gone
            exit code 5
            $ ctl scale app/web --replicas 5
            ! error: could not scale app/web
            !   App `web` is being deleted and waits for `example.com/hold`: its spec cannot be changed; write it again once it is gone
            exit code 5
            $ ctl rollout restart app/web
            ! error: could not restart app/web
            !   App `web` is being deleted and waits for `example.com/hold`: its spec cannot be changed; write it again once it is gone
            exit code 5
            $ ctl apply -f free.yaml
            app/web deleted
            ! app/web: metadata.finalizers ["example.com/hold"] -> none: the lines were removed
            ! warning: app/web: the object was being deleted: this apply removed its last finalizer and so deleted it; apply again to recreate it
            $ ctl apply -f free.yaml
            app/web created
        "#]],
    );
}

#[test]
fn a_namespace_that_is_being_deleted_states_what_it_waits_for() {
    let world = World::start();
    world.write("space.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n");
    world.write("web.yaml", &held(""));
    world.run("apply -f space.yaml");
    world.run("apply -n shop -f web.yaml");
    world.run("delete app/web -n shop --wait=false");
    world.shows(
        &[
            "delete namespace/shop --timeout 2000ms",
            "wait namespace/shop --for=delete --timeout 2000ms",
            "apply -n shop -f web.yaml",
        ],
        expect![[r#"
            $ ctl delete namespace/shop --timeout 2000ms
            ! waiting for namespace/shop: what is in it is deleted first
            ! error: timed out waiting for the deletion
            !   namespace/shop: what is in it is deleted first
            !     app/web: example.com/hold must agree first
            exit code 3
            $ ctl wait namespace/shop --for=delete --timeout 2000ms
            ! waiting for namespace/shop: what is in it is deleted first
            ! error: timed out waiting for deletion
            !   namespace/shop: what is in it is deleted first
            !     app/web: example.com/hold must agree first
            exit code 3
            $ ctl apply -n shop -f web.yaml
            app/web unchanged
            ! warning: app/web: the object is being deleted and waits for `example.com/hold`; apply it again once it is gone
        "#]],
    );
    world.write("new.yaml", &WEB.replace("name: web\n  l", "name: new\n  namespace: shop\n  l"));
    world.shows(
        &["apply -f new.yaml"],
        expect![[r#"
        $ ctl apply -f new.yaml
        ! error: metadata.namespace: Namespace `shop` is being deleted and takes nothing new
        !   --> new.yaml:5:3   (app/new)
        !    |
        !  5 |   namespace: shop
        !    |   ^^^^^^^^^
        !
        ! 1 error; app/new was not applied
        exit code 5
    "#]],
    );
    let (_, told, _) = world.run("describe namespace shop");
    let (_, end) = told.split_once("Status:\n").expect("a status");
    expect![[r#"
          phase: Terminating
        Still in it:
          app/web: example.com/hold must agree first
    "#]]
    .assert_eq(end);
}
