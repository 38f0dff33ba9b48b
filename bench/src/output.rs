//! The two streams: figures go to standard output, everything else to standard error.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use anyhow::{Context, Result};

/// Writes one line of the result. A reader that has gone (`| head`) wants no more of it, which is no failure.
pub fn result(line: impl Display) -> Result<()> {
    match writeln!(io::stdout().lock(), "{line}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write the result to standard output"),
    }
}

/// Tells the person at the terminal something.
pub fn note(line: impl Display) {
    // No reader is left who could be told that telling failed.
    drop(writeln!(io::stderr().lock(), "{line}"));
}
