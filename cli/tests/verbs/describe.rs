//! What `describe` says of each kind.

use expect_test::expect;

use super::{WEB, World};

#[test]
fn a_story_is_told_of_every_kind() {
    let world = World::start();
    world.write("web.yaml", WEB);
    world.write("node.yaml", "apiVersion: berth.dev/v1\nkind: Node\nmetadata: {name: one, labels: {zone: a}}\nspec: {unschedulable: true}\n");
    world.write("event.yaml", "apiVersion: v1\nkind: Event\nmetadata: {name: web.1}\ntype: Warning\nreason: BackOff\nmessage: it waits\ninvolvedObject: {kind: App, name: web}\ncount: 3\nsource: {component: app}\n");
    let applied = world.run("apply -f web.yaml -f node.yaml -f event.yaml");
    assert_eq!(applied.0, 0, "{applied:?}");
    let all = [world.run("describe app,node,ns"), world.run("describe event web.1")];
    assert!(all.iter().all(|(code, _, stderr)| (*code, stderr.as_str()) == (0, "")), "{all:?}");
    let told = all.map(|(_, told, _)| told).join("\n");
    let told: String =
        told.lines().filter(|line| !line.starts_with("Created:")).map(|line| format!("{line}\n")).collect();
    expect![[r#"
        Name:         web
        Kind:         App
        Namespace:    default
        Labels:       tier=front
        Status:       Pending
        Replicas:     2 asked for; 0 there, 0 updated, 0 ready, 0 available
        Strategy:     RollingUpdate, 25% more and 25% missing at most
        Containers:
          web: sleep 100

        Name:         one
        Kind:         Node
        Labels:       zone=a
        Status:       Unknown,Cordoned

        Name:         berth-system
        Kind:         Namespace
        Status:
          phase: Active

        Name:         default
        Kind:         Namespace
        Status:
          phase: Active

        Name:         web.1
        Kind:         Event
        Namespace:    default
        Object:       app/web
        Type:         Warning
        Reason:       BackOff
        Message:      it waits
        Count:        3
        Source:       app
    "#]]
    .assert_eq(&told);
}
