//! The lists of the crate and the sources agree.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use berth_failpoint::{PLACES, SEEDED_BUGS};

/// The names between `before` and a quote in all sources but this crate's own.
fn named(folder: &Path, before: &[&str], into: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with("failpoint") {
            named(&path, before, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a readable source");
            for before in before {
                let after = text.split(before).skip(1);
                into.extend(after.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
            }
        }
    }
}

fn assert_agree(listed: &[&str], before: &[&str]) {
    let mut used = BTreeSet::new();
    for folder in ["api", "controllers", "node-agent"] {
        named(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder), before, &mut used);
    }
    assert_eq!(used, listed.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>());
}

#[test]
fn every_place_and_defect_is_listed_and_used() {
    assert_agree(PLACES, &["reach(\"", "fails(\""]);
    assert_agree(SEEDED_BUGS, &["seeded_bug(\""]);
}
