//! Verbs that act on the spec that they saw.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use berth_client::{Client, Write};
use berth_types::app::App;
use expect_test::expect;
use serde_json::{Value, json};

use super::{WEB, World};

/// A Revision of an App in the default namespace, whose only container runs `command`.
pub fn revision(app: &str, uid: &str, number: u32, command: &str) -> String {
    format!(
        "apiVersion: berth.dev/v1
kind: Revision
metadata:
  name: {app}-{number}
  ownerReferences: [{{apiVersion: berth.dev/v1, kind: App, name: {app}, uid: {uid}, controller: true}}]
spec:
  number: {number}
  template: {{spec: {{containers: [{{name: web, command: [sleep, '{command}']}}]}}}}
---
"
    )
}

/// Writes the App `web` again and again, as `change` says for each count, until `done`.
fn keep_changing(server: &str, done: &AtomicBool, change: impl Fn(u32) -> Write) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = Client::new(&[server]).expect("an address");
        for count in 0.. {
            if done.load(Ordering::Relaxed) {
                return;
            }
            client.write(&change(count % 1000)).await.expect("the App is written");
        }
    });
}

fn another_status(count: u32) -> Write {
    Write::patch_status::<App>("default", "web", json!({"status": {"readyReplicas": count}}))
}

fn another_spec(count: u32) -> Write {
    Write::patch::<App>("default", "web", json!({"spec": {"replicas": count}})).by("test")
}

/// A world with the App `web`, which has two Revisions besides what its spec says, and where its server listens.
fn world() -> (World, String) {
    let world = World::start();
    world.write("web.yaml", WEB);
    assert_eq!(world.run("apply -f web.yaml").0, 0);
    let (_, app, _) = world.run("get app/web -o json");
    let app: Value = serde_json::from_str(&app).expect("JSON");
    let uid = app["metadata"]["uid"].as_str().expect("a uid");
    world.write("revisions.yaml", &(revision("web", uid, 1, "99") + &revision("web", uid, 2, "100")));
    assert_eq!(world.run("apply -f revisions.yaml").0, 0);
    let server = format!("unix:{}", world.socket().display());
    (world, server)
}

#[test]
fn a_status_that_changes_stands_against_no_verb() {
    let (world, server) = world();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| keep_changing(&server, &done, another_status));
        let mut refused = Vec::new();
        for turn in 0..10 {
            let undo = format!("app/web goes back to revision {}\n", 1 + turn % 2);
            for (line, said) in
                [("rollout undo app/web", undo.as_str()), ("rollout restart app/web", "app/web restarts\n")]
            {
                let run = world.run(line);
                if run != (0, said.to_owned(), String::new()) {
                    refused.push(run);
                }
            }
        }
        done.store(true, Ordering::Relaxed);
        assert_eq!(refused, []);
    });
    world.shows(
        &[
            "rollout undo app/web --to-revision 2",
            "rollout undo app/web --to-revision 1",
            "rollout undo app/web",
        ],
        expect![[r#"
            $ ctl rollout undo app/web --to-revision 2
            app/web unchanged, it has the template of revision 2
            $ ctl rollout undo app/web --to-revision 1
            app/web goes back to revision 1
            $ ctl rollout undo app/web
            app/web goes back to revision 2
        "#]],
    );
}

#[test]
fn a_verb_does_not_act_on_another_spec_than_it_saw() {
    let (world, server) = world();
    for (line, done_says, verb) in [
        ("rollout restart app/web", "app/web restarts\n", "restart"),
        ("rollout undo app/web", "app/web goes back to revision ", "undo"),
    ] {
        let done = AtomicBool::new(false);
        let refused = std::thread::scope(|scope| {
            scope.spawn(|| keep_changing(&server, &done, another_spec));
            let until = Instant::now() + Duration::from_secs(60);
            let mut run = world.run(line);
            // The spec may stay the same while the verb reads and writes.
            while run.0 == 0 && run.1.starts_with(done_says) && Instant::now() < until {
                run = world.run(line);
            }
            done.store(true, Ordering::Relaxed);
            run
        });
        let why = "App `web` has a different spec now; read it again and decide anew";
        assert_eq!(refused, (5, String::new(), format!("error: could not {verb} app/web\n  {why}\n")));
    }
}
