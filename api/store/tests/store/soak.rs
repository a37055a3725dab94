//! How much is tested: little by default, more when the environment says so.

use std::io::Write;

/// The number in an environment variable.
pub fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")),
        Err(_) => default,
    }
}

/// Where chance begins.
pub fn seed() -> u64 {
    number("BERTH_SEED", 1)
}

/// Adds operations that were compared to what a soak counts, in the form that `e2e/src/soak.rs` says, for the row of the
/// soak's table that `BERTH_TALLY_ROW` names.
pub fn compared(operations: usize) {
    let (path, row) = (std::env::var_os("BERTH_TALLY"), std::env::var("BERTH_TALLY_ROW"));
    let (Some(path), Ok(scenario)) = (path, row) else { return };
    let line = serde_json::json!({ "scenario": scenario, "counted": "operations", "count": operations });
    let file = std::fs::File::options().create(true).append(true).open(path);
    file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())).unwrap();
}
