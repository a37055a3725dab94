//! Verbs as whole runs against a real apiserver in memory, without controllers: command, exit code, both outputs.

#[path = "verbs/apply.rs"]
mod apply;
#[path = "verbs/delete.rs"]
mod delete;
#[path = "verbs/describe.rs"]
mod describe;
#[path = "verbs/nodes.rs"]
mod nodes;
#[path = "verbs/output.rs"]
mod output;
#[path = "verbs/rollout.rs"]
mod rollout;
#[path = "verbs/several.rs"]
mod several;
#[path = "verbs/wait.rs"]
mod wait;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use expect_test::{Expect, expect};
use tempfile::TempDir;

mod limit;
mod shell;

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

/// Somebody else applies a field that the manifest sets.
fn other_manager_sets_replicas(world: &World, app: &str) {
    let object = serde_json::json!({
        "apiVersion": "berth.dev/v1", "kind": "App",
        "metadata": {"name": app, "namespace": "default"}, "spec": {"replicas": 7},
    });
    send(world, &berth_client::Write::apply(&object, "autoscaler").forced());
}

/// Writes without `ctl`.
fn send(world: &World, write: &berth_client::Write) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client =
            berth_client::Client::new(&[format!("unix:{}", world.socket().display())]).expect("a client");
        client.write(write).await.expect("the write is taken");
    });
}
