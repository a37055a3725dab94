//! `ctl`: talks to a Berth cluster, and runs one on this machine.
//! What was typed (`args`) becomes what it means (`request`), which a verb carries out and `output` shows.

mod api;
mod args;
mod cluster;
mod failure;
mod manifest;
mod output;
mod request;
mod suggested;
mod verbs;
mod waiting;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use failure::{Exit, Failure};
use output::print::{self, Lost};
use request::{Purpose, Request};

fn main() -> ExitCode {
    if std::env::args_os().len() < 2 {
        print::message(&args::Cli::command().render_help().to_string());
        return end(Purpose::Deed, Err(Failure::reported(Exit::Usage)));
    }
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => return shown(&answer),
    };
    match Request::understand(cli) {
        Ok(request) => end(request.task.purpose(), run(request)),
        Err(failure) => end(Purpose::Deed, Err(failure)),
    }
}

/// One thread for all but the output: the parent-death signal of a child watches the thread that started it.
fn run(request: Request) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Failed, format!("could not start: {error}")))?;
    runtime.block_on(async {
        match request.task.purpose() {
            Purpose::Deed => verbs::carry_out(request).await,
            // The exit code of a lost output is decided in the end.
            Purpose::Output => tokio::select! {
                biased;
                () = print::lost() => Ok(()),
                done = verbs::carry_out(request) => done,
            },
        }
    })
}

/// Shows the help that was asked for, or what is wrong with the command line.
fn shown(answer: &clap::Error) -> ExitCode {
    let colour = |terminal: bool| match terminal && std::env::var_os("NO_COLOR").is_none() {
        true => answer.render().ansi().to_string(),
        false => answer.render().to_string(),
    };
    if answer.use_stderr() {
        print::message(&colour(io::stderr().is_terminal()));
        return end(Purpose::Deed, Err(Failure::reported(Exit::Usage)));
    }
    print::raw(colour(io::stdout().is_terminal()).as_bytes());
    end(Purpose::Output, Ok(()))
}

/// The exit code, once everything is written. A lost output fails only a verb whose purpose it is, and no verb if its
/// reader went away.
fn end(purpose: Purpose, done: Result<(), Failure>) -> ExitCode {
    if let Err(failure) = &done {
        print::message(&failure.to_string());
    }
    let unwritten = match print::finish() {
        Some(Lost::Failed(why)) => {
            print::message(
                &Failure::new(Exit::Failed, "could not write to standard output").detail(why).to_string(),
            );
            print::finish();
            purpose == Purpose::Output
        }
        Some(Lost::ReaderGone) | None => false,
    };
    match done {
        Err(failure) => ExitCode::from(failure.exit as u8),
        Ok(()) if unwritten => ExitCode::from(Exit::Failed as u8),
        Ok(()) => ExitCode::SUCCESS,
    }
}
