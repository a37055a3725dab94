//! Judges a kept recording again: `cargo run --example judge -- FOLDER`, as `e2e/failed/SCENARIO-SEED`, or the folder
//! `record` of a world that is still there. Code 1 when a promise was broken.

use std::path::Path;
use std::process::ExitCode;

use berth_e2e::record::Recording;

fn main() -> ExitCode {
    let Some(folder) = std::env::args().nth(1) else {
        eprintln!("usage: judge FOLDER");
        return ExitCode::from(2);
    };
    match Recording::read(Path::new(&folder)) {
        Ok(recording) => {
            let verdict = recording.judge();
            println!("{verdict}");
            if verdict.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: could not read {folder}: {error}");
            ExitCode::from(2)
        }
    }
}
