//! The last steps of a container's first process before it becomes the container's program.

use std::sync::Arc;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::default::DefaultExecutor;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError, default};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal};
use seccompiler::BpfProgram;

/// Runs the container's program with signals as a program expects them and under the filter.
#[derive(Clone)]
pub struct Hardened {
    filter: Arc<BpfProgram>,
}

impl Hardened {
    /// Runs programs under `filter`.
    pub fn new(filter: Arc<BpfProgram>) -> Self {
        Self { filter }
    }
}

impl Executor for Hardened {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        default_signals()
            .map_err(|error| ExecutorError::Other(format!("could not reset signals: {error}")))?;
        seccompiler::apply_filter(&self.filter).map_err(|error| {
            ExecutorError::Other(format!("could not load the system call filter: {error}"))
        })?;
        default::get_executor().exec(spec)
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        DefaultExecutor {}.validate(spec)
    }
}

/// Rust ignores SIGPIPE, whoever started the agent may have ignored others, and the shim blocks SIGCHLD; all of that
/// would be inherited.
#[expect(unsafe_code)]
fn default_signals() -> nix::Result<()> {
    for signal in Signal::iterator().filter(|signal| ![Signal::SIGKILL, Signal::SIGSTOP].contains(signal)) {
        // SAFETY: no handler of this process is replaced by the default while it may run: it has none.
        unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }?;
    }
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}
