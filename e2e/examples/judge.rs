//! Judges recorded worlds again: `judge FOLDER...`, each as a failed scenario leaves it. Tells how fast, too.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use berth_e2e::record::Recording;

fn main() -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for folder in std::env::args().skip(1) {
        let begun = Instant::now();
        match Recording::read(Path::new(&folder)) {
            Ok(recording) => {
                let verdict = recording.judge();
                println!("{folder}: {verdict} ({} ms)", begun.elapsed().as_millis());
                if !verdict.is_clean() {
                    code = ExitCode::FAILURE;
                }
            }
            Err(error) => {
                println!("{folder}: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
