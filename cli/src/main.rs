//! `ctl`: talks to a Berth cluster, and runs one on this machine.
//! What was typed (`args`) becomes what it means (`request`), which a verb carries out and `output` shows.

mod api;
mod args;
mod cluster;
mod failure;
mod manifest;
mod output;
mod request;
mod verbs;
mod waiting;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use failure::{Exit, Failure};
use request::Request;

fn main() -> ExitCode {
    if std::env::args_os().len() < 2 {
        eprint!("{}", args::Cli::command().render_help());
        return ExitCode::from(Exit::Usage as u8);
    }
    let done = Request::understand(args::Cli::parse()).and_then(run);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprint!("{failure}");
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// One thread for all: the parent-death signal of a child watches the thread that started it.
fn run(request: Request) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Failed, format!("could not start: {error}")))?;
    runtime.block_on(verbs::carry_out(request))
}
