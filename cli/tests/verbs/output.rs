//! Output that is lost, because its reader went away or the disk is full, costs nothing but the output.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{WEB, World, limit, shell};

/// Where an output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    /// To the test.
    Test,
    /// To a pipe that nobody reads any more.
    Nobody,
    /// To a full disk.
    FullDisk,
}

const LOST: [To; 2] = [To::Nobody, To::FullDisk];

impl To {
    fn stdio(self) -> Stdio {
        match self {
            Self::Test => Stdio::piped(),
            Self::Nobody => {
                let (reader, writer) = std::io::pipe().expect("a pipe");
                drop(reader);
                writer.into()
            }
            Self::FullDisk => {
                std::fs::File::options().write(true).open("/dev/full").expect("/dev/full").into()
            }
        }
    }
}

/// Exit code and standard error of a command.
fn run(world: &World, line: &str, stdout: To, stderr: To) -> (Option<i32>, String) {
    let mut command = world.command(line);
    let run = command.stdout(stdout.stdio()).stderr(stderr.stdio()).output().expect("ctl starts");
    (run.status.code(), String::from_utf8(run.stderr).expect("ctl writes UTF-8"))
}

fn apps(names: &[&str]) -> String {
    let app = |name: &&str| WEB.replacen("name: web", &format!("name: {name}"), 1);
    names.iter().map(app).collect::<Vec<_>>().join("---\n")
}

#[test]
fn what_is_done_and_its_exit_code_do_not_depend_on_who_reads_about_it() {
    for lost in LOST {
        let world = World::start();
        world.write("three.yaml", &apps(&["a", "b", "c"]));
        let elsewhere = apps(&["b"]).replacen("name: b", "name: b\n  namespace: nowhere", 1);
        world.write("refused.yaml", &format!("{}---\n{elsewhere}---\n{}", apps(&["a"]), apps(&["d"])));
        for (line, code, left) in [
            ("apply -f three.yaml", 0, "app/a\napp/b\napp/c\n"),
            ("apply -f refused.yaml", 1, "app/a\napp/b\napp/c\napp/d\n"),
            ("scale app/a app/b app/c --replicas 7", 0, "app/a\napp/b\napp/c\napp/d\n"),
            // There are no controllers: a wait for a rollout does not end well.
            ("apply -f three.yaml --wait --timeout 1100ms", 3, "app/a\napp/b\napp/c\napp/d\n"),
            (
                "scale app/a app/b app/c --replicas 7 --wait --timeout 1100ms",
                3,
                "app/a\napp/b\napp/c\napp/d\n",
            ),
            ("rollout restart app/a app/b app/c", 0, "app/a\napp/b\napp/c\napp/d\n"),
            ("delete app/d app/x app/c", 1, "app/a\napp/b\n"),
            ("wait app/a app/b --for=jsonpath={.spec.replicas}=7", 0, "app/a\napp/b\n"),
            ("wait app/a app/b --for=jsonpath={.spec.restartGeneration}=1", 0, "app/a\napp/b\n"),
            ("delete -f three.yaml --ignore-not-found", 0, ""),
        ] {
            assert_eq!(run(&world, line, lost, lost).0, Some(code), "{line} to {lost:?}");
            assert_eq!(world.run("get apps -o name").1, left, "{line} to {lost:?}");
        }
    }
}

#[test]
fn a_verb_for_its_output_fails_only_if_that_could_not_be_written() {
    let world = World::start();
    world.write("web.yaml", WEB);
    world.run("apply -f web.yaml");
    for line in [
        "get apps",
        "get apps,ns -o yaml",
        "get app/web -o json",
        "get apps -o name",
        "get apps --watch",
        "get apps --watch -o yaml",
        "describe apps",
        "describe app,ns",
        "validate -f web.yaml",
        "rollout history app/web",
        "rollout status app/web --watch=false",
        "version",
        "version --client -o json",
        "--help",
        "--version",
    ] {
        assert_eq!(run(&world, line, To::Nobody, To::Test), (Some(0), String::new()), "{line}");
        let (code, said) = run(&world, line, To::FullDisk, To::Test);
        assert_eq!(code, Some(1), "{line}: {said}");
        assert_eq!(
            said,
            "error: could not write to standard output\n  No space left on device (os error 28)\n"
        );
    }
    // A failure of the verb itself is told by its own code.
    for to in LOST {
        assert_eq!(run(&world, "validate -f nosuch.yaml", to, To::Test).0, Some(2));
        assert_eq!(run(&world, "get app/web app/nosuch", to, To::Test).0, Some(1));
    }
}

#[test]
fn a_lost_standard_error_changes_no_exit_code() {
    let world = World::start();
    world.write("bad.yaml", "kind: [");
    for (line, code) in [
        ("", 2),
        ("frobnicate", 2),
        ("get app nosuch", 1),
        ("get apps", 0),
        ("describe apps", 0),
        ("apply -f bad.yaml", 2),
        ("validate -f nosuch.yaml", 2),
        ("delete -f nosuch.yaml", 2),
        ("scale app/nosuch --replicas 1", 1),
        ("wait app/nosuch --for=condition=Available --timeout 1100ms", 3),
        ("get apps --server unix:/nonexistent/api.sock", 7),
        ("down --delete-data --data . --run .", 2),
    ] {
        for to in LOST {
            assert_eq!(run(&world, line, To::Test, to).0, Some(code), "`{line}` to {to:?}");
        }
        let closed = limit::output(&mut shell::redirected(&world.command(line), "2>&-"));
        assert_eq!(closed.status.code(), Some(code), "`{line}` with a closed standard error");
    }
}

#[test]
fn no_program_panics_where_its_complaint_cannot_be_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let socket = format!("unix:{}/api.sock", folder.path().display());
    let no_folder = ["--store", "embedded:/proc/nowhere", "--listen", &socket];
    for (program, args, code) in [
        ("apiserver", &["--config", "/nonexistent"][..], 2),
        ("apiserver", &["--nonsense"], 2),
        ("apiserver", &no_folder, 1),
        ("controllers", &["--config", "/nonexistent"], 2),
        ("node-agent", &["--config", "/nonexistent"], 2),
        ("node-agent", &["prepare-alone"], 1),
        ("shim", &[], 2),
        ("shim", &["/nonexistent"], 1),
    ] {
        let path = Path::new(env!("CARGO_BIN_EXE_ctl")).with_file_name(program);
        for to in LOST {
            let mut command = Command::new(&path);
            let command = command.args(args).stdin(Stdio::null()).stdout(to.stdio()).stderr(to.stdio());
            let status = command.status().expect("the program starts");
            assert_eq!(status.code(), Some(code), "{program} {args:?} to {to:?}");
        }
        let mut closed = shell::redirected(Command::new(&path).args(args), ">&- 2>&-");
        let status = closed.stdin(Stdio::null()).status().expect("a shell starts");
        assert_eq!(status.code(), Some(code), "{program} {args:?} with closed outputs");
    }
}
