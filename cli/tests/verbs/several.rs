//! Several objects of which some are refused: the others are dealt with all the same, and the exit code is that of the
//! first refusal, wherever it stands.

use super::{WEB, World};

/// A document that applies, or is refused with this exit code.
fn document(name: &str) -> String {
    let app = WEB.replacen("name: web", &format!("name: {name}"), 1);
    match name {
        "homeless" => app.replacen("  name: homeless", "  name: homeless\n  namespace: nowhere", 1),
        "owned" => app.replacen("replicas: 2", "replicas: 3", 1),
        _ => app,
    }
}

/// Runs the verb over three names of which those in `refused` are refused, with these exit codes.
fn orders(refused: &[(&'static str, i32)]) -> Vec<(Vec<&'static str>, i32)> {
    let mut orders = Vec::new();
    for (name, code) in refused {
        orders.push((vec![*name, "a", "b"], *code));
        orders.push((vec!["a", *name, "b"], *code));
        orders.push((vec!["a", "b", *name], *code));
    }
    for (first, code) in refused {
        for (second, _) in refused.iter().filter(|(second, _)| second != first) {
            orders.push((vec![*first, "a", *second], *code));
            orders.push((vec!["a", *first, *second], *code));
        }
    }
    orders.push((vec!["a", "b"], 0));
    orders
}

fn names(world: &World) -> Vec<String> {
    world.run("get apps -o name").1.lines().map(|line| line.replace("app/", "")).collect()
}

#[test]
fn an_apply_goes_on_and_tells_the_first_refusal() {
    for (order, code) in orders(&[("homeless", 1), ("owned", 5)]) {
        let world = World::start();
        world.write("owned.yaml", &document("owned"));
        world.run("apply -f owned.yaml");
        super::other_manager_sets_replicas(&world, "owned");
        let documents: Vec<String> = order.iter().map(|name| document(name)).collect();
        world.write("all.yaml", &documents.join("---\n"));
        let (seen, said, _) = world.run("apply -f all.yaml");
        assert_eq!(seen, code, "{order:?}: {said}");
        let good: Vec<&str> = order.iter().copied().filter(|name| name.len() == 1).collect();
        let mut expected = [good.clone(), vec!["owned"]].concat();
        expected.sort_unstable();
        assert_eq!(names(&world), expected, "{order:?}");
        assert_eq!(said, good.iter().map(|name| format!("app/{name} created\n")).collect::<String>());
    }
}

#[test]
fn a_scale_goes_on_and_tells_the_refusal() {
    let world = World::start();
    world.write("all.yaml", &format!("{}---\n{}", document("a"), document("b")));
    for (order, code) in orders(&[("gone", 1)]) {
        world.run("apply -f all.yaml");
        let words: String = order.iter().map(|name| format!("app/{name} ")).collect();
        let (seen, said, _) = world.run(&format!("scale {words} --replicas 9"));
        assert_eq!(seen, code, "scale {words}: {said}");
        assert_eq!(said, "app/a scaled from 2 to 9\napp/b scaled from 2 to 9\n", "scale {words}");
        let (seen, said, _) = world.run(&format!("scale {words} --replicas 9"));
        assert_eq!((seen, said.matches("unchanged").count()), (code, 2), "scale {words}: {said}");
    }
}

#[test]
fn a_restart_and_an_undo_go_on_and_report_the_refusal() {
    let world = World::start();
    world.write("all.yaml", &format!("{}---\n{}", document("a"), document("b")));
    world.run("apply -f all.yaml");
    for name in ["a", "b"] {
        world.write("revision.yaml", &revision_of(&world, name));
        assert_eq!(world.run("apply -f revision.yaml").0, 0);
    }
    for (order, code) in orders(&[("gone", 1)]) {
        let words: String = order.iter().map(|name| format!("app/{name} ")).collect();
        for (verb, expected) in [
            ("restart", "app/a restarts\napp/b restarts\n"),
            ("undo", "app/a goes back to revision 7\napp/b goes back to revision 7\n"),
        ] {
            let (seen, output, errors) = world.run(&format!("rollout {verb} {words}"));
            assert_eq!((seen, output.as_str()), (code, expected), "{verb} {words}: {errors}");
            assert_eq!(errors.matches("app/gone not found").count(), usize::from(code != 0), "{errors}");
        }
        world.run("apply -f all.yaml");
    }
}

/// A Revision of an App, with another template than the App has.
fn revision_of(world: &World, app: &str) -> String {
    let (_, object, _) = world.run(&format!("get app/{app} -o json"));
    let object: serde_json::Value = serde_json::from_str(&object).expect("JSON");
    let uid = object["metadata"]["uid"].as_str().expect("a uid");
    super::rollout::revision(app, uid, 7, "99")
}

#[test]
fn a_delete_goes_on_and_tells_the_first_refusal() {
    let world = World::start();
    for (order, code) in orders(&[("app/gone", 1), ("namespace/default", 4)]) {
        let good: Vec<&str> = order.iter().copied().filter(|name| name.len() == 1).collect();
        world.write("all.yaml", &good.iter().map(|name| document(name)).collect::<Vec<_>>().join("---\n"));
        let words = order
            .iter()
            .map(|name| if name.len() == 1 { format!("app/{name} ") } else { format!("{name} ") });
        let words: String = words.collect();
        for wait in ["true", "false"] {
            world.run("apply -f all.yaml");
            assert_eq!(names(&world), good, "apply before delete {words}");
            let (seen, said, _) = world.run(&format!("delete {words} --wait={wait}"));
            assert_eq!(seen, code, "delete {words}: {said}");
            assert_eq!(names(&world), [""; 0], "delete {words}");
        }
    }
}

#[test]
fn a_wait_that_fails_does_not_hide_what_was_refused_before() {
    let world = World::start();
    world.write("a.yaml", &document("a"));
    world.run("apply -f a.yaml");
    // Without controllers nothing becomes available.
    let timed_out = world.run("scale app/a --replicas 3 --wait --timeout 1ms");
    assert_eq!(timed_out.0, 3, "{}", timed_out.2);
    let both = world.run("scale app/gone app/a --replicas 3 --wait --timeout 1ms");
    assert_eq!(both.0, 1, "{}", both.2);
    assert!(both.2.contains("app/gone not found") && both.2.contains("timed out"), "{}", both.2);
}
