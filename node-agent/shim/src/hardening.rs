//! The last steps of a container's first process before it becomes the container's program.

use std::io::{self, Write};
use std::sync::Arc;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::default::DefaultExecutor;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError, default};
use nix::sys::signal::{SigSet, SigmaskHow};
use seccompiler::BpfProgram;

use crate::forked::chain;

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
        harden(&self.filter).map_err(|error| ExecutorError::Other(chain(&error)))?;
        let outcome = default::get_executor().exec(spec);
        if let Err(error) = &outcome {
            // Nobody else hears of it any more: the container counts as started. This goes to its own log.
            let _ = writeln!(io::stderr(), "berth: could not run the command: {}", chain(error));
        }
        outcome
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        DefaultExecutor {}.validate(spec)
    }
}

/// Why a process could not be made ready for a program nobody trusts.
#[derive(Debug, thiserror::Error)]
pub enum HardeningError {
    /// Signals stay as they were.
    #[error("could not reset signals")]
    Signals(#[from] nix::Error),
    /// There is no filter.
    #[error("could not load the system call filter")]
    Filter(#[from] seccompiler::Error),
}

/// Prepares this process to become a program nobody trusts; the way back is closed.
pub fn harden(filter: &BpfProgram) -> Result<(), HardeningError> {
    default_signals()?;
    Ok(seccompiler::apply_filter(filter)?)
}

/// Rust ignores SIGPIPE, whoever started the agent may have ignored others, and the shim blocks SIGCHLD; all of that
/// would be inherited. The system call is made directly, for libc lets nobody touch the two signals it uses itself.
fn default_signals() -> nix::Result<()> {
    for signal in (1..=64).filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal)) {
        default_signal(signal)?;
    }
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

#[expect(unsafe_code)]
fn default_signal(signal: libc::c_int) -> nix::Result<()> {
    // The kernel's own form: handler, flags, restorer, mask of 64 bits. All zero is the default action.
    let default = [0_u64; 4];
    let nowhere = std::ptr::null_mut::<u64>();
    // SAFETY: the kernel reads 32 bytes, which `default` has, and writes nothing. No handler that might be running is
    // taken away: this process installed none, and it is about to become another program.
    let result = unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), nowhere, 8_usize) };
    nix::errno::Errno::result(result).map(drop)
}
