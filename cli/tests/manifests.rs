//! Broken manifests, as whole runs: what a person reads, the exit code, and that no server was needed to say no.
//! `UPDATE_EXPECT=1` writes the texts anew; read them aloud before committing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use expect_test::expect_file;

mod limit;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Runs `ctl` where no server is.
fn ctl(folder: &Path, args: &[&str]) -> Output {
    let mut ctl = Command::new(env!("CARGO_BIN_EXE_ctl"));
    ctl.args(args)
        .current_dir(folder)
        .env("CTL_SERVER", "unix:/nonexistent/api.sock")
        .env_remove("CTL_NAMESPACE");
    limit::output(&mut ctl)
}

fn manifests() -> Vec<PathBuf> {
    let entries = fs::read_dir(golden())
        .expect("the golden folder")
        .map(|entry| entry.expect("a readable entry").path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end != "stderr")).collect();
    paths.sort();
    paths
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("ctl writes UTF-8")
}

#[test]
fn a_broken_manifest_is_explained_and_nothing_is_applied() {
    let manifests = manifests();
    assert!(manifests.len() >= 20);
    for path in manifests {
        let name = path.file_name().unwrap().to_str().unwrap();
        let run = ctl(&golden(), &["apply", "-f", name]);
        let stderr = text(&run.stderr);
        assert_eq!(run.status.code(), Some(2), "{name}: {stderr}");
        assert_eq!(text(&run.stdout), "", "{name}");
        assert!(stderr.ends_with("nothing was applied\n"), "{name}: {stderr}");
        assert!(!stderr.contains('\u{1b}'), "{name}: {stderr}");
        expect_file![path.with_extension("stderr")].assert_eq(&stderr);
    }
}

#[test]
fn validate_says_the_same_without_a_word_of_applying() {
    let run = ctl(&golden(), &["validate", "-f", "unknown-field.yaml"]);
    assert_eq!(run.status.code(), Some(2));
    let applied = text(&ctl(&golden(), &["apply", "-f", "unknown-field.yaml"]).stderr);
    assert_eq!(text(&run.stderr), applied.replace("nothing was applied", "nothing was asked of a server"));
}

#[test]
fn a_huge_file_is_refused_before_it_is_read_through() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("huge.yaml"), "a: b # pad\n".repeat(500_000)).unwrap();
    let run = ctl(folder.path(), &["apply", "-f", "huge.yaml"]);
    assert_eq!(run.status.code(), Some(2));
    expect_test::expect![[r#"
        error: huge.yaml is larger than 3 MiB
        help: split it; an object of this size would be refused anyway

        1 error; nothing was applied
    "#]]
    .assert_eq(&text(&run.stderr));
}

#[test]
fn every_file_of_a_folder_is_checked_before_any_is_applied() {
    let folder = tempfile::tempdir().unwrap();
    for (from, to) in [("unknown-field.yaml", "b.yaml"), ("tab.yaml", "a.yml"), ("empty.yaml", "c.json")] {
        fs::copy(golden().join(from), folder.path().join(to)).unwrap();
    }
    fs::write(folder.path().join("notes.txt"), "not: [a manifest").unwrap();
    fs::write(folder.path().join(".hidden.yaml"), "not: [a manifest").unwrap();
    let run = ctl(folder.path(), &["apply", "-f", ".", "-f", "absent.yaml"]);
    let stderr = text(&run.stderr);
    assert_eq!(run.status.code(), Some(2), "{stderr}");
    let places: Vec<&str> =
        stderr.lines().filter(|line| line.contains("-->") || line.contains("error")).collect();
    expect_test::expect![[r#"
        error: ./c.json is empty
        error: absent.yaml does not exist
        error: tabs are not allowed for indentation
          --> ./a.yml:6:1
        error: unknown field `replicsa`
          --> ./b.yaml:6:3   (app/web)
        4 errors in 4 of 4 documents; nothing was applied"#]]
    .assert_eq(&places.join("\n"));
}

#[test]
fn a_mistake_in_a_file_of_many_is_found_in_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let good = fs::read_to_string(golden().join("given-twice.yaml")).unwrap();
    let good = good.split("---\n").next().unwrap();
    let mut many: String =
        (0..300).map(|n| format!("---\n{}", good.replacen("web", &format!("web-{n}"), 1))).collect();
    many.push_str(
        "---\r\n# the last\r\napiVersion: berth.dev/v1\r\nkind: App\r\nmetadata: {name: x, labls: {}}\r\n",
    );
    fs::write(folder.path().join("many.yaml"), many).unwrap();
    let run = ctl(folder.path(), &["apply", "-f", "many.yaml"]);
    let stderr = text(&run.stderr);
    assert!(stderr.contains("--> many.yaml:3605:"), "{stderr}");
    assert!(stderr.contains("document 301"), "{stderr}");
}
