//! Standard output. A reader that closes it early (`ctl get tasks | head -1`) ends the run without a word.

use std::io::{self, Write};

/// Writes a line to standard output.
pub fn line(text: &str) {
    raw(format!("{text}\n").as_bytes());
}

/// Writes a line to standard error; a terminal that is gone is no reason to end.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Writes bytes to standard output at once.
pub fn raw(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("error: could not write to standard output: {error}");
            std::process::exit(1);
        }
    }
}
