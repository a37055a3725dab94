//! What `describe` says of each kind.

use expect_test::expect;

use super::{WEB, World};

#[test]
fn a_story_is_told_of_every_kind() {
    let world = World::start();
    world.write("web.yaml", WEB);
    world.write("node.yaml", "apiVersion: berth.dev/v1\nkind: Node\nmetadata: {name: one, labels: {zone: a}}\nspec: {unschedulable: true}\n");
    world.run("apply -f web.yaml -f node.yaml");
    let (code, told, stderr) = world.run("describe app,node,ns");
    assert_eq!((code, stderr.as_str()), (0, ""));
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
    "#]]
    .assert_eq(&told);
}
