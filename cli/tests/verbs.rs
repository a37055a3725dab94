//! Verbs as whole runs against a real apiserver in memory, without controllers: command, exit code, both outputs.

#[path = "verbs/nodes.rs"]
mod nodes;
#[path = "verbs/output.rs"]
mod output;
#[path = "verbs/several.rs"]
mod several;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use expect_test::{Expect, expect};
use tempfile::TempDir;

mod limit;

/// An apiserver of its own, and a folder to type in.
struct World {
    server: Child,
    folder: TempDir,
}

impl World {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("ctl-").tempdir().expect("a temporary folder");
        let program = Path::new(env!("CARGO_BIN_EXE_ctl")).with_file_name("apiserver");
        assert!(program.exists(), "{} is not built: cargo build --workspace", program.display());
        let log = fs::File::create(folder.path().join("log")).expect("a writable folder");
        let server = Command::new(program)
            .args([
                "--store",
                "memory",
                "--listen",
                &format!("unix:{}", folder.path().join("api.sock").display()),
            ])
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the apiserver starts");
        let world = Self { server, folder };
        let until = Instant::now() + Duration::from_secs(20);
        while world.run("get ns default").0 != 0 {
            let said = fs::read_to_string(world.folder.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < until, "the apiserver does not answer: {said}");
        }
        world
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("api.sock")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).expect("a writable folder");
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ctl"));
        command
            .args(line.split_whitespace())
            .current_dir(self.folder.path())
            .env("CTL_SERVER", format!("unix:{}", self.socket().display()))
            .env_remove("CTL_NAMESPACE")
            .stdin(Stdio::null());
        command
    }

    /// Exit code, standard output and standard error of a command.
    fn run(&self, line: &str) -> (i32, String, String) {
        let run = limit::output(&mut self.command(line));
        let text = |bytes| String::from_utf8(bytes).expect("ctl writes UTF-8");
        (run.status.code().unwrap_or(-1), text(run.stdout), text(run.stderr))
    }

    /// Runs command after command and shows what a person sees: standard error is marked by `!`.
    fn shows(&self, lines: &[&str], expected: Expect) {
        let mut seen = String::new();
        for line in lines {
            let (code, stdout, stderr) = self.run(line);
            seen.push_str(&format!("$ ctl {line}\n"));
            stdout.lines().for_each(|line| seen.push_str(&format!("{line}\n")));
            stderr.lines().for_each(|line| seen.push_str(&format!("! {line}\n")));
            if code != 0 {
                seen.push_str(&format!("exit code {code}\n"));
            }
        }
        let seen = seen.replace(&self.socket().display().to_string(), "SOCKET");
        expected.assert_eq(&without_ages(&seen));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // It may have ended by itself, which a test would have seen.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Ages in seconds as `Ns`: they depend on the machine.
fn without_ages(text: &str) -> String {
    let age = |word: &str| {
        word.strip_suffix('s')
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    };
    let line = |line: &str| {
        line.split(' ').map(|word| if age(word) { "Ns" } else { word }).collect::<Vec<_>>().join(" ")
    };
    text.lines().map(|text| line(text).trim_end().to_owned() + "\n").collect()
}

const WEB: &str = "\
apiVersion: berth.dev/v1
kind: App
metadata:
  name: web
  labels: {tier: front}
spec:
  replicas: 2
  template:
    spec:
      containers:
        - name: web
          command: [sleep, '100']
";

#[test]
fn an_app_is_applied_shown_scaled_and_taken_back() {
    let world = World::start();
    world.write("web.yaml", WEB);
    world.shows(
        &[
            "apply -f web.yaml --dry-run=server",
            "apply -f web.yaml --dry-run=client",
            "get apps",
            "apply -f web.yaml",
            "apply -f web.yaml",
            "get apps",
            "get app/web -o name",
            "get apps --no-headers --show-labels",
            "scale app/web --replicas 5",
            "apply -f web.yaml",
            "rollout restart app/web",
            "apply -f web.yaml",
            "rollout undo app/web",
            "rollout status app/web --watch=false",
            "logs app/web",
            "delete app/web",
            "delete app/web",
            "delete app/web --ignore-not-found",
        ],
        expect![[r#"
            $ ctl apply -f web.yaml --dry-run=server
            app/web created (server dry run)
            $ ctl apply -f web.yaml --dry-run=client
            app/web is valid (dry run, the server was not asked)
            $ ctl get apps
            ! no apps found in namespace default
            $ ctl apply -f web.yaml
            app/web created
            $ ctl apply -f web.yaml
            app/web unchanged
            $ ctl get apps
            NAME   READY   UPDATED   AVAILABLE   STATUS    AGE
            web    0/2     0         0           Pending   Ns
            $ ctl get app/web -o name
            app/web
            $ ctl get apps --no-headers --show-labels
            web    0/2     0         0           Pending   Ns    tier=front
            $ ctl scale app/web --replicas 5
            app/web scaled from 2 to 5
            $ ctl apply -f web.yaml
            app/web configured
            ! app/web: took back from `ctl scale`: spec.replicas (5 -> 2)
            $ ctl rollout restart app/web
            app/web restarts
            $ ctl apply -f web.yaml
            app/web unchanged
            $ ctl rollout undo app/web
            ! error: app/web has no earlier template to go back to
            ! hint: `ctl rollout history app/web --server unix:SOCKET` lists them
            exit code 1
            $ ctl rollout status app/web --watch=false
            app/web: the controller has not seen the latest change yet
            $ ctl logs app/web
            ! error: app/web has no tasks
            exit code 1
            $ ctl delete app/web
            app/web deleted
            $ ctl delete app/web
            ! error: app/web not found
            exit code 1
            $ ctl delete app/web --ignore-not-found
        "#]],
    );
}

#[test]
fn what_get_prints_can_be_applied_again() {
    let world = World::start();
    world.write("web.yaml", WEB);
    world.run("apply -f web.yaml");
    for (form, file) in [("yaml", "all.yaml"), ("json", "all.json")] {
        let (code, printed, _) = world.run(&format!("get apps -o {form}"));
        assert_eq!(code, 0);
        world.write(file, &printed);
        world.shows(
            &[&format!("apply -f {file}")],
            match form {
                "yaml" => expect![[r#"
                    $ ctl apply -f all.yaml
                    app/web unchanged
                "#]],
                _ => expect![[r#"
                    $ ctl apply -f all.json
                    app/web unchanged
                "#]],
            },
        );
    }
    world.run("delete app/web");
    world.shows(
        &["apply -f all.yaml"],
        expect![[r#"
        $ ctl apply -f all.yaml
        app/web created
    "#]],
    );
}

#[test]
fn namespaces_come_first_and_a_wrong_one_is_shown_in_its_line() {
    let world = World::start();
    world.write(
        "all.yaml",
        &format!(
            "{}---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: shop}}\n",
            WEB.replace("  name: web\n  l", "  name: web\n  namespace: shop\n  l")
        ),
    );
    world.write("web.yaml", WEB);
    world.shows(
        &[
            "apply -f all.yaml",
            "apply -n market -f all.yaml",
            "get apps",
            "get apps -A",
            "get apps,ns -n shop",
            "apply -n market -f web.yaml",
        ],
        expect![[r#"
            $ ctl apply -f all.yaml
            namespace/shop created
            app/web created
            $ ctl apply -n market -f all.yaml
            ! error: metadata.namespace: is `shop`, but the command line says --namespace market
            !   --> all.yaml:5:14   (document 1, app/web)
            !    |
            !  5 |   namespace: shop
            !    |              ^^^^
            !
            ! 1 error in 1 of 2 documents; nothing was applied
            exit code 2
            $ ctl get apps
            ! no apps found in namespace default
            $ ctl get apps -A
            NAMESPACE   NAME   READY   UPDATED   AVAILABLE   STATUS    AGE
            shop        web    0/2     0         0           Pending   Ns
            $ ctl get apps,ns -n shop
            NAME      READY   UPDATED   AVAILABLE   STATUS    AGE
            app/web   0/2     0         0           Pending   Ns

            NAME                     STATUS   AGE
            namespace/berth-system   Active   Ns
            namespace/default        Active   Ns
            namespace/shop           Active   Ns
            $ ctl apply -n market -f web.yaml
            ! error: could not apply app/web
            !   Namespace `market` was not found; create it first
            exit code 1
        "#]],
    );
}

#[test]
fn a_servers_refusal_is_shown_in_the_line_of_the_manifest() {
    let world = World::start();
    world.write("web.yaml", WEB);
    world.run("apply -f web.yaml");
    other_manager_sets_replicas(&world, "web");
    world.shows(
        &["apply -f web.yaml", "apply -f web.yaml --force-conflicts", "get apps"],
        expect![[r#"
            $ ctl apply -f web.yaml
            ! error: spec.replicas: conflict with `autoscaler`, which has it as `7`, this apply wants `2`
            !   --> web.yaml:7:3   (app/web)
            !    |
            !  7 |   replicas: 2
            !    |   ^^^^^^^^
            !
            ! 1 error; app/web was not applied
            ! hint: --force-conflicts takes these fields over from whoever set them
            exit code 5
            $ ctl apply -f web.yaml --force-conflicts
            app/web configured
            ! app/web: took over from `autoscaler`: spec.replicas (7 -> 2)
            $ ctl get apps
            NAME   READY   UPDATED   AVAILABLE   STATUS    AGE
            web    0/2     0         0           Pending   Ns
        "#]],
    );
}

/// Somebody else applies a field that the manifest sets.
fn other_manager_sets_replicas(world: &World, app: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client =
            berth_client::Client::new(&[format!("unix:{}", world.socket().display())]).expect("a client");
        let object = serde_json::json!({
            "apiVersion": "berth.dev/v1", "kind": "App",
            "metadata": {"name": app, "namespace": "default"}, "spec": {"replicas": 7},
        });
        client
            .write(&berth_client::Write::apply(&object, "autoscaler").forced())
            .await
            .expect("the apply is taken");
    });
}

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
fn without_a_server_it_says_so_at_once() {
    let world = World::start();
    let began = Instant::now();
    let (code, _, stderr) = world.run("get apps --server unix:/nonexistent/api.sock");
    assert_eq!(code, 7);
    assert!(began.elapsed() < Duration::from_secs(2));
    expect![[r#"
        error: no API server answers at unix:/nonexistent/api.sock
          no such socket
        hint: name one that runs by --server or CTL_SERVER; `ctl up` starts one, at unix:/run/berth/api.sock without --run
    "#]]
    .assert_eq(&stderr);
}

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
            ! warning: app/web: the object was being deleted, and this apply removed its last finalizer: it is gone; apply it again to create it
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

#[test]
fn a_removed_line_and_a_missing_owner_are_stated() {
    let world = World::start();
    world.write("web.yaml", WEB);
    world.write("without.yaml", &WEB.replace("  replicas: 2\n", "").replace("  labels: {tier: front}\n", ""));
    let owner = "{apiVersion: berth.dev/v1, kind: App, name: ghost, uid: 0123456789abcdef0123456789abcdef}";
    let owned = WEB.replace("  labels: {tier: front}\n", &format!("  ownerReferences: [{owner}]\n"));
    world.write("owned.yaml", &owned.replace("name: web\n  o", "name: owned\n  o"));
    world.shows(
        &[
            "apply -f web.yaml",
            "apply -f without.yaml --dry-run=server",
            "apply -f without.yaml",
            "apply -f without.yaml",
            "apply -f owned.yaml",
            "apply -f owned.yaml",
        ],
        expect![[r#"
            $ ctl apply -f web.yaml
            app/web created
            $ ctl apply -f without.yaml --dry-run=server
            app/web configured (server dry run)
            ! app/web: metadata.labels {"tier":"front"} -> none: the lines were removed
            ! app/web: spec.replicas 2 -> 1: the line was removed
            $ ctl apply -f without.yaml
            app/web configured
            ! app/web: metadata.labels {"tier":"front"} -> none: the lines were removed
            ! app/web: spec.replicas 2 -> 1: the line was removed
            $ ctl apply -f without.yaml
            app/web unchanged
            $ ctl apply -f owned.yaml
            app/owned created
            ! warning: app/owned: the owner App `ghost` was not found in Namespace `default`; an object is deleted when none of its owners exists: correct `metadata.ownerReferences`, or take it out
            $ ctl apply -f owned.yaml
            app/owned unchanged
        "#]],
    );
}

/// A Revision of the App `web` in the default namespace, whose only container runs `command`.
fn revision(uid: &str, number: u32, command: &str) -> String {
    format!(
        "apiVersion: berth.dev/v1
kind: Revision
metadata:
  name: web-{number}
  ownerReferences: [{{apiVersion: berth.dev/v1, kind: App, name: web, uid: {uid}, controller: true}}]
spec:
  number: {number}
  template: {{spec: {{containers: [{{name: web, command: [sleep, '{command}']}}]}}}}
---
"
    )
}

/// Writes the status of the App `web` without a pause until `done`.
fn change_the_status(server: &str, done: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = berth_client::Client::new(&[server]).expect("an address");
        for count in 0.. {
            if done.load(Ordering::Relaxed) {
                return;
            }
            let status = serde_json::json!({"status": {"readyReplicas": count % 1000}});
            let write = berth_client::Write::patch_status::<berth_types::app::App>("default", "web", status);
            client.write(&write).await.expect("the status is written");
        }
    });
}

#[test]
fn a_status_that_changes_stands_against_no_verb() {
    let world = World::start();
    world.write("web.yaml", WEB);
    assert_eq!(world.run("apply -f web.yaml").0, 0);
    let (_, app, _) = world.run("get app/web -o json");
    let app: serde_json::Value = serde_json::from_str(&app).expect("JSON");
    let uid = app["metadata"]["uid"].as_str().expect("a uid");
    world.write("revisions.yaml", &(revision(uid, 1, "99") + &revision(uid, 2, "100")));
    assert_eq!(world.run("apply -f revisions.yaml").0, 0);
    let (server, done) = (format!("unix:{}", world.socket().display()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| change_the_status(&server, &done));
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
