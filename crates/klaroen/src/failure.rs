//! Why a command did not succeed: one line for the person at the terminal.

use std::error::Error;
use std::fmt;

/// One line that says what failed and why. Made from any error by `?`, or with [`Because::because`] if the error
/// alone would not say what was being done.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    /// From a line of one's own.
    pub fn new(line: impl Into<String>) -> Self {
        Self(line.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(chain(&error))
    }
}

/// Says what was being done when an error came.
pub trait Because<T> {
    /// `what`, then the error and its causes.
    fn because(self, what: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: Error> Because<T> for Result<T, E> {
    fn because(self, what: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure(format!("{what}: {}", chain(&error))))
    }
}

/// An error and its causes in one line; a cause that its error already tells is not told twice.
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Sample {
        #[error("it broke")]
        Silent(#[source] std::io::Error),
        #[error("it broke: {0}")]
        Telling(#[source] std::io::Error),
    }

    #[test]
    fn each_cause_is_told_once() {
        let cause = || std::io::Error::other("no\nspace");
        assert_eq!(chain(&Sample::Silent(cause())), "it broke: no space");
        assert_eq!(chain(&Sample::Telling(cause())), "it broke: no space");
        let line = Err::<(), _>(Sample::Silent(cause())).because("writing").unwrap_err().to_string();
        assert_eq!(line, "writing: it broke: no space");
    }
}
