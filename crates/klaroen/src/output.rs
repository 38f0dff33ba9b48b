//! The two streams: results go to standard output, everything else to standard error.

use std::io::{self, ErrorKind, Write};

use crate::failure::{Because, Failure};

/// Writes one line of the result. A reader that has gone (`| head`) wants no more of it, which is no failure.
pub fn result(line: impl std::fmt::Display) -> Result<(), Failure> {
    match writeln!(io::stdout().lock(), "{line}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.because("cannot write the result to standard output"),
    }
}

/// Tells the person at the terminal something.
pub fn note(line: impl std::fmt::Display) {
    // No reader is left who could be told that telling failed.
    drop(writeln!(io::stderr().lock(), "{line}"));
}
