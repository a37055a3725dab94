//! The same App from an image: scaled, rolled while it answers requests, and undone.

use std::path::PathBuf;
use std::process::Command;

use berth_e2e::wait::eventually;
use berth_e2e::world::{SOON, condition, name, port};
use berth_e2e::{StoreForm, World, http, workspace};
use serde_json::Value;

fn image(world: &World, tag: &str, text: &str) -> PathBuf {
    let layout = world.dir().join("image");
    let made = Command::new(workspace().join("e2e/make-image")).arg(&layout).args([tag, text]).status();
    assert!(made.expect("e2e/make-image starts").success(), "e2e/make-image makes {tag}");
    layout
}

fn app(image: &str, replicas: u32) -> String {
    format!(
        "apiVersion: berth.dev/v1
kind: App
metadata: {{name: web}}
spec:
  replicas: {replicas}
  minReadySeconds: 1
  strategy: {{rollingUpdate: {{maxSurge: 1, maxUnavailable: 1}}}}
  template:
    spec:
      drainDelaySeconds: 1
      terminationGracePeriodSeconds: 1
      containers:
        - name: web
          image: {image}
          ports: [{{name: http}}]
          resources: {{requests: {{cpu: 10m, memory: 8Mi}}, limits: {{memory: 64Mi}}}}
          readinessProbe: {{httpGet: {{port: http}}}}
"
    )
}

/// One request to each Task that the API just showed available: all are answered.
fn every_available_task_answers(world: &World) -> Vec<String> {
    let tasks = world.tasks_of("web").expect("the API answers");
    let available = tasks.iter().filter(|task| condition(task, "Ready") == "True");
    let answer = |task: &Value| {
        http::get(port(task, "http")).unwrap_or_else(|error| panic!("{} was available: {error}", name(task)))
    };
    available.map(answer).collect()
}

/// Asks all along until every replica gives `text`, and none is left over.
fn rolls_to(world: &World, text: &str, replicas: usize) {
    let mut asked = 0;
    eventually(&format!("{replicas} replicas say {text}"), SOON, || {
        let answers = every_available_task_answers(world);
        assert!(answers.len() + 1 >= replicas, "one may be missing: {answers:?}");
        asked += answers.len();
        let settled = answers.len() == replicas && answers.iter().all(|answer| answer == text);
        if settled { Ok(()) } else { Err(format!("{answers:?}")) }
    });
    assert!(asked > replicas, "requests went on during the rollout");
}

/// An image runs, scales, rolls without losing a request, and rolls back.
pub fn an_image_scales_rolls_and_is_undone(form: StoreForm) {
    let world = World::start(form);
    let layout = image(&world, "v1", "version 1");
    image(&world, "v2", "version 2");
    let tagged = |tag: &str| format!("oci:{}:{tag}", layout.display());

    world.apply(&app(&tagged("v1"), 2)).ok();
    world.wait_ready("web", 2);
    assert_eq!(every_available_task_answers(&world), ["version 1", "version 1"]);

    world.ctl(&["scale", "app/web", "--replicas", "4"]).ok();
    world.wait_ready("web", 4);
    world.ctl(&["scale", "app/web", "--replicas", "3"]).ok();
    world.wait_ready("web", 3);

    world.apply(&app(&tagged("v2"), 3)).ok();
    rolls_to(&world, "version 2", 3);
    world.ctl(&["rollout", "status", "app/web", "--timeout", "60s"]).ok();

    world.ctl(&["rollout", "undo", "app/web"]).ok();
    rolls_to(&world, "version 1", 3);
    world.settles();
    world.ctl(&["delete", "app/web"]).ok();
    world.end();
}
