//! Every example of `manifests/` is valid, applies, and becomes available.

use std::fs;
use std::process::Command;

use berth_e2e::{StoreForm, World, workspace};

/// Where the examples expect their image.
const LAYOUT: &str = "/var/tmp/berth-images/web";

/// Each file parses, validates, applies, and its App becomes available. Those of several Apps run beside each other; one
/// that changes the App of an earlier file comes once that is available.
pub fn every_manifest_runs(form: StoreForm) {
    let made = Command::new(workspace().join("e2e/make-image"))
        .args([LAYOUT, "v1", "hello from version 1"])
        .status();
    assert!(made.expect("e2e/make-image starts").success());
    let world = World::start(form);
    let mut files: Vec<String> = fs::read_dir(workspace().join("manifests"))
        .expect("the folder of examples")
        .map(|entry| entry.expect("a readable entry").path().display().to_string())
        .collect();
    files.sort();
    assert!(files.len() >= 4, "{files:?}");
    let mut begun: Vec<String> = Vec::new();
    let is_available = |app: &String| world.ctl(&["rollout", "status", app, "--timeout", "60s"]).ok();
    for file in &files {
        world.ctl(&["validate", "-f", file]).ok();
        let named = world.ctl(&["apply", "-f", file, "--dry-run=client"]).ok();
        let app = named.split_whitespace().next().expect("apply names the object").to_string();
        if let Some(place) = begun.iter().position(|earlier| *earlier == app) {
            is_available(&begun.swap_remove(place));
        }
        world.ctl(&["apply", "-f", file]).ok();
        begun.push(app);
    }
    begun.iter().for_each(|app| drop(is_available(app)));
    world.end();
}
