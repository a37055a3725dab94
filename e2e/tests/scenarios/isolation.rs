//! What a Task cannot reach: the API, Berth's data folder, another Task's sandbox.

use std::process::Command;

use berth_e2e::wait::eventually;
use berth_e2e::world::{SOON, summary, uid};
use berth_e2e::{StoreForm, World, workspace};
use serde_json::Value;

fn snoop(name: &str, image: &str, script: &str) -> String {
    let script = serde_json::to_string(script).expect("a text is JSON");
    format!(
        "apiVersion: berth.dev/v1
kind: App
metadata: {{name: {name}}}
spec:
  template:
    spec:
      drainDelaySeconds: 0
      terminationGracePeriodSeconds: 1
      containers:
        - name: main
          {image}
          command: [sh, -c, {script}]
          resources: {{requests: {{cpu: 10m, memory: 8Mi}}}}
"
    )
}

/// Lists what of `paths` can be seen from inside, and the state of the kernel's confinement.
fn script(paths: &[String]) -> String {
    let looks: Vec<String> = paths.iter().map(|path| format!("ls -d {path} {path}/* 2>/dev/null")).collect();
    format!(
        "{}; grep -E '^(Seccomp|NoNewPrivs|CapEff|CapBnd):' /proc/self/status; mount -t tmpfs none /tmp 2>&1 | head -n 1; \
         echo x > /etc/berth-was-here 2>/dev/null && echo wrote to the root; kill -9 1 2>/dev/null; echo looked; exec sleep 1000",
        looks.join("; ")
    )
}

/// Neither a Task with an image nor one without reaches what is not its own.
pub fn a_task_reaches_nothing_of_berth(form: StoreForm) {
    let world = World::start(form);
    world.apply(&snoop("victim", "", "echo secret > mine; exec sleep 1000")).ok();
    let victim = world.wait_ready("victim", 1).remove(0);
    let layout = world.dir().join("image");
    let made = Command::new(workspace().join("e2e/make-image")).arg(&layout).args(["v1", "x"]).status();
    assert!(made.expect("e2e/make-image starts").success());

    let sandbox = world.data().join("node/tasks").join(uid(&victim));
    assert!(sandbox.exists(), "{} is the victim's folder", sandbox.display());
    // The first is there for everybody: a look that finds nothing at all proves nothing.
    let paths: Vec<String> = ["/etc/passwd".into(), world.run(), world.data(), sandbox]
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let image = format!("image: oci:{}:v1", layout.display());
    for (app, image) in [("bare", ""), ("imaged", image.as_str())] {
        world.apply(&snoop(app, image, &script(&paths))).ok();
        let said = eventually("the Task has looked around", SOON, || {
            let run = world.ctl(&["logs", &format!("app/{app}")]);
            if run.stdout.contains("looked") { Ok(run.stdout) } else { Err(format!("{run:?}")) }
        });
        let lines: Vec<&str> = said.lines().collect();
        let seen: Vec<&&str> =
            lines.iter().filter(|line| line.contains("/data/") || line.contains("/run/")).collect();
        assert!(seen.is_empty(), "{app} sees {seen:?}");
        assert!(lines.contains(&"/etc/passwd"), "{app} looked: {said}");
        assert!(!said.contains("secret") && !said.contains("wrote to the root"), "{app}: {said}");
        assert!(said.contains("Seccomp:\t2") && said.contains("NoNewPrivs:\t1"), "{app}: {said}");
    }
    let tasks: Vec<Value> = world.list("tasks").expect("the API answers");
    assert_eq!(tasks.len(), 3, "{}", summary(&tasks));
    world.settles();
    for app in ["victim", "bare", "imaged"] {
        world.ctl(&["delete", &format!("app/{app}")]).ok();
    }
    world.end();
}
