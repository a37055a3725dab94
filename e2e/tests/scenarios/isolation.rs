//! What a Task cannot reach: the API, Berth's data folder, another Task's sandbox.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use berth_e2e::wait::eventually;
use berth_e2e::world::{SOON, summary, uid};
use berth_e2e::{StoreForm, World, workspace};
use serde_json::Value;

fn snoop(name: &str, field: &str, script: &str) -> String {
    let script = serde_json::to_string(script).expect("a text is JSON");
    format!(
        "apiVersion: berth.dev/v1
kind: App
metadata: {{name: {name}}}
spec:
  minReadySeconds: 0
  template:
    spec:
      drainDelaySeconds: 0
      terminationGracePeriodSeconds: 1
      containers:
        - name: main
          {field}
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

/// Neither a Task with an image nor one without reaches what is not its own. Files of the node that are closed to others
/// are read by a Task that asks for root, and by no other.
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
    let closed = world.dir().join("another-cluster");
    std::fs::write(&closed, "for root alone\n").expect("the world's folder is writable");
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o600)).expect("the file is ours");
    let script = format!("cat {}; id -u; grep -w $HOSTNAME /etc/hosts; {}", closed.display(), script(&paths));
    let image = format!("image: oci:{}:v1", layout.display());
    let root = "securityContext: {runAsUser: 0}";
    for (app, field, user) in [("bare", "", "65534"), ("root", root, "0"), ("imaged", &image, "1000")] {
        world.apply(&snoop(app, field, &script)).ok();
        let said = eventually("the Task has looked around", SOON, || {
            let run = world.ctl(&["logs", &format!("app/{app}")]);
            if run.stdout.contains("looked") { Ok(run.stdout) } else { Err(format!("{run:?}")) }
        });
        let lines: Vec<&str> = said.lines().collect();
        let seen: Vec<&&str> =
            lines.iter().filter(|line| line.contains("/data/") || line.contains("/run/")).collect();
        assert!(seen.is_empty(), "{app} sees {seen:?}");
        assert!(lines.contains(&"/etc/passwd") && lines.contains(&user), "{app} looked: {said}");
        let named = |line: &&str| line.starts_with(&format!("127.0.0.1 {app}-"));
        assert!(lines.iter().any(named), "{app} does not find its own name: {said}");
        assert_eq!(said.contains("for root alone"), app == "root", "{app}: {said}");
        assert!(!said.contains("secret") && !said.contains("wrote to the root"), "{app}: {said}");
        assert!(said.contains("Seccomp:\t2") && said.contains("NoNewPrivs:\t1"), "{app}: {said}");
    }
    let tasks: Vec<Value> = world.list("tasks").expect("the API answers");
    assert_eq!(tasks.len(), 4, "{}", summary(&tasks));
    world.settles();
    for app in ["victim", "bare", "root", "imaged"] {
        world.ctl(&["delete", &format!("app/{app}")]).ok();
    }
    world.end();
}
