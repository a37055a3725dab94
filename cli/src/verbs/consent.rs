//! Questions before what cannot be taken back.

use std::io::{self, BufRead, IsTerminal};

use crate::failure::{Exit, Failure};
use crate::output::print;

/// Asks `question` and goes on only after a yes. Without a terminal `what` is refused, as there is nobody to ask.
pub async fn ask(question: &str, what: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(Exit::Usage, format!("{what} needs confirmation")).hint("add --yes"));
    }
    print::message(&format!("{question} Type yes to go on: "));
    print::settled().await;
    let mut answer = String::new();
    // An answer that cannot be read is not a yes.
    let _ = io::stdin().lock().read_line(&mut answer);
    if answer.trim() == "yes" { Ok(()) } else { Err(Failure::new(Exit::Interrupted, "nothing was done")) }
}
