//! `ctl validate`: checks manifests without a server.

use crate::failure::{Exit, Failure};
use crate::manifest::{Input, read};
use crate::output::print;

/// Checks every document; says what is wrong, or that nothing is.
pub fn run(inputs: &[Input]) -> Result<(), Failure> {
    let reading = read(inputs);
    if let Some(report) = reading.report("nothing was asked of a server") {
        print::message(&report);
        return Err(Failure::reported(Exit::Usage));
    }
    for document in &reading.documents {
        print::line(&format!("{} is valid", document.name()));
    }
    Ok(())
}
