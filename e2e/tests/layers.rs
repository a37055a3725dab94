//! Who may depend on whom, and what no file may do: the layers of the workspace.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each crate with the crates of ours that it may use. The end-to-end tests may use anything; anybody may use
/// `berth-failpoint`, which is nothing in a release build.
const ALLOWED: &[(&str, &[&str])] = &[
    ("api/failpoint", &[]),
    ("api/cases", &[]),
    ("api/daemon", &[]),
    ("node-agent/removal", &[]),
    ("api/types", &[]),
    ("proto", &["berth-types"]),
    ("api/store", &["berth-types"]),
    ("node-agent/shim-api", &["berth-types"]),
    ("api/client", &["berth-types", "berth-proto"]),
    ("api/server", &["berth-types", "berth-proto", "berth-store", "berth-daemon"]),
    ("controllers/runtime", &["berth-types", "berth-client"]),
    ("controllers/builtin", &["berth-types", "berth-client", "berth-runtime"]),
    ("controllers/scheduler", &["berth-types", "berth-client", "berth-runtime"]),
    (
        "controllers/run",
        &["berth-types", "berth-client", "berth-runtime", "berth-builtin", "berth-scheduler", "berth-daemon"],
    ),
    (
        "node-agent/agent",
        &["berth-types", "berth-client", "berth-runtime", "berth-shim-api", "berth-daemon", "berth-removal"],
    ),
    ("node-agent/shim", &["berth-types", "berth-shim-api"]),
    ("cli", &["berth-types", "berth-client", "berth-removal"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("e2e lies in the workspace").to_path_buf()
}

/// The crates of ours that a manifest names outside its dev-dependencies.
fn uses(manifest: &str) -> Vec<String> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in manifest.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_string();
        }
        let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
        if name.starts_with("berth-")
            && name != "berth-failpoint"
            && matches!(section.as_str(), "dependencies" | "build-dependencies")
        {
            found.push(name.to_string());
        }
    }
    found
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_crate_uses_only_the_layers_below_it() {
    let members: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for member in members.keys() {
        assert!(workspace.contains(&format!("\"{member}\"")), "{member} is not in the workspace");
        let manifest = fs::read_to_string(root().join(member).join("Cargo.toml")).unwrap();
        for used in uses(&manifest) {
            assert!(members[member].contains(&used.as_str()), "{member} may not use {used}");
        }
    }
}

#[test]
fn no_controller_imports_another() {
    let folder = root().join("controllers/builtin/src");
    let controllers: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .filter_map(|entry| {
            let entry = entry.unwrap();
            entry.path().is_dir().then(|| entry.file_name().into_string().unwrap())
        })
        .collect();
    assert!(controllers.len() >= 3, "app, node and garbage at least: {controllers:?}");
    for controller in &controllers {
        let mut files = Vec::new();
        sources(&folder.join(controller), &mut files);
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for other in controllers.iter().filter(|other| *other != controller) {
                assert!(!text.contains(&format!("crate::{other}")), "{} imports {other}", file.display());
            }
        }
    }
}

#[test]
fn a_plan_neither_waits_nor_looks_at_a_clock() {
    let mut files = Vec::new();
    for dir in ["controllers", "node-agent"] {
        sources(&root().join(dir), &mut files);
    }
    let plans: Vec<_> = files
        .iter()
        .filter(|file| file.ends_with("plan.rs") || file.parent().is_some_and(|dir| dir.ends_with("plan")))
        .collect();
    assert!(plans.len() >= 3, "{plans:?}");
    for plan in plans {
        let text = fs::read_to_string(plan).unwrap();
        for word in [".await", "tokio", "Instant::now", "SystemClock", "fastrand", "tracing::"] {
            assert!(!text.contains(word), "{} uses {word}", plan.display());
        }
    }
}

/// What was written by the hands that wrote the cluster would share its mistakes.
#[test]
fn the_history_checker_uses_nothing_of_the_cluster() {
    let mut files = Vec::new();
    sources(&root().join("e2e/src/history"), &mut files);
    assert!(files.iter().any(|file| file.ends_with("judge.rs")), "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains("berth_"), "{} uses a crate of the cluster", file.display());
    }
}

#[test]
fn only_the_shim_may_hold_unsafe_code() {
    for (member, _) in ALLOWED.iter().filter(|(member, _)| *member != "node-agent/shim") {
        let manifest = fs::read_to_string(root().join(member).join("Cargo.toml")).unwrap();
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{member} does not take the workspace's lints"
        );
    }
}

/// Code in documentation is run by `cargo test`, unless its crate says that there is none: looking for it costs seconds.
#[test]
fn no_crate_hides_code_in_its_documentation_from_the_tests() {
    let mut silent = 0;
    for member in ALLOWED.iter().map(|(member, _)| *member).chain(["e2e"]) {
        let manifest = fs::read_to_string(root().join(member).join("Cargo.toml")).unwrap();
        if !manifest.contains("doctest = false") {
            continue;
        }
        silent += 1;
        let mut files = Vec::new();
        sources(&root().join(member).join("src"), &mut files);
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            let code = text.lines().map(str::trim_start).find(|line| is_code_fence(line));
            assert!(
                code.is_none(),
                "{} has code in its documentation: take `doctest = false` out",
                file.display()
            );
        }
    }
    assert!(silent > 0, "nothing was looked at");
    assert!(is_code_fence("/// ```") && is_code_fence("//! ```no_run") && !is_code_fence("/// `text`"));
}

fn is_code_fence(line: &str) -> bool {
    ["///", "//!"]
        .iter()
        .any(|mark| line.strip_prefix(mark).is_some_and(|text| text.trim_start().starts_with("```")))
}
