//! What the processes of a cluster do alike: they end with their parent, read their configuration, log to standard
//! error, and run until they are told to end.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The allocator of every process that links this crate. That of the C library returns next to nothing of what a busy hour
/// took; this one returns pages soon after they became free. It asks for no huge pages: with them an idle process is twice
/// as large.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Why a process ends early.
pub type AnyError = Box<dyn Error + Send + Sync>;

/// Begins this process with what `config` reads. Where that has faults, each is told; then, and when the parent is gone
/// already, the process must end with the code returned.
pub fn begin<C>(config: impl FnOnce() -> Result<C, Vec<String>>) -> Result<C, ExitCode> {
    if !end_with_parent() {
        return Err(ExitCode::SUCCESS);
    }
    let config = config().map_err(|faults| {
        let text: String = faults.iter().map(|fault| format!("error: {fault}\n")).collect();
        // The code tells that there are faults where nobody can read them.
        let _ = io::stderr().write_all(text.as_bytes());
        ExitCode::from(2)
    })?;
    let filter = EnvFilter::try_from_env("BERTH_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        // A log that cannot be written must end nothing: the complaint about it would.
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
    Ok(config)
}

/// The code to end with; an error is logged with what caused it.
pub fn end(outcome: Result<(), AnyError>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Comes to its end once this process is told to, by TERM or INT; from this call on neither ends it any more.
pub fn told_to_end() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Has this process told to end when the one that `BERTH_PARENT_PID` names (`ctl up`) does, however that happens;
/// false when it has ended already.
fn end_with_parent() -> bool {
    let parent = std::env::var("BERTH_PARENT_PID").ok().and_then(|pid| pid.parse::<i32>().ok());
    let Some(parent) = parent else { return true };
    let told = set_parent_process_death_signal(Some(Signal::TERM)).is_ok();
    told && getppid().is_some_and(|pid| pid.as_raw_nonzero().get() == parent)
}

/// An error with what caused it, on one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_with_what_caused_it() {
        let cause = io::Error::other(io::Error::other("the disk is full"));
        assert_eq!(chain(&cause), "the disk is full");
        let nested = "x".parse::<std::net::IpAddr>().unwrap_err();
        assert_eq!(chain(&nested), nested.to_string());
    }

    #[tokio::test]
    async fn a_signal_ends_the_wait() {
        let told = told_to_end().unwrap();
        rustix::process::kill_process(rustix::process::getpid(), Signal::TERM).unwrap();
        told.await;
    }
}
