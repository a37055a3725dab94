//! How a run of `ctl` can fail, and the exit code that says so to a script.

use std::fmt;

use crate::manifest::visible;

/// The exit codes, as `ctl --help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The operation failed.
    Failed = 1,
    /// The command line or a manifest is wrong; nothing was changed.
    Usage = 2,
    /// What was waited for did not come in time.
    TimedOut = 3,
    /// The server does not allow it.
    Forbidden = 4,
    /// Somebody else's change stands against it.
    Conflict = 5,
    /// What was waited for cannot come any more.
    Terminal = 6,
    /// No server answers.
    Unreachable = 7,
    /// Ctrl-C.
    Interrupted = 130,
}

/// Why a run ends without success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What a script sees.
    pub exit: Exit,
    /// The step and the object; empty when all was said already.
    message: String,
    details: Vec<String>,
    hint: String,
}

impl Failure {
    /// A failure with a message for a person: lower case, no full stop.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), details: Vec::new(), hint: String::new() }
    }

    /// A failure whose every reason is on stderr already.
    pub fn reported(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    /// The same with one more line of detail.
    pub fn detail(mut self, line: impl Into<String>) -> Self {
        self.details.push(line.into());
        self
    }

    /// The same with what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            return Ok(());
        }
        writeln!(f, "error: {}", visible(&self.message))?;
        for line in &self.details {
            writeln!(f, "  {}", visible(line))?;
        }
        if !self.hint.is_empty() {
            writeln!(f, "hint: {}", visible(&self.hint))?;
        }
        Ok(())
    }
}
