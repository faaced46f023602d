//! Talking to a person: whether there is one, and asking before something can't be taken back.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::errors::{Failure, Kind, Outcome};

/// Whether questions can be asked: standard input and error are both a terminal.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for a yes; without a terminal only `--yes` is one.
pub(crate) fn confirm(question: &str, yes: bool) -> Outcome<()> {
    if yes {
        return Ok(());
    }
    if !is_interactive() {
        return Err(Failure::new(Kind::Usage, format!("not done without a confirmation: {question}"))
            .hint("add --yes where there is no terminal to ask"));
    }
    eprint!("{question} [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        Ok(())
    } else {
        Err(Failure::new(Kind::Interrupted, "not done"))
    }
}
