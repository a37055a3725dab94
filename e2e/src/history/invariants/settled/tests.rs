use serde_json::{Value, json};

use super::*;
use crate::history::invariants::trial::Trial;
use crate::history::judge::judge;
use crate::history::key;
use crate::history::story::{NAMESPACE, Story, raise};

const SECOND: u64 = 1_000_000_000;

fn template(argument: &str) -> Value {
    json!({"spec": {"containers": [{"name": "main", "args": [argument]}]}})
}

fn revision(story: &mut Story, name: &str, template: Value) {
    let owner = story.object(&key::app(NAMESPACE, "web")).unwrap()["metadata"]["uid"].clone();
    let meta = json!({
        "name": name, "uid": story.uid(), "creationTimestamp": "2026-01-01T00:00:00Z",
        "ownerReferences": [{"kind": "App", "name": "web", "uid": owner, "controller": true}],
    });
    let spec = json!({"template": template, "number": 1, "restartGeneration": 0});
    story.put(
        &format!("/berth/berth.dev/revisions/{NAMESPACE}/{name}"),
        json!({"metadata": meta, "spec": spec}),
    );
}

/// The place that its name tells.
fn place(task: &mut Value) {
    let name = task["metadata"]["name"].as_str().unwrap_or_default();
    let place = name.rsplit('-').next().and_then(|number| number.parse::<u32>().ok());
    task["spec"]["ordinal"] = place.into();
}

/// `web` asks for two Tasks and has them, on a Node of 4 cores and one of 1 core.
fn story() -> Story {
    let mut story = Story::new();
    story.dress(place);
    story.node("n1", "4").node("n2", "1").app("web", json!({"replicas": 2, "template": template("1")}));
    revision(&mut story, "r1", template("1"));
    for name in ["web-0", "web-1"] {
        story
            .task("web", name, "1")
            .bind(name, "n1")
            .phase(name, "Running")
            .task_condition(name, "Ready", "True", "Started");
    }
    story
}

fn run(tell: impl FnOnce(&mut Story) -> &mut Story) -> Run {
    let mut story = story();
    tell(&mut story);
    let settled = vec![Settled { rev: story.rev(), at: 100 * SECOND, probed: Vec::new() }];
    Run { events: story.events(), settled, ..Run::default() }
}

fn keeps(tell: impl FnOnce(&mut Story) -> &mut Story) {
    let violations = judge(&run(tell));
    assert!(violations.is_empty(), "{}", violations[0]);
}

fn unplaced(story: &mut Story, name: &str) {
    story.task_condition(name, "Scheduled", "False", "Unschedulable");
}

