//! What a long step waits for: one rewritten line on a terminal, a line per change elsewhere; on stderr.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use super::print;
use crate::manifest::visible;

/// A step that is over sooner is not worth a line.
const WORTH_A_LINE: Duration = Duration::from_secs(1);

/// Shows what a step waits for.
#[derive(Debug)]
pub struct Progress {
    began: Instant,
    shown: String,
    on_terminal: bool,
    line_open: bool,
}

impl Progress {
    /// Begins a step; nothing is shown in its first second.
    pub fn begin() -> Self {
        let on_terminal = io::stderr().is_terminal();
        Self { began: Instant::now(), shown: String::new(), on_terminal, line_open: false }
    }

    /// How long until [`Progress::show`] shows anything.
    pub fn quiet_for(&self) -> Duration {
        WORTH_A_LINE.saturating_sub(self.began.elapsed())
    }

    /// Says what is waited for now.
    pub fn show(&mut self, what: &str) {
        if self.shown == what || !self.quiet_for().is_zero() {
            return;
        }
        self.shown = what.to_owned();
        let what = visible(what);
        if self.on_terminal {
            self.line_open = true;
            print::message(&format!("\r\x1b[K{}", cut(&what)));
        } else {
            print::note(&what);
        }
    }

    /// What was last said, if anything was.
    pub fn last(&self) -> Option<&str> {
        Some(self.shown.as_str()).filter(|shown| !shown.is_empty())
    }

    /// Clears the rewritten line.
    pub fn clear(&mut self) {
        if self.line_open {
            print::message("\r\x1b[K");
            self.line_open = false;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A line that wraps cannot be rewritten.
fn cut(line: &str) -> String {
    let columns =
        rustix::termios::tcgetwinsize(io::stderr()).map_or(80, |size| usize::from(size.ws_col).max(20));
    if line.chars().count() < columns {
        return line.to_owned();
    }
    let kept: String = line.chars().take(columns - 4).collect();
    format!("{kept}...")
}