#[test]
fn an_app_has_what_it_asks_for() {
    keeps(|story| story);
    keeps(|story| {
        story.task("", "other", "9");
        unplaced(story, "other");
        story
    });
    keeps(|story| {
        story.scale("web", 3).observed("web").task("web", "web-2", "3");
        unplaced(story, "web-2");
        story
    });
    keeps(|story| {
        story.edit(&key::app(NAMESPACE, "web"), |app| {
            app["spec"]["template"]["metadata"] = json!({});
            app["spec"]["template"]["spec"]["containers"][0]["args"] = json!([1]);
            raise(app);
        });
        story.observed("web")
    });
    let app = &key::app(NAMESPACE, "web");
    Trial::of("L1 apps", Story::new)
        .breaks_run("one is missing", &run(|story| story.scale("web", 3).observed("web")))
        .breaks_run("one is too many", &run(|story| story.scale("web", 1).observed("web")))
        .breaks_run("nobody looked", &run(|story| story.scale("web", 3)))
        .breaks_run(
            "one is not ready",
            &run(|story| story.task_condition("web-1", "Ready", "False", "ProbeFailed")),
        )
        .breaks_run(
            "two share a place",
            &run(|story| story.edit_task("web-1", |task| task["spec"]["ordinal"] = 0.into())),
        )
        .breaks_run(
            "one is of an old Revision",
            &run(|story| story.edit_task("web-1", |task| task["spec"]["revision"] = "r0".into())),
        )
        .breaks_run(
            "a template of no Revision",
            &run(|story| {
                story.edit(app, |app| {
                    app["spec"]["template"] = template("two");
                    raise(app);
                });
                story.observed("web")
            }),
        )
        .shows(expect_test::expect![[r#"
            one is missing
              14: App shop/web asks for 3 Tasks, and has 2 of r1 (shown by 4 5 9 14)
            one is too many
              14: App shop/web asks for 1 Tasks, and has 2 of r1 (shown by 4 5 9 14)
            nobody looked
              13: App shop/web is in generation 2, and its status speaks of 1 (shown by 13)
            one is not ready
              13: App shop/web has Task shop/web-1 that is not Ready: Running, Ready False (shown by 3 4 13)
            two share a place
              13: App shop/web has ordinal 0 twice: Task shop/web-0, Task shop/web-1 (shown by 3 4 5 13)
            one is of an old Revision
              13: App shop/web has Task shop/web-1 of Revision r0, and asks for r1 (shown by 3 4 13)
              13: App shop/web asks for 2 Tasks, and has 1 of r1 (shown by 3 4 5 13)
            a template of no Revision
              14: App shop/web has no Revision of its template (shown by 14)
        "#]]);
}

#[test]
fn what_fits_is_placed_and_what_was_told_to_go_is_gone() {
    keeps(|story| {
        story.stop("web-0").node_ready("n1", "False").scale("web", 0).observed("web").stop("web-1")
    });
    keeps(|story| {
        story.task("", "a", "1");
        story.edit_task("a", |task| {
            task["metadata"]["finalizers"] = json!(["example.dev/mine"]);
            task["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z".into();
        })
    });
    Trial::of("L2 places", Story::new)
        .breaks_run(
            "it fits",
            &run(|story| {
                story.task("", "a", "2");
                unplaced(story, "a");
                story
            }),
        )
        .breaks_run("it says nothing", &run(|story| story.task("", "a", "3")))
        .breaks_run(
            "it fits on the other",
            &run(|story| {
                story.cordon("n1").task("", "a", "1");
                unplaced(story, "a");
                story
            }),
        )
        .shows(expect_test::expect![[r#"
            it fits
              14: Task shop/a has no node, and fits on Node n1 (shown by 1 13)
            it says nothing
              13: Task shop/a has no node, and does not say why (shown by 13)
            it fits on the other
              15: Task shop/a has no node, and fits on Node n2 (shown by 2 14)
        "#]]);
    Trial::of("L3 gone", Story::new)
        .breaks_run("it was told to go", &run(|story| story.stop("web-0")))
        .breaks_run(
            "its App went",
            &run(|story| {
                story.delete(&key::app(NAMESPACE, "web"));
                story
            }),
        )
        .shows(expect_test::expect![[r#"
            it was told to go
              13: Task shop/web-0 is there, and was told to go (shown by 13)
            its App went
              13: Revision shop/r1 is there, and its App web is not (shown by 4)
              13: Task shop/web-0 is there, and its App web is not (shown by 5)
              13: Task shop/web-1 is there, and its App web is not (shown by 9)
        "#]]);
}

#[test]
fn what_is_told_to_run_is_seen_to_run() {
    let told = |tell: fn(&str) -> Vec<Sighting>| {
        let mut story = story();
        let uid = story.object(&key::task(NAMESPACE, "web-0")).unwrap()["metadata"]["uid"]
            .as_str()
            .unwrap()
            .to_string();
        story.edit_task("web-0", |task| {
            task["status"]["containerStatuses"] = json!([
                {"name": "main", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}},
                {"name": "waits", "state": {"waiting": {"reason": "CrashLoop"}}},
            ]);
        });
        let settled = vec![Settled { rev: story.rev(), at: 100 * SECOND, probed: vec!["n1".into()] }];
        Run { events: story.events(), settled, processes: tell(&uid), ..Run::default() }
    };
    fn seen(task: &str, container: &str, last: u64) -> Sighting {
        let (task, container, node) = (task.into(), container.into(), "n1".into());
        Sighting { task, container, node, first: 30 * SECOND, last: last * SECOND, ..Sighting::default() }
    }
    let fine = told(|uid| vec![seen(uid, "main", 99)]);
    let violations = judge(&fine);
    assert!(violations.is_empty(), "{}", violations[0]);
    Trial::of("I12 status", Story::new)
        .breaks_run("never", &told(|uid| vec![seen(uid, "waits", 99), seen("other", "main", 99)]))
        .breaks_run("not any more", &told(|uid| vec![seen(uid, "main", 90)]))
        .shows(expect_test::expect![[r#"
            never
              13: container main of Task shop/web-0 is told to run, and was never seen (shown by 13)
            not any more
              13: container main of Task shop/web-0 is told to run, and was last seen 10000 ms before (shown by 13)
        "#]]);
}
